"""A process dies, and the next takes up its sockets: what is right is not touched.

up0 ──┐ router ┌── down0
      ├────────┤
up1 ──┘        └── down1

Whoever holds a copy of the socket keeps the kernel forwarding; here that is the test.
"""

import errno
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from lab.routing import Routing
from lab.table import Table
from lab.topology import Topology

from mfc_dbus.kernel import abi, dump, netlink
from mfc_dbus.kernel.dump import Held, HeldEntry
from mfc_dbus.kernel.mroute import MRoute
from mfc_dbus.model.addresses import Family
from mfc_dbus.model.route import parse_route

MANY = 10_000
WIDE = {socket.AF_INET: "239.0.0.0/8", socket.AF_INET6: "ff1e::/16"}


class CountingMRoute(MRoute):
    """The kernel; notes what is changed."""

    def __init__(self, family: Family, kept: int | None) -> None:
        super().__init__(family, kept=kept)
        self.calls: list[tuple[int, bytes]] = []

    def ask_for_wrong_vif(self) -> None:
        super().ask_for_wrong_vif()
        self.calls.pop()  # it changes nothing

    def _set(self, option: int, argument: bytes) -> None:
        self.calls.append((option, argument))
        super()._set(option, argument)


class Succession:
    """A controller, and those that come after it."""

    def __init__(self, lab: Topology) -> None:
        self.lab = lab
        self.routing = Routing(lab.router)

    def succeed(self, act: Callable[[], object] = lambda: None) -> list[tuple[int, bytes]]:
        """Let the controller die, do something that nobody sees, and let another take over.

        What it did to the kernel.
        """
        kept = self.routing.leave_sockets()
        act()
        self.routing = Routing(self.lab.router, self.routing.keeper, kept, CountingMRoute)
        self.lab.wait_until_up()
        done: list[tuple[int, bytes]] = []
        for mroute in self.routing.mroutes.values():
            assert isinstance(mroute, CountingMRoute)
            # The first two calls find out the VIFs, and the second takes back the first.
            done += mroute.calls[2:]
        return done

    def forget(self, source: str, group: str, iif: str) -> None:
        """Let the keeper lose a route."""
        del self.routing.keeper.routes[parse_route(source, group, iif, ["any"]).key]


@pytest.fixture
def succession(lab: Topology) -> Iterator[Succession]:
    succession = Succession(lab)
    yield succession
    succession.routing.close()


# Nothing differs


def test_not_a_packet_is_lost_at_1000_a_second_and_counters_go_on(
    lab: Topology, succession: Succession, source: str
) -> None:
    route = succession.routing.add(source, lab.addresses.group, "up0", ["down0", "down1"])
    with lab.sender().flow(rate=1000) as flow:
        flow.wait_for(200)
        for _ in range(5):
            assert succession.succeed() == []
            flow.wait_for(200)
    assert lab.arrived() == {"down0": flow.sent, "down1": flow.sent}
    count = succession.routing.mroutes[lab.family].sg_count(
        route.source.address, route.group.address
    )
    assert count.packets == len(flow.sent)


def test_what_was_taken_up_can_be_changed(
    lab: Topology, succession: Succession, source: str
) -> None:
    addresses = lab.addresses
    succession.routing.add(source, addresses.group, "up0", ["down0"])
    assert succession.succeed() == []
    succession.routing.add(source, addresses.group, "up0", ["down1", "up1"], replace=True)
    sent = lab.sender().send(10)
    assert lab.arrived() == {"down1": sent, "up1": sent}
    succession.routing.delete(source, addresses.group)
    assert (lab.entries(), lab.vifs()) == (set(), {})


def test_routes_that_wait_are_no_difference(
    lab: Topology, succession: Succession, source: str
) -> None:
    addresses = lab.addresses
    succession.routing.add(source, addresses.group, "up0", ["down0", "new"], wait=True)
    succession.routing.add(source, addresses.other_group, "new", ["down0"], wait=True)
    before = succession.routing.states()
    succession.succeed()
    assert succession.routing.states() == before
    assert sorted(before.values()) == ["partial", "waiting"]
    lab.add_links("new")
    succession.routing.follow()
    assert {*succession.routing.states().values()} == {"active"}
    sent = lab.sender().send(10)
    assert lab.arrived() == {"down0": sent, "new": sent}


def test_10000_entries_are_taken_up_in_no_time(lab: Topology, succession: Succession) -> None:
    iif, oif = "up0", "down0"
    routes = [
        parse_route(lab.addresses.source, numbered_group(lab.family, n), iif, [oif])
        for n in range(MANY)
    ]
    succession.routing.keeper.routes |= {route.key: route for route in routes}
    succession.routing.close()
    succession.routing = Routing(lab.router, succession.routing.keeper)
    assert len(lab.entries()) == MANY
    start = time.process_time()
    assert succession.succeed() == []
    spent = time.process_time() - start
    print(f"{spent:.2f} s for {MANY} entries")
    assert {*succession.routing.states().values()} == {"active"}
    assert spent < 3


def numbered_group(family: Family, number: int) -> str:
    if family == socket.AF_INET:
        return socket.inet_ntop(family, struct.pack("!BBH", 239, 2, number))
    return f"ff1e::2:{number:x}"


# Something differs


def test_a_route_that_the_kernel_lacks_is_added_and_the_others_lose_nothing(
    lab: Topology, succession: Succession, source: str
) -> None:
    addresses = lab.addresses
    succession.routing.add(source, addresses.group, "up0", ["down0"])
    missing = parse_route(source, addresses.other_group, "up0", ["down1"])
    succession.routing.keeper.routes[missing.key] = missing
    with lab.sender().flow() as flow:
        flow.wait_for(50)
        # A VIF, its entry; and the other, since it might have the VIF's number, unseen.
        assert len(succession.succeed()) == 3
        others = lab.sender(group=addresses.other_group).send(10)
        flow.wait_for(50)
    assert lab.arrived() == {"down0": flow.sent, "down1": others}


def test_an_entry_that_nobody_wants_is_removed_and_the_others_not_touched(
    lab: Topology, succession: Succession, source: str
) -> None:
    addresses = lab.addresses
    succession.routing.add(source, addresses.group, "up0", ["down0"])
    succession.routing.add(source, addresses.other_group, "up0", ["down1"])
    succession.forget(source, addresses.other_group, "up0")
    with lab.sender().flow() as flow:
        flow.wait_for(50)
        assert len(succession.succeed()) == 2
        lab.sender(group=addresses.other_group).send(10)
        flow.wait_for(50)
    assert lab.arrived() == {"down0": flow.sent}
    assert sorted(lab.vifs().values()) == ["down0", "up0"]


def test_other_oifs_are_mended_and_the_one_that_stays_loses_nothing(
    lab: Topology, succession: Succession, source: str
) -> None:
    addresses = lab.addresses
    succession.routing.add(source, addresses.group, "up0", ["down0", "down1"])
    wanted = parse_route(source, addresses.group, "up0", ["down0", "up1"])
    succession.routing.keeper.routes[wanted.key] = wanted
    with lab.sender().flow() as flow:
        flow.wait_for(50)
        succession.succeed()
        flow.wait_for(50)
    assert lab.arrived()["down0"] == flow.sent
    sent = lab.sender().send(10)
    assert lab.arrived() == {"down0": sent, "up1": sent}


@pytest.mark.parametrize("gone", ["up0", "down0", "down1"])
@pytest.mark.parametrize("back", [False, True], ids=["gone", "made anew"])
@pytest.mark.parametrize("other", [False, True], ids=["alone", "beside a new one"])
@pytest.mark.parametrize("most", [dump.MOST_READ, 0], ids=["all read", "nothing read"])
def test_a_device_that_went_while_nobody_watched_leaves_no_stray_packet(
    lab: Topology,
    succession: Succession,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    gone: str,
    back: bool,
    other: bool,
    most: int,
) -> None:
    """The kernel's entries still have its VIF number, which the next new VIF gets."""
    monkeypatch.setattr(dump, "MOST_READ", most)
    addresses = lab.addresses
    route = succession.routing.add(source, addresses.group, "up0", ["down0", "down1"])
    if other:
        succession.routing.add(source, addresses.other_group, "up1", ["new"], wait=True)

    def act() -> None:
        lab.delete_link(gone)
        if back:
            lab.add_links(gone)
        if other:
            lab.add_links("new")

    succession.succeed(act)
    succession.routing.verify()
    expected: dict[str, list[int]] = {}
    if "up0" in lab.links:
        there = [name for name in ("down0", "down1") if name in lab.links]
        expected = dict.fromkeys(there, lab.sender().send(10))
    lab.sender("up1").send(10)
    if other:
        expected["new"] = lab.sender("up1", group=addresses.other_group).send(10)
    assert lab.arrived() == expected
    state = "active" if back else "waiting" if gone == "up0" else "partial"
    assert succession.routing.states()[str(route)] == state
    # An entry without one of its oifs is written each time: nobody sees what numbers it has.
    assert most == 0 or len(succession.succeed()) == (state == "partial")


def test_a_number_is_not_given_away_that_an_uncommitted_change_left_in_an_entry(
    lab: Topology, succession: Succession, source: str
) -> None:
    """The old process wrote an oif that it did not live to store; then the device went."""
    addresses = lab.addresses
    route = succession.routing.add(source, addresses.group, "up0", ["down0"])
    succession.routing.add(source, addresses.group, "up0", ["down0", "down1"], replace=True)
    succession.routing.keeper.routes[route.key] = route
    succession.succeed(lambda: lab.delete_link("down1"))
    succession.routing.add(source, addresses.other_group, "up0", ["up1"])
    sent = lab.sender().send(10)
    assert lab.arrived() == {"down0": sent}


def test_more_interfaces_than_the_kernel_takes_are_no_reason_to_begin_anew(
    family: socket.AddressFamily,
) -> None:
    with Topology(family, downstreams=32) as lab:
        succession = Succession(lab)
        addresses = lab.addresses
        with closing(succession.routing):
            succession.routing.add(
                addresses.other_source, addresses.other_group, "up0", lab.downstreams[:31]
            )
            lab.delete_link("down31")
            succession.routing.add(
                addresses.source, addresses.group, "up0", ["down0", "down31"], wait=True
            )
            lab.add_links("down31")
            succession.routing.follow()
            before = succession.routing.states()
            assert sorted(before.values()) == ["active", "partial"]
            with lab.sender(
                source=addresses.other_source, group=addresses.other_group
            ).flow() as flow:
                flow.wait_for(50)
                assert abi.MRT_DONE not in [option for option, _ in succession.succeed()]
                flow.wait_for(50)
            assert succession.routing.states() == before
            assert lab.arrived() == dict.fromkeys(lab.downstreams[:31], flow.sent)
        succession.routing.close()


def test_a_vif_that_nobody_wants_makes_room_for_one_that_is(
    family: socket.AddressFamily,
) -> None:
    with Topology(family, downstreams=32) as lab:
        succession = Succession(lab)
        addresses = lab.addresses
        succession.routing.add(addresses.source, addresses.group, "up0", lab.downstreams[:31])
        wanted = parse_route(addresses.source, addresses.group, "up0", lab.downstreams[1:])
        succession.routing.keeper.routes[wanted.key] = wanted
        with lab.sender().flow() as flow:
            flow.wait_for(50)
            assert abi.MRT_DONE not in [option for option, _ in succession.succeed()]
            flow.wait_for(50)
        assert lab.arrived()["down1"] == flow.sent
        assert succession.routing.state == "active"
        succession.routing.close()


# What the kernel shows


def test_the_dump_shows_devices_and_thresholds(lab: Topology, table: Table) -> None:
    table.mroute.add_mfc(table.entry("up0", "down0", "down1", ttl=7))
    table.mroute.add_mfc(table.any_source_entry("up1", "down0"))
    group = socket.inet_pton(lab.family, lab.addresses.group)
    index = {name: lab.ifindex(name) for name in ("up0", "up1", "down0", "down1")}
    ttl = 7 if lab.family == socket.AF_INET else 1
    with lab.router:
        entries = sorted(dump.entries(lab.family))
        assert dump.held(table.mroute) == Held(
            {number: index[name] for number, name in lab.vifs().items()},
            [*dump.entries(lab.family)],
        )
    assert len(lab.entries()) == 2
    assert entries == [
        HeldEntry(bytes(len(group)), group, index["up1"], {index["down0"]: 1, index["up1"]: 1}),
        HeldEntry(
            socket.inet_pton(lab.family, lab.addresses.source),
            group,
            index["up0"],
            {index["down0"]: ttl, index["down1"]: ttl},
        ),
    ]


@pytest.mark.parametrize("mode", ["once", "always"])
def test_what_a_dump_skips_since_others_are_deleted_is_found(
    lab: Topology, table: Table, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """The kernel goes on after so many entries, of which some in front have gone meanwhile."""
    groups = [numbered_group(lab.family, n) for n in range(1, 21)]
    entries = [table.entry("up0", "down0", group=group) for group in groups]
    for entry in entries:
        table.mroute.add_mfc(entry)
    deletable, dump_entries = list(entries), dump.entries

    def skip(family: Family, number: int = 0) -> Iterator[HeldEntry]:
        shown = list(dump_entries(family, number))
        at = len(entries) - len(deletable)
        if deletable and (mode == "always" or len(deletable) == len(entries)):
            for _ in range(2):
                table.mroute.del_mfc(deletable.pop())
            del shown[at : at + 2]
        yield from shown

    monkeypatch.setattr(dump, "entries", skip)
    with lab.router:
        held = dump.held(table.mroute)
        assert {entry.group for entry in held.entries} >= {entry.group for entry in deletable}
    assert {*held.vifs.values()} == {lab.ifindex(name) for name in lab.vifs().values()}


def test_what_a_dump_has_shown_does_not_outlive_a_deletion_that_was_not_told(
    lab: Topology, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(netlink, "_RECEIVE_BUFFER", 1)
    groups = [numbered_group(lab.family, n) for n in range(1, 101)]
    entries = [table.entry("up0", "down0", group=group) for group in groups]
    for entry in entries:
        table.mroute.add_mfc(entry)
    deletable, dump_entries = entries[:50], dump.entries

    def delete_after(family: Family, number: int = 0) -> Iterator[HeldEntry]:
        yield from list(dump_entries(family, number))
        while deletable:  # the earliest are told, and the last are not
            table.mroute.del_mfc(deletable.pop())

    monkeypatch.setattr(dump, "entries", delete_after)
    with lab.router:
        held = dump.held(table.mroute)
    assert {entry.group for entry in held.entries} == {entry.group for entry in entries[50:]}
    assert held.whole


def test_an_entry_that_another_program_deletes_meanwhile_ends_nothing(
    lab: Topology, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even that by which the VIFs are found out."""
    with lab.router:
        with monkeypatch.context() as patch:
            patch.setattr(table.mroute, "add_mfc", lambda _: None)
            with pytest.raises(OSError, match="devices come and go"):
                dump.held(table.mroute)
        assert dump.held(table.mroute).entries == []


def test_an_old_kernel_that_cannot_be_asked_for_one_entry_is_asked_for_all(
    lab: Topology, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> HeldEntry:
        raise OSError(errno.EOPNOTSUPP, "")

    with lab.router:
        expected = dump.vifs(table.mroute)
        assert {*expected.values()} == {lab.ifindex(name) for name in lab.vifs().values()}
        monkeypatch.setattr(dump, "_ask", refuse)
        assert dump.vifs(table.mroute) == expected


def test_streams_that_no_entry_is_for_are_told_apart(lab: Topology, table: Table) -> None:
    lab.sender().send(3)
    assert lab.arrived() == {}
    unresolved = lab.router.ip_json(
        "mroute show table all", "-6" if lab.family == socket.AF_INET6 else "-4"
    )
    assert [entry["state"] for entry in unresolved] == ["unresolved"]
    with lab.router:
        held = dump.held(table.mroute)
    packed = [socket.inet_pton(lab.family, each) for each in lab.addresses[0:3:2]]
    assert (held.entries, held.unresolved) == ([], ((packed[0], packed[1]),))


def test_entries_of_other_tables_are_left_out(lab: Topology, table: Table) -> None:
    table.mroute.add_mfc(table.entry("up0", "down0"))
    with Table(lab, 100) as other:
        other.mroute.init()
        other.add_vifs("up0", "down1")
        other.mroute.add_mfc(other.entry("up0", "down1", group=lab.addresses.other_group))
        assert {entry.table for entry in lab.entries()} == {"default", "100"}
        with lab.router:
            (entry,) = dump.entries(lab.family)
            (elsewhere,) = dump.entries(lab.family, 100)
            assert dump.held(other.mroute).entries == [elsewhere]
    assert entry.group == socket.inet_pton(lab.family, lab.addresses.group)
    assert elsewhere.group == socket.inet_pton(lab.family, lab.addresses.other_group)


def test_the_default_table_is_dumped_by_its_number(lab: Topology, table: Table) -> None:
    """253 for IPv4, where `ip mroute` calls it default; 254 for IPv6, which others call main."""
    table.mroute.add_mfc(table.entry("up0", "down0"))
    with lab.router:
        assert len([*dump.entries(lab.family)]) == 1


def test_a_device_that_has_gone_is_not_shown(lab: Topology, table: Table) -> None:
    table.mroute.add_mfc(table.entry("up0", "down0", "down1"))
    table.mroute.add_mfc(table.any_source_entry("up1", "down0"))
    lab.delete_link("down1")
    lab.delete_link("up1")
    with lab.router:
        assert sorted((entry.iif, [*entry.oifs]) for entry in dump.entries(lab.family)) == [
            (0, [lab.ifindex("down0")]),
            (lab.ifindex("up0"), [lab.ifindex("down0")]),
        ]


@pytest.mark.parametrize("number", [0, 100])
def test_the_vifs_of_any_table_are_found(lab: Topology, number: int) -> None:
    with Table(lab, number) as table:
        table.mroute.init()
        with lab.router:
            assert dump.held(table.mroute) == Held({}, [])
        table.add_vifs("up0", "down0", "down1", "up1")
        table.del_vif("up0")
        lab.delete_link("down1")
        with lab.router:
            assert dump.held(table.mroute) == Held(
                {1: lab.ifindex("down0"), 3: lab.ifindex("up1")}, []
            )
    assert lab.entries() == set()


# More than is read at the start


@pytest.fixture
def nothing_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump, "MOST_READ", 0)


@pytest.mark.usefixtures("nothing_read")
def test_learned_streams_and_routes_flow_on_through_20_deaths(
    lab: Topology, succession: Succession, source: str
) -> None:
    addresses = lab.addresses
    succession.routing.add("*", WIDE[lab.family], "up0", ["down0", "down1"])
    route = succession.routing.add(source, addresses.group, "up0", ["down0"])
    learned = lab.sender(group=addresses.other_group)
    learned.send(1)
    succession.routing.hear()
    assert [*lab.arrived()] == ["down0", "down1"]
    before, streams = lab.entries(), succession.routing.learned()
    with lab.sender().flow(rate=500) as flow, learned.flow(rate=500) as other:
        for death in range(20):
            succession.succeed()
            flow.wait_for(10)
            if death % 5 == 0:  # those between have no time for it
                succession.routing.verify()
            flow.wait_for(10)
    succession.routing.verify()
    arrived = lab.arrived()
    assert sorted(arrived["down0"]) == sorted([*flow.sent, *other.sent])
    assert arrived["down1"] == other.sent
    assert lab.entries() == before
    assert succession.routing.learned() == streams
    assert succession.routing.states()[str(route)] == "active"


@pytest.mark.usefixtures("nothing_read")
def test_what_strangers_and_lost_changes_left_is_deleted_when_it_is_found(
    lab: Topology, succession: Succession, source: str
) -> None:
    addresses = lab.addresses
    succession.routing.add(source, addresses.group, "up0", ["down0"])
    entries = lab.entries()
    other = succession.routing.add(source, addresses.other_group, "up0", ["down1"])
    with lab.sender().flow() as flow:
        flow.wait_for(50)
        succession.forget(source, addresses.other_group, "up0")
        succession.succeed()
        assert len(lab.entries()) == 2
        assert str(other) not in succession.routing.states()
        succession.routing.verify()
        flow.wait_for(50)
    assert lab.entries() == entries
    assert sorted(lab.vifs().values()) == ["down0", "up0"]
    assert lab.arrived() == {"down0": flow.sent}


@pytest.mark.usefixtures("nothing_read")
def test_a_learned_stream_does_not_get_into_the_number_of_a_device_that_went(
    lab: Topology, succession: Succession
) -> None:
    succession.routing.add("*", WIDE[lab.family], "up0", ["down0", "down1"])
    sender = lab.sender()
    first = sender.send(1)
    succession.routing.hear()
    assert lab.arrived() == {"down0": first, "down1": first}

    def act() -> None:
        lab.delete_link("down1")
        lab.add_links("down1", "new")

    with sender.flow(rate=500) as flow:
        succession.succeed(act)
        succession.routing.follow()
        flow.wait_for(20)
        assert "down1" not in lab.arrived()
        succession.routing.verify()
        flow.wait_for(20)
    assert "new" not in lab.arrived()
    after = sender.send(5)
    assert lab.arrived() == {"down0": after, "down1": after}


@pytest.mark.usefixtures("nothing_read")
def test_a_stream_that_waited_for_the_earlier_process_is_answered_when_it_is_found(
    lab: Topology, succession: Succession
) -> None:
    succession.routing.add("*", WIDE[lab.family], "up0", ["down0"])
    mroute = succession.routing.mroutes[lab.family]
    sender = lab.sender()
    waiting = sender.send(3)
    assert lab.arrived() == {}
    assert mroute.upcalls(10)  # the earlier process has read it, and answers no more
    succession.succeed()
    succession.routing.hear()
    assert lab.arrived() == {}
    succession.routing.verify()
    after = sender.send(2)
    succession.routing.hear()
    assert lab.arrived() == {"down0": [*waiting, *after]}


@pytest.mark.parametrize("most", [0, 3, 4])
def test_a_table_with_more_entries_than_are_read_is_known_not_to_be_whole(
    lab: Topology, table: Table, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(dump, "MOST_READ", most)
    for n in range(4):
        table.mroute.add_mfc(table.entry("up0", "down0", group=numbered_group(lab.family, n)))
    with lab.router:
        held = dump.held(table.mroute)
    assert (len(held.entries), held.whole) == (most, most == 4)
    assert len(held.vifs) == len(lab.vifs())
