"""What smcroute can do and what this service can, each feature tried on both with real packets.

               ┌────────┐
    sender ─up0┤        ├down0─ receiver
               │ router │
    sender ─up1┤        ├down1─ receiver
               └────────┘

All of it happens in network namespaces. Usage: make compare [ARGS='--markdown']
"""

import argparse
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from ipaddress import ip_network
from typing import NamedTuple, TypeVar

from lab.contenders import Contender, MfcDbus, Route, Smcroute
from lab.delivery import deliveries
from lab.igmp import Member, members
from lab.markdown import markdown
from lab.packets import Flow
from lab.switch import Switch
from lab.topology import Topology
from rich.console import Console
from rich.progress import track
from rich.table import Table as Grid

IPV4, IPV6 = socket.AF_INET, socket.AF_INET6
FAMILIES = {IPV4: "IPv4", IPV6: "IPv6"}
PACKAGE = "smcroute"
T = TypeVar("T")

# Seconds until what has not come will not. The kernel tells of a stream on another interface at
# most once in 3 s.
_PATIENCE = 5.0
_TABLE = 100
_JOINS = 25
_BURST = 50

_RANGES = {
    IPV4: ("10.1.0.0/24", "239.1.2.0/24", ("239.1.2.1", "239.1.2.77"), "239.1.3.1"),
    IPV6: ("fd01::/64", "ff1e::100/120", ("ff1e::101", "ff1e::177"), "ff1e::201"),
}
_JOINED_RANGES = {IPV4: "239.1.4.0/28", IPV6: "ff1e::400/124"}
_LINK_LOCAL = {IPV4: "10.9.0.1/24 dev lan", IPV6: "fe80::1/64 dev lan nodad"}
_OUTSIDE_SOURCE = {IPV4: "10.2.0.10", IPV6: "fd02::10"}


class Outcome(NamedTuple):
    """Whether all is as it should be, and what was measured where that says more."""

    passed: bool
    measured: str = ""

    def __str__(self) -> str:
        return self.measured or ("yes" if self.passed else "no")


class Ground:
    """A router in the lab, with one of the contenders on it."""

    def __init__(self, lab: Topology, contender: Contender) -> None:
        self.lab = lab
        self.contender = contender
        self.source, self.group = lab.addresses.source, lab.addresses.group
        self.other_source, self.other_group = lab.addresses.other_source, lab.addresses.other_group
        self.sources, self.groups, self.inside, self.outside = _RANGES[lab.family]

    def forwards(
        self, up: str, *downs: str, source: str = "", group: str = "", ttl: int = 64, count: int = 3
    ) -> bool:
        """Whether all packets arrive there, once, and nowhere else. To nowhere: whether none do."""
        sent = self.lab.sender(up, source=source, group=group, ttl=ttl).send(count)
        expected = dict.fromkeys(downs, sent)
        return deliveries(self.lab, expected, _PATIENCE) == expected

    def eventually_forwards(self, up: str, *downs: str) -> bool:
        """Whether it comes to that, with no command from anyone."""
        deadline = time.monotonic() + _PATIENCE
        sender = self.lab.sender(up)
        expected = {*downs}
        while time.monotonic() < deadline:
            sent = sender.send(3)
            time.sleep(0.1)
            if {name for name, come in self.lab.arrived().items() if come == sent} == expected:
                return True
        return False

    def lost(self, flow: Flow, down: str) -> Outcome:
        """How many packets of a stream that is over did not arrive there."""
        come = deliveries(self.lab, {down: flow.sent}, 1.0).get(down, [])
        lost = len(flow.sent) - len({*come})
        return Outcome(lost == 0 and len(come) == len(flow.sent), f"{lost} lost")


def exact(ground: Ground) -> Outcome:
    route = Route(ground.group, "up0", ["down0", "down1"], ground.source)
    ground.contender.add(route)
    forwards = ground.forwards("up0", "down0", "down1")
    ground.contender.delete(route)
    return Outcome(forwards and ground.forwards("up0") and ground.forwards("up1"))


def any_source(ground: Ground) -> Outcome:
    ground.contender.add(Route(ground.group, "up0", ["down0"]))
    return Outcome(
        all(
            ground.forwards("up0", "down0", source=source)
            for source in (ground.source, ground.other_source)
        )
        and ground.forwards("up0", group=ground.other_group)
    )


def cold_burst(ground: Ground) -> Outcome:
    ground.contender.add(Route(ground.group, "up0", ["down0"]))
    sent = ground.lab.sender().send(_BURST)
    come = deliveries(ground.lab, {"down0": sent}, 1.0).get("down0", [])
    return Outcome(come == sent, f"{len(come)} of {_BURST}")


def group_prefix(ground: Ground) -> Outcome:
    ground.contender.add(Route(ground.groups, "up0", ["down0"]))
    inside = [ground.forwards("up0", "down0", group=group) for group in ground.inside]
    return Outcome(all(inside) and ground.forwards("up0", group=ground.outside))


def source_prefix(ground: Ground) -> Outcome:
    ground.contender.add(Route(ground.group, "up0", ["down0"], ground.sources))
    inside = [
        ground.forwards("up0", "down0", source=source)
        for source in (ground.source, ground.other_source)
    ]
    outside = ground.forwards("up0", source=_OUTSIDE_SOURCE[ground.lab.family])
    return Outcome(all(inside) and outside)


def live_stream(ground: Ground) -> Outcome:
    """What is lost of a stream that runs already, from the end of the command on."""
    ground.contender.add(Route(ground.outside, "up0", ["down1"]))
    with ground.lab.sender().flow(rate=1000) as flow:
        flow.wait_for(200)
        ground.contender.add(Route(ground.groups, "up0", ["down0"]))
        since = len(flow.sent) + 1  # one may have been on its way
        flow.wait_for(1000)
    sent = flow.sent[since:]
    come = deliveries(ground.lab, {"down0": sent}, 1.0).get("down0", [])
    lost = len({*sent} - {*come})
    return Outcome(lost == 0, f"{lost} of {len(sent)} lost" if lost else "0 lost")


def stop_in_range(ground: Ground) -> Outcome:
    blocked, other = ground.inside
    ground.contender.add(Route(ground.groups, "up0", ["down0"]))
    ground.contender.add(Route(blocked, "up0", (), ground.source))
    held = ground.forwards("up0", group=blocked)
    return Outcome(held and ground.forwards("up0", "down0", group=other))


def stop_live(ground: Ground) -> Outcome:
    blocked, other = ground.inside
    ground.contender.add(Route(ground.groups, "up0", ["down0"]))
    before = ground.forwards("up0", "down0", group=blocked)
    ground.contender.add(Route(blocked, "up0", (), ground.source))
    held = ground.forwards("up0", group=blocked)
    return Outcome(before and held and ground.forwards("up0", "down0", group=other))


def stop_removed(ground: Ground) -> Outcome:
    blocked = ground.inside[0]
    stop = Route(blocked, "up0", (), ground.source)
    ground.contender.add(Route(ground.groups, "up0", ["down0"]))
    ground.contender.add(stop)
    held = ground.forwards("up0", group=blocked)
    ground.contender.delete(stop)
    return Outcome(held and ground.forwards("up0", "down0", group=blocked))


def threshold(ground: Ground) -> Outcome:
    route = Route(ground.group, "up0", ["down0", "down1"], ground.source, {"down1": 16})
    ground.contender.add(route)
    high = ground.forwards("up0", "down0", "down1", ttl=17)
    return Outcome(high and ground.forwards("up0", "down0", ttl=16))


def threshold_by_route(ground: Ground) -> Outcome:
    first = Route(ground.group, "up0", ["down1"], ground.source, {"down1": 16})
    other = Route(ground.other_group, "up0", ["down1"], ground.source)
    ground.contender.add(first)
    ground.contender.add(other)
    low = ground.forwards("up0", "down1", ttl=16, group=ground.other_group)
    return Outcome(low and ground.forwards("up0", ttl=16))


def both_ways(ground: Ground) -> Outcome:
    """One group, forwarded from each of two interfaces to the other."""
    ground.contender.add(Route(ground.group, "up0", ["up1", "down0"]))
    ground.contender.add(Route(ground.group, "up1", ["up0", "down1"]))
    there = ground.forwards("up0", "up1", "down0")
    return Outcome(there and ground.forwards("up1", "up0", "down1", source=ground.other_source))


def move(ground: Ground) -> Outcome:
    ground.contender.add(Route(ground.groups, "up0", ["down0"]))
    ground.contender.add(Route(ground.groups, "up1", ["down0"]))
    first = ground.forwards("up0", "down0")
    return Outcome(first and ground.eventually_forwards("up1", "down0"))


def join(ground: Ground) -> Outcome:
    ground.contender.join("up0", ground.group)
    return _joined(ground, {Member("up0", ground.group)})


def join_source(ground: Ground) -> Outcome:
    ground.contender.join("up0", ground.group, ground.source)
    return _joined(ground, {Member("up0", ground.group, frozenset({ground.source}))})


def many_joins(ground: Ground) -> Outcome:
    stem = ground.groups.partition("/")[0][:-1]
    groups = [f"{stem}{number:x}" for number in range(10, 10 + _JOINS)]
    if ground.lab.family == IPV4:
        groups = [f"{stem}{number}" for number in range(10, 10 + _JOINS)]
    try:
        for group in groups:
            ground.contender.join("up0", group)
    except OSError as error:
        print(f"{ground.contender.name}: {error}", file=sys.stderr)
    joined = _eventually(lambda: {each.group for each in members(ground.lab.router)}, {*groups})
    return Outcome(joined == {*groups}, f"{len(joined)} of {_JOINS}")


def join_range(ground: Ground) -> Outcome:
    groups = _JOINED_RANGES[ground.lab.family]
    ground.contender.join("up0", groups)
    return _joined(ground, {Member("up0", str(group)) for group in ip_network(groups)})


def iif_pattern(ground: Ground) -> Outcome:
    ground.contender.add(Route(ground.group, "up*", ["down0"]))
    first = ground.forwards("up0", "down0")
    return Outcome(first and ground.forwards("up1", "down0", source=ground.other_source))


def oif_pattern(ground: Ground) -> Outcome:
    ground.contender.add(Route(ground.group, "up0", ["down*"], ground.source))
    return Outcome(ground.forwards("up0", "down0", "down1"))


def pattern_later(ground: Ground) -> Outcome:
    """An interface that comes after the route, on both sides of it."""
    routes = [Route(ground.group, "up*", ["down*"])]
    ground.contender.configure(routes)
    ground.contender.reload()
    ground.lab.add_links("up2", "down2")
    ground.contender.configure(routes)  # the same, read by who is told to
    return _after_a_reload(ground, "up2", "down0", "down1", "down2")


def router_discovery(ground: Ground) -> Outcome:
    """What a switch withholds arrives when it has heard of the router, and nobody has joined it."""
    lab, route = ground.lab, Route(ground.group, "lan", ["down0"], ground.source)
    with Switch(lab):
        lab.router.ip(f"address add {_LINK_LOCAL[lab.family]}")
        ground.contender.configure([])  # now with `lan`
        ground.contender.reload()
        ground.contender.add(route)
        if not _eventually(lambda: ground.forwards("lan", count=1), True):
            raise TimeoutError("the switch withholds nothing")
        ground.contender.advertise("lan")
        if isinstance(ground.contender, Smcroute):
            ground.contender.add(route)  # it has forgotten it
        return Outcome(ground.eventually_forwards("lan", "down0"))


def batch(ground: Ground) -> Outcome:
    ground.contender.add_many(
        [
            Route(ground.group, "up0", ["down0"], ground.source),
            Route(ground.other_group, "up0", ["down1"], ground.source),
        ]
    )
    first = ground.forwards("up0", "down0")
    return Outcome(first and ground.forwards("up0", "down1", group=ground.other_group))


def as_json(ground: Ground) -> Outcome:
    ground.contender.add(Route(ground.group, "up0", ["down0"], ground.source))
    try:
        shown = json.dumps(json.loads(ground.contender.show_json()))
    except (OSError, ValueError):
        return Outcome(False)
    return Outcome(all(f'"{each}"' in shown for each in (ground.source, ground.group)))


def reload(ground: Ground) -> Outcome:
    """Ten changes of another route in the file, under a stream of 1,000 packets a second."""
    stays = Route(ground.group, "up0", ["down0"], ground.source)
    ground.contender.configure([stays])
    ground.contender.reload()
    if not ground.eventually_forwards("up0", "down0"):
        return Outcome(False)
    with ground.lab.sender().flow(rate=1000) as flow:
        for number in range(10):
            flow.wait_for(50)
            changes = Route(ground.other_group, "up0", ["down1"][number % 2 :], ground.source)
            ground.contender.configure([stays, *([changes] if changes.oifs else [])])
            ground.contender.reload()
        flow.wait_for(200)
    return ground.lost(flow, "down0")


def reload_keeps(ground: Ground) -> Outcome:
    """A route that was added at run time, after the configuration was read again."""
    ground.contender.add(Route(ground.group, "up0", ["down0"], ground.source))
    ground.contender.configure([Route(ground.other_group, "up0", ["down1"])])
    ground.contender.reload()
    return Outcome(
        _eventually(lambda: ground.forwards("up0", "down1", group=ground.other_group), True)
        and ground.forwards("up0", "down0")
    )


def restart_keeps(ground: Ground) -> Outcome:
    ground.contender.add(Route(ground.group, "up0", ["down0"], ground.source))
    ground.contender.stop()
    ground.contender.start()
    return Outcome(ground.eventually_forwards("up0", "down0"))


def restart_loses(ground: Ground) -> Outcome:
    """Of a stream of 1,000 packets a second, by a route of the configuration file."""
    ground.contender.configure([Route(ground.group, "up0", ["down0"], ground.source)])
    ground.contender.reload()
    if not ground.eventually_forwards("up0", "down0"):
        return Outcome(False)
    with ground.lab.sender().flow(rate=1000) as flow:
        flow.wait_for(200)
        ground.contender.stop()
        ground.contender.start()
        flow.wait_for(200)
    return ground.lost(flow, "down0")


def interface_returns(ground: Ground) -> Outcome:
    ground.contender.configure([Route(ground.group, "up0", ["down0", "down1"], ground.source)])
    ground.contender.reload()
    before = ground.eventually_forwards("up0", "down0", "down1")
    ground.lab.delete_link("down0")
    ground.lab.add_links("filler", "down0")
    return _after_a_reload(ground, "up0", "down0", "down1") if before else Outcome(False)


def late_interfaces(ground: Ground) -> Outcome:
    """Its configuration is read before any interface is there."""
    contender, lab = ground.contender, ground.lab
    contender.configure([Route(ground.group, "up0", ["down0"], ground.source)])
    contender.stop()
    names = lab.links
    for name in names:
        lab.delete_link(name)
    contender.start()
    lab.add_links(*names)
    return _after_a_reload(ground, "up0", "down0")


def two_tables(ground: Ground) -> Outcome:
    """The same stream on two interfaces, each with a table of its own."""
    route = Route(ground.group, "up0", ["down0"], ground.source)
    ground.contender.add(route)
    ground.contender.add(route._replace(iif="up1", oifs=["down1"], table=_TABLE))
    first = ground.forwards("up0", "down0")
    return Outcome(first and ground.forwards("up1", "down1") and ground.forwards("up0", "down0"))


class Check(NamedTuple):
    """A feature, how it is tried, and on what ground.

    documented: what smcroute 2.6.0's change log and manual pages say of it; "" is nothing.
    """

    feature: str
    how: str
    run: Callable[[Ground], Outcome]
    documented: str = ""
    families: Sequence[socket.AddressFamily] = (IPV4, IPV6)
    rules: Mapping[str, int] = {}
    thresholds: Mapping[str, int] = {}


CHECKS = [
    Check(
        "route of one sender", "3 packets to each of 2 oifs; none after its deletion", exact, "yes"
    ),
    Check("route from any source", "3 packets from each of 2 senders", any_source, "yes"),
    Check(
        "… cold start",
        f"a burst of {_BURST} packets of a new stream",
        cold_burst,
        "the first is lost",
    ),
    Check("group prefix", "3 packets in each of 2 groups, 0 outside", group_prefix, "yes"),
    Check(
        "source prefix", "3 packets from each of 2 senders, 0 from outside", source_prefix, "yes"
    ),
    Check("prefix over a live stream", "lost of 1,000/s once the command has ended", live_stream),
    Check("stop in a range", "0 packets of its stream, 3 of another", stop_in_range),
    Check("… over a live stream", "the same, once the stream has begun", stop_live),
    Check("… and its removal", "3 packets of its stream", stop_removed),
    Check(
        "TTL threshold",
        "TTL 17 passes 16, TTL 16 does not",
        threshold,
        "yes",
        families=[IPV4],
        thresholds={"down1": 16},
    ),
    Check(
        "… of one route alone",
        "another route on the same oif",
        threshold_by_route,
        "no",
        families=[IPV4],
    ),
    Check("one group, both ways", "from each of 2 interfaces to the other", both_ways),
    Check("stream moves to another iif", "of a range that covers both, in 5 s", move, "yes"),
    Check("pattern as iif", "3 packets from each of 2 interfaces", iif_pattern, "yes"),
    Check("pattern as oif", "3 packets to each of 2 interfaces", oif_pattern),
    Check("… and an interface that comes later", "as iif and as oif, no command", pattern_later),
    Check("join", "in the kernel's list", join, "yes"),
    Check("source-specific join", "in the kernel's list, with its source", join_source, "yes"),
    Check("join of a group prefix", "16 groups in the kernel's list", join_range, "yes"),
    Check("more than 20 joins", f"{_JOINS} on one interface", many_joins, "yes"),
    Check(
        "router discovery (RFC 4286)", "3 packets that a switch withheld", router_discovery, "IPv4"
    ),
    Check("many requests at once", "3 packets of each of 2 routes", batch, "yes"),
    Check("routes as JSON", "a route's source and group", as_json, "yes"),
    Check("reload", "10 times, lost of a stream of 1,000/s that stays", reload, "yes"),
    Check("… keeps run-time routes", "3 packets", reload_keeps),
    Check("restart keeps run-time routes", "3 packets, no command", restart_keeps, "no"),
    Check("… and loses", "of a configured stream of 1,000/s", restart_loses),
    Check(
        "interface deleted and made again", "under another ifindex, no command", interface_returns
    ),
    Check("start before the interfaces", "they come, no command", late_interfaces, "yes"),
    Check("two tables", "the same stream in each, apart", two_tables, "yes", rules={"up1": _TABLE}),
]


def try_out(check: Check, contender: type[Contender], family: socket.AddressFamily) -> Outcome:
    """Make one check on a new ground."""
    with ExitStack() as stack:
        lab = stack.enter_context(Topology(family, downstreams=2, upstreams=2))
        thresholds = check.thresholds if contender is Smcroute else {}
        router = stack.enter_context(contender(lab, rules=check.rules, thresholds=thresholds))
        router.start()
        return check.run(Ground(lab, router))


class Comparison(NamedTuple):
    """How both do in each family; smcroute has no outcomes where it is not installed."""

    check: Check
    smcroute: Mapping[socket.AddressFamily, Outcome]
    ours: Mapping[socket.AddressFamily, Outcome]

    @property
    def row(self) -> tuple[str, ...]:
        check, smcroute, ours = self
        return check.feature, check.how, _together(smcroute), check.documented, _together(ours)


def compare(check: Check) -> Comparison:
    smcroute = _outcomes(check, Smcroute) if installed() else {}
    return Comparison(check, smcroute, _outcomes(check, MfcDbus))


def installed() -> bool:
    return shutil.which("smcrouted") is not None


def header() -> tuple[str, ...]:
    title = f"smcroute {version()}" if installed() else "smcroute"
    return "feature", "how it was tested", title, "2.6, documented", "mfc-dbus"


def _outcomes(check: Check, contender: type[Contender]) -> Mapping[socket.AddressFamily, Outcome]:
    outcomes = {}
    for family in check.families:
        try:
            outcomes[family] = try_out(check, contender, family)
        except (OSError, TimeoutError) as error:
            outcomes[family] = Outcome(False, f"no ({error})")
    return outcomes


def _together(outcomes: Mapping[socket.AddressFamily, Outcome]) -> str:
    """Tell it once, where both families have the same to say."""
    said: dict[str, list[str]] = {}
    for family, outcome in outcomes.items():
        said.setdefault(str(outcome), []).append(FAMILIES[family])
    if len(said) == 1:
        return next(iter(said))
    told = (f"{', '.join(families)}: {text}" for text, families in said.items())
    return "; ".join(told) or "not installed"


def version() -> str:
    done = subprocess.run(["smcrouted", "-v"], capture_output=True, text=True)
    return (done.stdout + done.stderr).split()[1].removeprefix("v")


def _after_a_reload(ground: Ground, up: str, *downs: str) -> Outcome:
    """Whether it is forwarded with no command, or at least then."""
    if ground.eventually_forwards(up, *downs):
        return Outcome(True)
    ground.contender.reload()
    again = ground.eventually_forwards(up, *downs)
    return Outcome(False, "after a reload" if again else "no, nor after a reload")


def _joined(ground: Ground, expected: set[Member]) -> Outcome:
    return Outcome(_eventually(lambda: members(ground.lab.router), expected) == expected)


def _eventually(look: Callable[[], T], expected: T) -> T:
    deadline = time.monotonic() + _PATIENCE
    while (seen := look()) != expected and time.monotonic() < deadline:
        time.sleep(0.05)
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--markdown", action="store_true", help="as the documentation has it")
    parser.add_argument("--only", default="", help="features with this in their name")
    arguments = parser.parse_args()
    if not installed():
        print(f"smcroute is not installed: apt-get install {PACKAGE}", file=sys.stderr)
    rows = [
        compare(check).row
        for check in track(CHECKS, console=Console(stderr=True), transient=True)
        if arguments.only in check.feature
    ]
    if arguments.markdown:
        print(*markdown([header(), *rows]), sep="\n")
        return
    grid = Grid(*header())
    for row in rows:
        grid.add_row(*row)
    Console().print(grid)


if __name__ == "__main__":
    main()
