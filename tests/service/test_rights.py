"""What a right reaches: real rules of polkit, real routes of others, and what becomes of packets.

up0 ──┐ router,  ┌── down0
      ├ mfc-dbusd┤
up1 ──┘          └── down1

Root has routes. A rule lets "camera" manage a range of groups that arrives on up1, "display" the
same as long as it leaves by down0 alone, and "operator" everything. What they tried, what polkit
saw of it and what became of the packets is printed at the end, as a table.
"""

import socket
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pytest
from lab.bus import PrivateBus
from lab.caller import STANDARD, Caller, Membership, Route, refused
from lab.daemon import Daemon
from lab.delivery import deliveries
from lab.eavesdropper import Eavesdropper, Question
from lab.markdown import Rows
from lab.polkit import real
from lab.topology import Topology

from mfc_dbus.model.addresses import FAMILY_NAMES
from mfc_dbus.model.members import Action

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
GRANTED_TO = {
    "camera": "239.1.* and ff1e:1:* from up1",
    "display": "239.1.* and ff1e:1:* from up1 to down0 alone",
    "operator": "all routes",
}
COLUMNS = ("who", "may manage", "root's routes", "tried", "polkit saw", "answered", "packets")
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
BULK = ("bulk",)


class Row(NamedTuple):
    """Routes of root; a user's call, and whether it is allowed; what arrives where afterwards.

    asked: what polkit is asked about, one after the other until it does not say yes: BULK, or the
    call's source and group with the iif and oifs that are here. flows: upstream and source, and
    the downstreams. What is refused changes none of it. disabled: the route of root's that is.
    """

    present: list[tuple[str, ...]]
    user: str
    call: tuple[str, ...]
    asked: list[tuple[str, ...]]
    allowed: bool
    flows: dict[tuple[str, str], tuple[str, ...]]
    disabled: tuple[str, ...] = ()


TABLE = {
    "a stream of another interface cannot be stopped": Row(
        [FROM_UP0],
        "camera",
        ("add", SOURCE, GROUP, "up1"),
        [("up1",), ("up0", "down0")],
        False,
        {("up0", SOURCE): ("down0",)},
    ),
    "a stream of another interface cannot be taken": Row(
        [FROM_UP0],
        "camera",
        ("add", SOURCE, GROUP, "up1", "down1"),
        [("up1", "down1"), ("up0", "down0")],
        False,
        {("up0", SOURCE): ("down0",)},
    ),
    "a stream of any source on another interface cannot be taken": Row(
        [("*", GROUP, "up0", "down0")],
        "camera",
        ("add", SOURCE, GROUP, "up1", "down1"),
        [("up1", "down1"), ("up0", "down0")],
        False,
        {("up0", SOURCE): ("down0",)},
    ),
    "a stream of all interfaces cannot be taken": Row(
        [("*", GRANTED, "up*", "down0")],
        "camera",
        ("add", SOURCE, GROUP, "up1", "down1"),
        [("up1", "down1"), ("up*", "down0")],
        False,
        {("up0", SOURCE): ("down0",)},
    ),
    "a stream cannot be moved": Row(
        [(SOURCE, GROUP, "up0", "down0")],
        "camera",
        ("replace", SOURCE, GROUP, "up1", "down1"),
        [("up0", "down0")],
        False,
        {("up0", SOURCE): ("down0",)},
    ),
    "a stream cannot be moved away": Row(
        [(SOURCE, GROUP, "up1", "down0")],
        "camera",
        ("replace", SOURCE, GROUP, "up0", "down1"),
        [("up1", "down0"), ("up0", "down1")],
        False,
        {("up1", SOURCE): ("down0",)},
    ),
    "a pattern reaches too far": Row(
        [FROM_UP0],
        "camera",
        ("add", "*", FEW, "up*"),
        [("up*",)],
        False,
        {("up0", SOURCE): ("down0",)},
    ),
    "wider groups reach too far": Row(
        [FROM_UP0],
        "camera",
        ("add", "*", ALL, "up1"),
        [("up1",)],
        False,
        {("up0", SOURCE): ("down0",)},
    ),
    "a flush reaches too far": Row(
        [FROM_UP1],
        "camera",
        ("flush", GRANTED),
        [BULK],
        False,
        {("up1", SOURCE): ("down0", "down1")},
    ),
    "a route with other oifs cannot be deleted": Row(
        [(SOURCE, GROUP, "up1", "down0", "down1")],
        "display",
        ("delete", SOURCE, GROUP),
        [("up1", "down0", "down1")],
        False,
        {("up1", SOURCE): ("down0", "down1")},
    ),
    "a route with other oifs cannot be replaced": Row(
        [(SOURCE, GROUP, "up1", "down0", "down1")],
        "display",
        ("replace", SOURCE, GROUP, "up1", "down0"),
        [("up1", "down0", "down1")],
        False,
        {("up1", SOURCE): ("down0", "down1")},
    ),
    "a stream with other oifs cannot be taken": Row(
        [FROM_UP1],
        "display",
        ("add", SOURCE, GROUP, "up1", "down0"),
        [("up1", "down0"), ("up1", "down0", "down1")],
        False,
        {("up1", SOURCE): ("down0", "down1")},
    ),
    "fewer groups with other oifs cannot be taken": Row(
        [FROM_UP1],
        "display",
        ("add", "*", FEW, "up1", "down0"),
        [("up1", "down0"), ("up1", "down0", "down1")],
        False,
        {("up1", SOURCE): ("down0", "down1")},
    ),
    "a group with other oifs cannot be taken": Row(
        [FROM_UP1],
        "display",
        ("add", "*", GROUP, "up1", "down0"),
        [("up1", "down0"), ("up1", "down0", "down1")],
        False,
        {("up1", SOURCE): ("down0", "down1")},
    ),
    "what is stopped stays stopped": Row(
        [("*", FEW, "up1")],
        "display",
        ("add", SOURCE, GROUP, "up1", "down0"),
        [("up1", "down0"), ("up1",)],
        False,
        {("up1", SOURCE): ()},
    ),
    "a route of any source towards another interface takes nothing from it": Row(
        [FROM_UP0],
        "camera",
        ("add", "*", GROUP, "up1", "up0", "down1"),
        [("up1", "up0", "down1")],
        True,
        {("up0", SOURCE): ("down0",), ("up1", OTHER): ("up0", "down1")},
    ),
    "nor where that has a route of any source itself": Row(
        [("*", GROUP, "up0", "down0")],
        "camera",
        ("add", "*", GROUP, "up1", "up0", "down1"),
        [("up1", "up0", "down1")],
        True,
        {("up0", SOURCE): ("down0",), ("up1", OTHER): ("up0", "down1")},
    ),
    "nor does a prefix": Row(
        [FROM_UP0],
        "camera",
        ("add", "*", FEW, "up1", "down1"),
        [("up1", "down1")],
        True,
        {("up0", SOURCE): ("down0",), ("up1", OTHER): ("down1",)},
    ),
    "what is granted can be taken from wider groups": Row(
        [("*", ALL, "up1", "down0")],
        "camera",
        ("add", SOURCE, GROUP, "up1", "down1"),
        [("up1", "down1"), ("up1", "down0")],
        True,
        {("up1", SOURCE): ("down1",), ("up1", OTHER): ("down0",)},
    ),
    "and with the same oifs, whatever these are": Row(
        [("*", ALL, "up1", "down0")],
        "display",
        ("add", SOURCE, GROUP, "up1", "down0"),
        [("up1", "down0")],
        True,
        {("up1", SOURCE): ("down0",)},
    ),
    "what is deleted goes back to where it came from": Row(
        [(SOURCE, GROUP, "up1", "down1"), FROM_UP0],
        "camera",
        ("delete", SOURCE, GROUP),
        [("up1", "down1")],
        True,
        {("up0", SOURCE): ("down0",)},
    ),
    "who may all may this too": Row(
        [FROM_UP0],
        "operator",
        ("add", SOURCE, GROUP, "up1"),
        [("up1",), ("up0", "down0")],
        True,
        {("up0", SOURCE): ()},
    ),
    "a stream of another interface cannot be taken by enabling what root has disabled": Row(
        [FROM_UP0, (SOURCE, GROUP, "up1", "down1")],
        "camera",
        ("enable", SOURCE, GROUP),
        [("up1", "down1"), ("up0", "down0")],
        False,
        {("up0", SOURCE): ("down0",)},
        disabled=(SOURCE, GROUP),
    ),
    "a route with other oifs cannot be disabled": Row(
        [(SOURCE, GROUP, "up1", "down0", "down1")],
        "display",
        ("disable", SOURCE, GROUP),
        [("up1", "down0", "down1")],
        False,
        {("up1", SOURCE): ("down0", "down1")},
    ),
    "an oif of another cannot be added": Row(
        [(SOURCE, GROUP, "up1", "down0")],
        "display",
        ("add oif", SOURCE, GROUP, "down1"),
        [("up1", "down0"), ("up1", "down0", "down1")],
        False,
        {("up1", SOURCE): ("down0",)},
    ),
    "a stream cannot be moved away by a change of its iif": Row(
        [("*", GROUP, "up1", "down0")],
        "camera",
        ("to iif", "*", GROUP, "up0"),
        [("up1", "down0"), ("up0", "down0")],
        False,
        {("up1", SOURCE): ("down0",)},
    ),
    "what is granted can be given an oif more": Row(
        [(SOURCE, GROUP, "up1", "down0")],
        "camera",
        ("add oif", SOURCE, GROUP, "down1"),
        [("up1", "down0"), ("up1", "down0", "down1")],
        True,
        {("up1", SOURCE): ("down0", "down1")},
    ),
    "what is granted can be disabled, and its streams go where others say": Row(
        [(SOURCE, GROUP, "up1", "down1"), FROM_UP0],
        "camera",
        ("disable", SOURCE, GROUP),
        [("up1", "down1")],
        True,
        {("up0", SOURCE): ("down0",)},
    ),
    "what is granted can be enabled, and takes from wider groups": Row(
        [("*", ALL, "up1", "down0"), (SOURCE, GROUP, "up1", "down1")],
        "camera",
        ("enable", SOURCE, GROUP),
        [("up1", "down1"), ("up1", "down0")],
        True,
        {("up1", SOURCE): ("down1",), ("up1", OTHER): ("down0",)},
        disabled=(SOURCE, GROUP),
    ),
    "a document is a matter of all routes": Row(
        [FROM_UP1],
        "camera",
        ("apply", SOURCE, GROUP, "up1", "down1"),
        [BULK],
        False,
        {("up1", SOURCE): ("down0", "down1")},
    ),
    "what a document takes away is a matter of all routes": Row(
        [(SOURCE, GROUP, "up1", "down1"), FROM_UP0],
        "camera",
        ("remove", SOURCE, GROUP, "up1", "down1"),
        [BULK],
        False,
        {("up1", SOURCE): ("down1",)},
    ),
    "who may all may take away by one": Row(
        [(SOURCE, GROUP, "up1", "down1"), FROM_UP0],
        "operator",
        ("remove", SOURCE, GROUP, "up1", "down1"),
        [BULK],
        True,
        {("up0", SOURCE): ("down0",)},
    ),
    "who may all may apply one": Row(
        [FROM_UP1],
        "operator",
        ("apply", SOURCE, GROUP, "up1", "down1"),
        [BULK],
        True,
        {("up1", SOURCE): ("down1",)},
    ),
    "a right to routes is none to memberships": Row(
        [FROM_UP1],
        "operator",
        ("join", SOURCE, GROUP, "up1"),
        [("up1",)],
        False,
        {("up1", SOURCE): ("down0", "down1")},
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
    elif member in ("apply", "remove"):
        how = {"merge": True} if member == "apply" else {"remove": True}
        await caller.apply({"route": [route._asdict()]}, **how)
    elif member == "disable":
        await caller.change(route, enabled=False)
    elif member == "enable":
        await caller.change(route, enabled=True)
    elif member == "add oif":
        await caller.change(route, add_oifs=[iif])
    elif member == "to iif":
        await caller.change(route, to_iif=iif)
    elif member == "join":
        await caller.join(Membership(route.group, route.source, iif))
    else:
        await caller.add(route, replace=member == "replace")


def questions(lab: Topology, row: Row) -> list[Question]:
    """The questions to polkit, with its answers: yes, but to the last one where it refuses."""
    member, *arguments = row.call
    action = Action.MANAGE_MEMBERSHIPS if member == "join" else Action.MANAGE_ROUTES
    asked = []
    for each in row.asked:
        if each == BULK:
            details = {"bulk": "true"}
        else:
            iif, *oifs = each
            source, group = (of(lab, address) for address in arguments[:2])
            details = {"source": source, "group": group, "iif": iif}
            if action == Action.MANAGE_ROUTES:
                details |= {"oifs": " ".join(oifs), "table": "0"}
        asked.append(Question(action, details, "yes"))
    if not row.allowed:
        asked[-1] = asked[-1]._replace(answer="challenge")
    return asked


def printed(lab: Topology, row: Row) -> tuple[str, ...]:
    """Write what was found true as a line of the table under COLUMNS."""
    member, *arguments = row.call

    def words(route: Sequence[str]) -> str:
        source, group, *interfaces = route
        if route[:2] == row.disabled:
            interfaces.append("(disabled)")
        return " ".join([of(lab, source), of(lab, group), *interfaces])

    return (
        row.user,
        GRANTED_TO[row.user],
        ", ".join(words(route) for route in row.present),
        f"{member} {of(lab, arguments[0]) if member == 'flush' else words(arguments)}",
        "; ".join(str(question) for question in questions(lab, row)),
        "done" if row.allowed else PASSWORD.rpartition(".")[2],
        "; ".join(
            f"{of(lab, source)} from {upstream}: 3 of 3 to {' and '.join(downs) or 'nobody'}"
            for (upstream, source), downs in row.flows.items()
        ),
    )


@pytest.mark.usefixtures("daemon", "nobody")
@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
async def test_a_right_reaches_no_further_than_it_says(
    row: Row, bus: PrivateBus, lab: Topology, tables: dict[str, Rows]
) -> None:
    flows = {(upstream, of(lab, source)): downs for (upstream, source), downs in row.flows.items()}
    async with (
        Eavesdropper.at(bus.address) as eavesdropper,
        Caller.at(bus.address) as root,
        Caller.at(bus.address, USERS[row.user]) as user,
    ):
        for route in row.present:
            await call(root, lab, "add", *route)
        if row.disabled:
            await call(root, lab, "disable", *row.disabled)
        before = await root.get("Routes")
        if row.allowed:
            await call(user, lab, *row.call)
        else:
            forwards(lab, flows)
            await refused(call(user, lab, *row.call), PASSWORD)
            assert await root.get("Routes") == before
        assert await eavesdropper.questions(user) == questions(lab, row)
        forwards(lab, flows)
    tables.setdefault("rights", [COLUMNS]).append(printed(lab, row))
