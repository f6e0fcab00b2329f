"""What people do with a static multicast router, as they do it: on the command line.

The scenarios are those that smcroute and the Linux kernel test themselves with, told anew. Every
packet that is sent must arrive, once, and nowhere else.

               ┌────────┐
    sender ─up0┤        ├down0─ receiver
               │ router │
    sender ─up1┤        ├down1─ receiver
               └────────┘

In "isolated hosts" the upper two are one pair, and the lower two another.
"""

import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from lab.bus import PrivateBus
from lab.daemon import BUS_NAME, PROGRAMS, Daemon
from lab.delivery import deliveries
from lab.foreign import busctl, run
from lab.igmp import Member, members
from lab.installed import eventually
from lab.topology import Topology
from lab.witness import Entry

UNEXPECTED = "Traceback"


class Range(NamedTuple):
    """Prefixes around the lab's stream, groups of them, and a group outside."""

    sources: str
    groups: str
    inside: tuple[str, str, str]
    outside: str


RANGES = {
    socket.AF_INET: Range(
        "10.1.0.0/24", "239.1.2.0/24", ("239.1.2.1", "239.1.2.77", "239.1.2.255"), "239.1.3.1"
    ),
    socket.AF_INET6: Range(
        "fd01::/64", "ff1e::100/120", ("ff1e::101", "ff1e::177", "ff1e::1ff"), "ff1e::201"
    ),
}


# Of groups and of senders, to be joined whole.
PREFIXES = {
    socket.AF_INET: ("239.1.4.0/29", "10.1.0.8/30"),
    socket.AF_INET6: ("ff1e::400/125", "fd01::8/126"),
}


class Router:
    """The lab's router, with the service on it, and the hand that types."""

    def __init__(self, bus: PrivateBus, lab: Topology, home: Path) -> None:
        self.lab = lab
        self.home = home
        self.source, self.group = lab.addresses.source, lab.addresses.group
        self.range = RANGES[lab.family]
        self._bus = bus
        self._running = ExitStack()
        (home / "configuration").mkdir()

    def start(self, settings: str = "") -> None:
        self.daemon = self._running.enter_context(
            Daemon(self._bus.address, self.lab.router, home=self.home, wait=False)
        )
        if settings:
            self.daemon.configure(settings)
        self.daemon.wait_until_ready()

    def stop(self) -> None:
        if hasattr(self, "daemon"):
            assert UNEXPECTED not in self.daemon.log
        self._running.close()

    def type(self, *words: str) -> str:
        """Run the command line, which must succeed; what it prints."""
        done = run(self._bus.address, str(PROGRAMS / "mfc-dbus-cli"), *words)
        assert (done.returncode, done.stderr) == (0, ""), words
        return done.stdout

    def add(
        self, iif: str, *oifs: str, group: str = "", source: str = "", more: Sequence[str] = ()
    ) -> None:
        """Add a route; without oifs it is a stop."""
        leaving = ["--oifs", *oifs] if oifs else ["--stop"]
        stream = ["--source", source or "*", "--group", group or self.group]
        self.type("mfc", "add", *stream, "--iif", iif, *leaving, *more)

    def delete(self, group: str = "", source: str = "") -> None:
        self.type("mfc", "del", "--source", source or "*", "--group", group or self.group)

    def shown(self, what: str = "routes") -> list[dict[str, Any]]:
        shown: list[dict[str, Any]] = json.loads(self.type("--json", "show", what))
        return shown

    def states(self) -> list[str]:
        return [route["state"] for route in self.shown()]

    def reload(self) -> None:
        self._ask("Reload")

    def described(self) -> dict[str, dict[str, Any]]:
        """The routes with their counters, by source."""
        (text,) = json.loads(self._ask("Describe"))["data"]
        return {route["source"]: route for route in json.loads(text)["route"]}

    def _ask(self, member: str) -> str:
        """Call a method that takes options, and give it none."""
        place = (BUS_NAME, "/" + BUS_NAME.replace(".", "/"), BUS_NAME)
        return busctl(self._bus.address, "--json=short", "call", *place, member, "a{sv}", "0")

    def forwards(self, up: str, *downs: str, source: str = "", group: str = "") -> None:
        """Demand that 3 of 3 packets arrive there, and nowhere else."""
        sent = self.lab.sender(up, source=source, group=group).send(3)
        expected = dict.fromkeys(downs, sent)
        assert deliveries(self.lab, expected) == expected

    def holds_back(self, up: str, source: str = "", group: str = "") -> None:
        """Send three packets that nobody may get; what is demanded next shows whether one did."""
        self.lab.sender(up, source=source, group=group).send(3)
        assert self.lab.arrived() == {}

    def iifs(self) -> set[str]:
        return {entry.iif for entry in self.lab.entries()}


@pytest.fixture
def stopped(own_bus: PrivateBus, lab: Topology, tmp_path: Path) -> Iterator[Router]:
    router = Router(own_bus, lab, tmp_path)
    try:
        yield router
    finally:
        router.stop()


@pytest.fixture
def router(stopped: Router) -> Router:
    stopped.start()
    return stopped


# The kernel's own


def test_a_stream_goes_to_two_receivers_until_its_route_is_deleted(router: Router) -> None:
    router.add("up0", "down0", "down1", source=router.source)
    router.forwards("up0", "down0", "down1")
    router.delete(source=router.source)
    router.holds_back("up0")
    assert router.lab.entries() == set()


def test_what_arrives_on_the_wrong_interface_is_counted_and_not_forwarded(router: Router) -> None:
    router.add("up0", "down0", source=router.source)
    router.add("up1", "down1", source=router.lab.addresses.other_source)  # so that it has a VIF
    router.holds_back("up1")
    router.forwards("up0", "down0")
    described = router.described()[router.source]
    assert (described["packets"], described["wrong_if"]) == (6, 3)


def describe(router: Router) -> str:
    place = (BUS_NAME, "/" + BUS_NAME.replace(".", "/"), BUS_NAME)
    answer = busctl(router._bus.address, "--json=short", "call", *place, "Describe", "a{sv}", "0")
    (text,) = json.loads(answer)["data"]
    return str(text)


def test_the_first_packet_of_a_stream_that_the_kernel_asks_about_is_delivered(
    router: Router,
) -> None:
    router.add("up0", "down0", group=router.range.groups)
    sent = router.lab.sender().send(1)
    assert deliveries(router.lab, {"down0": sent}) == {"down0": sent}
    router.forwards("up0", "down0")


# smcroute's


@pytest.mark.parametrize("source", ["one", "any", "prefix"])
def test_basic(router: Router, source: str) -> None:
    sources = {"one": router.source, "any": "*", "prefix": router.range.sources}
    router.holds_back("up0", group=router.range.outside)
    router.add("up0", "down0", source=sources[source])
    router.forwards("up0", "down0")
    router.type("mfc", "flush")
    router.holds_back("up0")


@pytest.mark.parametrize("kind", ["one", "any", "range"])
def test_isolated_hosts_hear_nothing_of_each_other(router: Router, kind: str) -> None:
    """One group, two pairs of hosts, whose streams run at the same time."""
    addresses = router.lab.addresses
    pairs = [("up0", "down0", addresses.source), ("up1", "down1", addresses.other_source)]
    for up, down, source in pairs:
        router.add(
            up,
            down,
            source=source if kind == "one" else "*",
            group=router.range.groups if kind == "range" else "",
        )
    senders = [router.lab.sender(up, source=source) for up, _, source in pairs]
    expected: dict[str, list[int]] = {"down0": [], "down1": []}
    for _ in range(3):
        for sender, (_, down, _) in zip(senders, pairs, strict=True):
            expected[down] += sender.send(1)
    assert deliveries(router.lab, expected) == expected
    for up, down, source in pairs:
        router.forwards(up, down, source=source)


def test_a_range_takes_in_all_its_groups_and_no_other(router: Router) -> None:
    router.add("up0", "down0", "down1", group=router.range.groups)
    router.holds_back("up0", group=router.range.outside)
    for group in router.range.inside:
        router.forwards("up0", "down0", "down1", group=group)
    router.holds_back("up0", group=router.range.outside)
    assert {stream["group"] for stream in router.shown("learned")} == {*router.range.inside}


def test_a_learned_stream_expires_and_comes_back_whole(stopped: Router) -> None:
    stopped.start("[learning]\nexpiry = 2\n")
    stopped.add("up0", "down0", group=stopped.range.groups)
    stopped.forwards("up0", "down0")
    idle, busy = stopped.range.inside[:2]
    stopped.forwards("up0", "down0", group=idle)
    with stopped.lab.sender(group=busy).flow(rate=100) as flow:
        eventually(lambda: {entry.group for entry in stopped.lab.entries()} == {busy})
    expected = {"down0": flow.sent}
    assert deliveries(stopped.lab, expected) == expected
    eventually(lambda: stopped.lab.entries() == set())
    stopped.forwards("up0", "down0", group=idle)


def test_a_range_comes_over_streams_that_are_blocked(router: Router) -> None:
    """One has a stop of its own, and the other no route at all."""
    blocked, waiting, other = router.range.inside
    router.add("up0", group=blocked)
    router.add("up1", "down1", source=router.source, group=router.range.outside)
    router.holds_back("up0", group=blocked)
    senders = [router.lab.sender(group=waiting), router.lab.sender(group=blocked)]
    before = senders[0].send(3)
    assert router.lab.arrived() == {}
    router.add("up0", "down0", group=router.range.groups)
    # What waited in the kernel comes too.
    after = [number for sender in senders for number in sender.send(3)][:3]
    expected = {"down0": before + after}
    assert deliveries(router.lab, expected) == expected
    router.forwards("up0", "down0", group=other)
    router.forwards("up0", "down0", group=waiting)
    router.holds_back("up0", group=blocked)
    router.delete(group=blocked)
    router.forwards("up0", "down0", group=blocked)


def test_a_stop_comes_over_streams_of_a_range(router: Router) -> None:
    blocked, other, _ = router.range.inside
    router.add("up0", "down0", group=router.range.groups)
    router.forwards("up0", "down0", group=blocked)
    router.forwards("up0", "down0", group=other)
    router.add("up0", group=blocked)
    router.holds_back("up0", group=blocked)
    router.forwards("up0", "down0", group=other)
    router.delete(group=blocked)
    router.forwards("up0", "down0", group=blocked)


def test_a_stream_that_no_route_covers_is_no_poison_for_its_neighbours(router: Router) -> None:
    """Same group, another source; same range, another interface; and a stop within the range."""
    inside = router.range.inside
    stranger = router.lab.addresses.other_source
    router.add("up0", "down0", source=router.source, group=router.range.groups)
    router.add("up0", source=router.source, group=inside[2])
    router.holds_back("up0", source=stranger, group=inside[0])
    router.holds_back("up1", source=stranger, group=inside[1])
    router.forwards("up0", "down0", group=inside[0])
    router.forwards("up0", "down0", group=inside[1])
    router.holds_back("up0", group=inside[2])
    router.holds_back("up0", source=stranger, group=inside[0])
    router.forwards("up0", "down0", group=inside[0])


def test_a_stream_of_a_range_moves_to_the_other_interface_that_the_range_covers(
    router: Router,
) -> None:
    router.add("up*", "down0", group=router.range.groups)
    router.forwards("up0", "down0")
    sender = router.lab.sender("up1")

    def moved() -> bool:
        sender.send(1)  # the kernel drops it, and tells
        return router.iifs() == {"up1"}

    eventually(moved)
    router.lab.arrived()
    router.forwards("up1", "down0")


def test_a_group_from_any_source_needs_no_move(router: Router) -> None:
    router.add("up0", "down0")
    router.add("up1", "down0")
    for up in ("up0", "up1", "up0"):
        router.forwards(up, "down0")


@pytest.mark.parametrize("kind", ["one", "any", "range"])
def test_an_interface_is_lost_and_comes_back(router: Router, kind: str) -> None:
    lab = router.lab
    router.add(
        "up0",
        "down0",
        "down1",
        source=router.source if kind == "one" else "*",
        group=router.range.groups if kind == "range" else "",
    )
    router.forwards("up0", "down0", "down1")
    for lost, state, reached in (("down0", "partial", ["down1"]), ("up0", "waiting", [])):
        before = lab.ifindex(lost)
        lab.delete_link(lost)
        eventually(lambda: router.states()[0] != "active")
        assert router.states() == [state]
        if reached:
            router.forwards("up0", *reached)
        lab.add_links("filler", lost)  # also when it has another ifindex, and a VIF may be taken
        lab.delete_link("filler")
        assert lab.ifindex(lost) != before
        eventually(lambda: router.states() == ["active"])
        router.forwards("up0", "down0", "down1")


def test_a_reload_disturbs_no_flow(router: Router) -> None:
    directory = router.home / "configuration" / "routes.d"
    directory.mkdir()
    addresses = router.lab.addresses
    streams = [
        (addresses.source, addresses.group, "down0"),
        (addresses.source, addresses.other_group, "down1"),
    ]
    document = "".join(
        f'[[route]]\nsource = "{source}"\ngroup = "{group}"\niif = "up0"\noifs = ["{down}"]\n'
        for source, group, down in streams
    )
    (directory / "10-stays.toml").write_text(document)
    changing = directory / "20-changes.toml"
    router.reload()
    router.add("up1", "down0", "down1", group=router.range.groups)
    with ExitStack() as stack:
        flows = [
            (down, stack.enter_context(router.lab.sender(group=group).flow(rate=1000)))
            for _, group, down in streams
        ]
        for number in range(10):
            flows[0][1].wait_for(50)
            oif = ["down0", "down1"][number % 2]
            changing.write_text(
                f'[[route]]\ngroup = "{router.range.outside}"\niif = "up{number % 2}"\n'
                f'oifs = ["{oif}"]\n'
            )
            router.reload()
        changing.unlink()
        router.reload()
        flows[1][1].wait_for(50)
    assert len(flows[0][1].sent) > 500
    expected = {down: flow.sent for down, flow in flows}
    assert deliveries(router.lab, expected) == expected
    assert {(route["group"], route["origin"]) for route in router.shown()} == {
        (addresses.group, "config"),
        (addresses.other_group, "config"),
        (router.range.groups, "bus"),
    }


def test_a_route_is_added_before_its_interfaces_are_there(router: Router) -> None:
    lab = router.lab
    router.add("later0", "down0", "later1", more=["--wait"])
    assert router.states() == ["waiting"]
    lab.add_links("later0")
    eventually(lambda: router.states() == ["partial"])
    router.forwards("later0", "down0")
    lab.add_links("later1")
    eventually(lambda: router.states() == ["active"])
    router.forwards("later0", "down0", "later1")


def test_a_boot_without_interfaces_forwards_as_soon_as_they_come(router: Router) -> None:
    router.add("up0", "down0", "down1", source=router.source)
    router.add("up1", "down1", group=router.range.groups)
    router.stop()
    names = router.lab.links
    for name in names:
        router.lab.delete_link(name)
    router.start()
    assert router.states() == ["waiting"] * 2
    router.lab.add_links(*reversed(names))
    eventually(lambda: router.states() == ["active"] * 2)
    router.forwards("up0", "down0", "down1")
    router.forwards("up1", "down1", group=router.range.inside[0])


def test_groups_are_joined_and_left(router: Router) -> None:
    source = router.source
    for words in (["--group", router.group], ["--group", router.range.outside, "--source", source]):
        router.type("group", "join", *words, "--interface", "up0")
    joined = {
        Member("up0", router.group),
        Member("up0", router.range.outside, frozenset({source})),
    }
    assert members(router.lab.router) == joined
    assert {each["state"] for each in router.shown("memberships")} == {"joined"}
    router.add("up0", "down0")
    router.forwards("up0", "down0")
    router.type("group", "leave", "--group", router.group, "--interface", "up0")
    router.forwards("up0", "down0")
    words = ["--group", router.range.outside, "--source", source, "--interface", "up0"]
    router.type("group", "leave", *words)
    assert members(router.lab.router) == set()


def test_prefixes_of_groups_and_of_senders_are_joined_and_left(router: Router) -> None:
    groups, senders = PREFIXES[router.lab.family]
    of_groups = ["--group", groups, "--interface", "up0"]
    of_group = ["--group", router.group, "--source", senders, "--interface", "up1"]
    for words in (of_groups, of_group):
        router.type("group", "join", *words)
    of_any = {Member("up0", str(group)) for group in ip_network(groups)}
    of_senders = Member("up1", router.group, frozenset(map(str, ip_network(senders))))
    assert members(router.lab.router) == {*of_any, of_senders}
    router.add("up0", "down0", group=groups)
    for group in ip_network(groups):
        router.forwards("up0", "down0", group=str(group))
    router.type("group", "leave", *of_groups)
    assert members(router.lab.router) == {of_senders}
    router.type("group", "leave", *of_group)
    assert members(router.lab.router) == set()
    assert router.shown("memberships") == []


def test_batch(router: Router, tmp_path: Path) -> None:
    groups = router.range.inside
    requests: list[dict[str, Any]] = [
        {"action": "ADD_MFC", "payload": {"group": group, "iif": "up0", "oifs": ["down0"]}}
        for group in groups
    ]
    requests += [
        {"action": "DEL_MFC", "payload": {"group": groups[2]}},
        {"action": "JOIN_GROUP", "payload": {"group": groups[0], "interface": "up0"}},
        {"action": "SHOW"},
    ]
    path = tmp_path / "requests"
    path.write_text("".join(json.dumps(request) + "\n" for request in requests))
    responses = [json.loads(line) for line in router.type("batch", str(path)).splitlines()]
    assert [response["status"] for response in responses] == ["success"] * 6
    assert [rule["group"] for rule in responses[-1]["payload"]["mfc_rules"]] == [*groups[:2]]
    assert members(router.lab.router) == {Member("up0", groups[0])}
    for group in groups[:2]:
        router.forwards("up0", "down0", group=group)
    router.holds_back("up0", group=groups[2])


def test_json_shows_what_the_kernel_holds(router: Router) -> None:
    router.add("up0", "down0", "down1", source=router.source)
    router.add("up0", "down0", group=router.range.groups)
    router.forwards("up0", "down0", "down1")
    router.forwards("up0", "down0", group=router.range.inside[0])
    shown = [
        Entry(
            route["source"],
            route["group"],
            route["iif"],
            frozenset((oif, 1) for oif in route["oifs"]),
        )
        for route in router.shown() + router.shown("learned")
        if "/" not in route["group"]
    ]
    assert {*shown} == router.lab.entries()
    (learned,) = router.shown("learned")
    assert (learned["packets"], learned["route_group"]) == (3, router.range.groups)
    assert {interface["state"] for interface in router.shown("interfaces")} == {"active"}
