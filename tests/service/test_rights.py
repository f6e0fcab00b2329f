"""What a right reaches: real rules of polkit, real routes of others, and what becomes of packets.

up0 ──┐ router,  ┌── down0
      ├ mfc-dbusd┤
up1 ──┘          └── down1

Root has routes. A rule lets "camera" manage a range of groups that arrives on up1, "display" the
same as long as it leaves by down0 alone, and "operator" everything.
"""

import socket
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from lab.bus import PrivateBus
from lab.caller import STANDARD, Caller, Route, refused
from lab.daemon import Daemon
from lab.delivery import deliveries
from lab.polkit import real
from lab.topology import Topology

from mfc_dbus.model.addresses import FAMILY_NAMES

USERS = {"mfc-dbus": 64201, "camera": 64202, "display": 64203, "operator": 64204}
RULES = """
polkit.addRule(function(action, subject) {
    if (action.id != "org.example.MulticastForwarding.manage-routes")
        return polkit.Result.NOT_HANDLED;
    if (subject.user == "operator")
        return polkit.Result.YES;
    var group = action.lookup("group") || "";
    var granted = group.indexOf("239.1.") == 0 || group.indexOf("ff1e:1:") == 0;
    if (granted && action.lookup("iif") == "up1" &&
        (subject.user == "camera" || action.lookup("oifs") == "down0"))
        return polkit.Result.YES;
    return polkit.Result.NOT_HANDLED;
});
"""
PASSWORD = f"{STANDARD}.InteractiveAuthorizationRequired"

SOURCE, OTHER = "10.50.0.77", "10.50.0.78"
GROUP, FEW, GRANTED, ALL = "239.1.7.7", "239.1.7.0/24", "239.1.0.0/16", "239.0.0.0/8"
IPV6 = {
    "*": "*",
    SOURCE: "fd50::77",
    OTHER: "fd50::78",
    GROUP: "ff1e:1:7::7",
    FEW: "ff1e:1:7::/48",
    GRANTED: "ff1e:1::/32",
    ALL: "ff1e::/16",
}
FROM_UP0 = ("*", GRANTED, "up0", "down0")
FROM_UP1 = ("*", GRANTED, "up1", "down0", "down1")


class Row(NamedTuple):
    """Routes of root; a user's call, and whether it is allowed; what arrives where afterwards.

    flows: upstream and source, and the downstreams. What is refused changes none of it.
    """

    present: list[tuple[str, ...]]
    user: str
    call: tuple[str, ...]
    allowed: bool
    flows: dict[tuple[str, str], tuple[str, ...]]


TABLE = {
    "a stream of another interface cannot be stopped": Row(
        [FROM_UP0], "camera", ("add", SOURCE, GROUP, "up1"), False, {("up0", SOURCE): ("down0",)}
    ),
    "a stream of another interface cannot be taken": Row(
        [FROM_UP0],
        "camera",
        ("add", SOURCE, GROUP, "up1", "down1"),
        False,
        {("up0", SOURCE): ("down0",)},
    ),
    "a stream of any source on another interface cannot be taken": Row(
        [("*", GROUP, "up0", "down0")],
        "camera",
        ("add", SOURCE, GROUP, "up1", "down1"),
        False,
        {("up0", SOURCE): ("down0",)},
    ),
    "a stream of all interfaces cannot be taken": Row(
        [("*", GRANTED, "up*", "down0")],
        "camera",
        ("add", SOURCE, GROUP, "up1", "down1"),
        False,
        {("up0", SOURCE): ("down0",)},
    ),
    "a stream cannot be moved": Row(
        [(SOURCE, GROUP, "up0", "down0")],
        "camera",
        ("replace", SOURCE, GROUP, "up1", "down1"),
        False,
        {("up0", SOURCE): ("down0",)},
    ),
    "a stream cannot be moved away": Row(
        [(SOURCE, GROUP, "up1", "down0")],
        "camera",
        ("replace", SOURCE, GROUP, "up0", "down1"),
        False,
        {("up1", SOURCE): ("down0",)},
    ),
    "a pattern reaches too far": Row(
        [FROM_UP0], "camera", ("add", "*", FEW, "up*"), False, {("up0", SOURCE): ("down0",)}
    ),
    "wider groups reach too far": Row(
        [FROM_UP0], "camera", ("add", "*", ALL, "up1"), False, {("up0", SOURCE): ("down0",)}
    ),
    "a flush reaches too far": Row(
        [FROM_UP1], "camera", ("flush", GRANTED), False, {("up1", SOURCE): ("down0", "down1")}
    ),
    "a route with other oifs cannot be deleted": Row(
        [(SOURCE, GROUP, "up1", "down0", "down1")],
        "display",
        ("delete", SOURCE, GROUP),
        False,
        {("up1", SOURCE): ("down0", "down1")},
    ),
    "a route with other oifs cannot be replaced": Row(
        [(SOURCE, GROUP, "up1", "down0", "down1")],
        "display",
        ("replace", SOURCE, GROUP, "up1", "down0"),
        False,
        {("up1", SOURCE): ("down0", "down1")},
    ),
    "a stream with other oifs cannot be taken": Row(
        [FROM_UP1],
        "display",
        ("add", SOURCE, GROUP, "up1", "down0"),
        False,
        {("up1", SOURCE): ("down0", "down1")},
    ),
    "fewer groups with other oifs cannot be taken": Row(
        [FROM_UP1],
        "display",
        ("add", "*", FEW, "up1", "down0"),
        False,
        {("up1", SOURCE): ("down0", "down1")},
    ),
    "a group with other oifs cannot be taken": Row(
        [FROM_UP1],
        "display",
        ("add", "*", GROUP, "up1", "down0"),
        False,
        {("up1", SOURCE): ("down0", "down1")},
    ),
    "what is stopped stays stopped": Row(
        [("*", FEW, "up1")],
        "display",
        ("add", SOURCE, GROUP, "up1", "down0"),
        False,
        {("up1", SOURCE): ()},
    ),
    "a route of any source towards another interface takes nothing from it": Row(
        [FROM_UP0],
        "camera",
        ("add", "*", GROUP, "up1", "up0", "down1"),
        True,
        {("up0", SOURCE): ("down0",), ("up1", OTHER): ("up0", "down1")},
    ),
    "nor where that has a route of any source itself": Row(
        [("*", GROUP, "up0", "down0")],
        "camera",
        ("add", "*", GROUP, "up1", "up0", "down1"),
        True,
        {("up0", SOURCE): ("down0",), ("up1", OTHER): ("up0", "down1")},
    ),
    "nor does a prefix": Row(
        [FROM_UP0],
        "camera",
        ("add", "*", FEW, "up1", "down1"),
        True,
        {("up0", SOURCE): ("down0",), ("up1", OTHER): ("down1",)},
    ),
    "what is granted can be taken from wider groups": Row(
        [("*", ALL, "up1", "down0")],
        "camera",
        ("add", SOURCE, GROUP, "up1", "down1"),
        True,
        {("up1", SOURCE): ("down1",), ("up1", OTHER): ("down0",)},
    ),
    "and with the same oifs, whatever these are": Row(
        [("*", ALL, "up1", "down0")],
        "display",
        ("add", SOURCE, GROUP, "up1", "down0"),
        True,
        {("up1", SOURCE): ("down0",)},
    ),
    "what is deleted goes back to where it came from": Row(
        [(SOURCE, GROUP, "up1", "down1"), FROM_UP0],
        "camera",
        ("delete", SOURCE, GROUP),
        True,
        {("up0", SOURCE): ("down0",)},
    ),
    "who may all may this too": Row(
        [FROM_UP0], "operator", ("add", SOURCE, GROUP, "up1"), True, {("up0", SOURCE): ()}
    ),
}


@pytest.fixture(scope="module")
def bus() -> Iterator[PrivateBus]:
    with real(USERS, {}, RULES) as bus:
        yield bus


@pytest.fixture(scope="module", params=[*FAMILY_NAMES], ids=[*FAMILY_NAMES.values()])
def lab(request: pytest.FixtureRequest) -> Iterator[Topology]:
    with Topology(request.param, downstreams=2, upstreams=2) as lab:
        yield lab


@pytest.fixture(scope="module")
def _daemon(bus: PrivateBus, lab: Topology) -> Iterator[Daemon]:
    with Daemon(bus.address, lab.router, uid=USERS["mfc-dbus"]) as daemon:
        yield daemon


def forwards(lab: Topology, flows: dict[tuple[str, str], tuple[str, ...]]) -> None:
    """Demand that 3 of 3 packets of each flow arrive where they should, and nowhere else."""
    for (upstream, source), downs in flows.items():
        sent = lab.sender(upstream, source=source, group=of(lab, GROUP)).send(3)
        expected = dict.fromkeys(downs, sent)
        assert deliveries(lab, expected) == expected


def of(lab: Topology, address: str) -> str:
    return IPV6[address] if lab.family == socket.AF_INET6 else address


async def call(caller: Caller, lab: Topology, member: str, *arguments: str) -> None:
    if member == "flush":
        await caller.flush(group=of(lab, arguments[0]))
        return
    source, group, iif, *oifs = (*arguments, "")[: max(3, len(arguments))]
    route = Route(of(lab, source), of(lab, group), iif, oifs)
    if member == "delete":
        await caller.delete(route)
    else:
        await caller.add(route, replace=member == "replace")


@pytest.mark.usefixtures("daemon", "nobody")
@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
async def test_a_right_reaches_no_further_than_it_says(
    row: Row, bus: PrivateBus, lab: Topology
) -> None:
    flows = {(upstream, of(lab, source)): downs for (upstream, source), downs in row.flows.items()}
    async with Caller.at(bus.address) as root, Caller.at(bus.address, USERS[row.user]) as user:
        for route in row.present:
            await call(root, lab, "add", *route)
        before = await root.get("Routes")
        if row.allowed:
            await call(user, lab, *row.call)
        else:
            forwards(lab, flows)
            await refused(call(user, lab, *row.call), PASSWORD)
            assert await root.get("Routes") == before
        forwards(lab, flows)
