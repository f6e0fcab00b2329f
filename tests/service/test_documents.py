"""Documents with memberships over the bus: who may apply them, what they do, and what is told."""

import asyncio
from typing import Any

import pytest
from lab.bus import PrivateBus
from lab.caller import OWN, STANDARD, Caller, Membership, refused
from lab.daemon import Daemon
from lab.igmp import Member, Reports, groups, members
from lab.netns import Namespace
from lab.polkit import CHALLENGE, NO, YES, Answer, MockPolkit

from mfc_dbus.bus.backend import Variant
from mfc_dbus.bus.errors import BusError
from mfc_dbus.model.members import Action

ROUTE = {"source": "10.1.0.10", "group": "239.1.1.1", "iif": "eth1", "oifs": ["eth2"]}
ONE = {"group": "239.1.1.1", "interface": "eth1"}
TWO = {"source": "10.1.0.10", "group": "232.1.1.2", "interface": "eth1", "comment": "»two«"}
THREE = {"group": "ff3e::3", "interface": "eth2", "persistent": False}
IN_ONE = Membership("239.1.1.1")
JOINED = {
    Member("eth1", "239.1.1.1"),
    Member("eth1", "232.1.1.2", frozenset({"10.1.0.10"})),
    Member("eth2", "ff3e::3"),
}
DENIED = f"{STANDARD}.AccessDenied"


def document(*entries: dict[str, Any]) -> dict[str, Any]:
    return {
        "route": [entry for entry in entries if "iif" in entry],
        "membership": [entry for entry in entries if "interface" in entry],
    }


async def described(caller: Caller, **chosen: Any) -> list[dict[str, Any]]:
    """The memberships, as a document has them."""
    found = await caller.describe(what="membership", **chosen)
    for each in found:
        assert each.pop("state") == "joined"
    return found


# Who may


async def grounded(bus: PrivateBus) -> None:
    """One route and one membership, that strangers are to leave alone."""
    async with Caller.at(bus.address) as root:
        await root.apply(document(ROUTE, ONE))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (NO, "AccessDenied"),
        (CHALLENGE, "InteractiveAuthorizationRequired"),
        (("b", [True]), "AccessDenied"),
        (BusError("org.freedesktop.PolicyKit1.Error.Failed", ""), "AccessDenied"),
    ],
)
async def test_who_may_not_change_memberships_applies_no_document_that_does(
    answer: Answer, error: str, bus: PrivateBus, daemon: Daemon, nobody: int
) -> None:
    await grounded(bus)
    async with (
        Caller.at(bus.address) as root,
        Caller.at(bus.address, nobody) as stranger,
        MockPolkit.at(bus.address) as polkit,
    ):
        changed = ONE | {"comment": "other"}
        for wanted in (document(TWO), document(ROUTE), document(ROUTE, changed), {}):
            for dry_run in (False, True):
                call = asyncio.ensure_future(stranger.apply(wanted, dry_run=dry_run, empty=True))
                first = await polkit.asked.get()
                assert (first.action, first.details) == (Action.MANAGE_ROUTES, {"bulk": "true"})
                polkit.tell(first, YES)
                second = await polkit.asked.get()
                assert (second.action, second.details) == (
                    Action.MANAGE_MEMBERSHIPS,
                    {"bulk": "true"},
                )
                polkit.tell(second, answer)
                await refused(call, f"{STANDARD}.{error}", "manage-memberships")
        assert len(await root.describe()) == 1
        assert await described(root) == [ONE]


async def test_memberships_alone_are_no_way_round_the_right_to_change_routes(
    bus: PrivateBus, daemon: Daemon, nobody: int
) -> None:
    async with (
        Caller.at(bus.address) as root,
        Caller.at(bus.address, nobody) as stranger,
        MockPolkit.at(bus.address) as polkit,
    ):
        call = asyncio.ensure_future(stranger.apply(document(ONE)))
        check = await polkit.asked.get()
        polkit.tell(check, NO)
        await refused(call, DENIED, "manage-routes")
        assert polkit.asked.empty()
        assert await described(root) == []


async def test_a_polkit_that_vanishes_between_the_questions_says_no(
    bus: PrivateBus, daemon: Daemon, nobody: int
) -> None:
    async with Caller.at(bus.address) as root, Caller.at(bus.address, nobody) as stranger:
        async with MockPolkit.at(bus.address) as polkit:
            call = asyncio.ensure_future(stranger.apply(document(ROUTE, ONE)))
            polkit.tell(await polkit.asked.get(), YES)
            await polkit.asked.get()
        await refused(call, DENIED, "manage-memberships")
        assert await root.describe() == await described(root) == []


async def test_a_caller_who_leaves_between_the_questions_changes_nothing(
    bus: PrivateBus, daemon: Daemon, nobody: int
) -> None:
    async with Caller.at(bus.address) as root, MockPolkit.at(bus.address) as polkit:
        async with Caller.at(bus.address, nobody) as leaver:
            call = asyncio.ensure_future(leaver.apply(document(ROUTE, ONE)))
            polkit.tell(await polkit.asked.get(), YES)
            check = await polkit.asked.get()
        await asyncio.wait([call])
        assert await polkit.cancelled.get() == check.cancellation
        polkit.tell(check, YES)
        await root.ping()
        assert await root.describe() == await described(root) == []


async def test_a_document_that_changes_no_membership_takes_no_right_to(
    bus: PrivateBus, daemon: Daemon, nobody: int
) -> None:
    await grounded(bus)
    async with (
        Caller.at(bus.address, nobody) as stranger,
        MockPolkit.at(bus.address, YES) as polkit,
    ):
        assert await stranger.apply(document(ONE)) == [0, 0, 1]
        assert await stranger.apply(document(ROUTE), merge=True) == [1, 0, 0]
        assert {(await polkit.asked.get()).action for _ in range(2)} == {Action.MANAGE_ROUTES}
        assert polkit.asked.empty()
        assert await stranger.apply(document(ROUTE, TWO)) == [1, 0, 1]
        actions = [(await polkit.asked.get()).action for _ in range(2)]
        assert actions == [Action.MANAGE_ROUTES, Action.MANAGE_MEMBERSHIPS]


async def test_what_changes_while_polkit_is_asked_about_routes_alone_is_not_changed_unasked(
    bus: PrivateBus, daemon: Daemon, nobody: int
) -> None:
    await grounded(bus)
    async with (
        Caller.at(bus.address) as root,
        Caller.at(bus.address, nobody) as stranger,
        MockPolkit.at(bus.address) as polkit,
    ):
        call = asyncio.ensure_future(stranger.apply(document(ROUTE, ONE)))
        check = await polkit.asked.get()
        await root.leave(IN_ONE)
        polkit.tell(check, YES)
        # It would join what was left, so that is asked about.
        check = await polkit.asked.get()
        assert check.action == Action.MANAGE_MEMBERSHIPS
        polkit.tell(check, NO)
        await refused(call, DENIED, "manage-memberships")
        assert await described(root) == []


# What it does


async def test_memberships_become_those_of_the_document(
    bus: PrivateBus, daemon: Daemon, network: Namespace
) -> None:
    async with Caller.at(bus.address) as caller:
        assert await caller.apply(document(ROUTE, ONE, TWO, THREE)) == [4, 0, 0]
        assert members(network) == JOINED
        assert await described(caller) == [ONE, TWO, THREE]
        assert await caller.apply(document(ROUTE, ONE, TWO, THREE)) == [0, 0, 0]
        assert await caller.apply(document(TWO), merge=True) == [0, 0, 0]
        assert await caller.apply(document(ONE), dry_run=True) == [0, 0, 3]
        assert members(network) == JOINED
        assert await caller.apply(document(ROUTE, ONE | {"persistent": False})) == [0, 1, 2]
        assert members(network) == {Member("eth1", "239.1.1.1")}
        assert await caller.apply({}, empty=True) == [0, 0, 2]
        assert groups(network) == set()


async def test_what_stays_is_not_left_for_a_moment(
    own_bus: PrivateBus, own_daemon: Daemon, own_network: Namespace
) -> None:
    # The old version of the protocol says at once that a group was left.
    own_network.sysctl("ipv4/conf/all/force_igmp_version", 2)
    own_network.sysctl("ipv4/conf/eth1/igmpv2_unsolicited_report_interval", 100)
    own_network.ip("link set dev eth1 up", "link set dev eth2 up")
    own_network.wait_until_up(["eth1", "eth2"])
    goes = {"group": "239.1.1.9", "interface": "eth1"}
    async with Caller.at(own_bus.address) as caller:
        with Reports(own_network, "eth2") as reports:
            await caller.apply(document(ONE, goes))
            reports.until(("joined", "239.1.1.1"), ("joined", "239.1.1.9"))
            await caller.apply(document(ONE | {"comment": "a"}, goes))
            await caller.apply(document(ONE | {"comment": "a", "persistent": False}, goes))
            await caller.apply(document(ONE))
            heard = reports.until(("left", "239.1.1.9"))
        assert ("left", "239.1.1.1") not in heard


async def test_all_that_is_wrong_is_told_at_once_and_nothing_is_joined(
    bus: PrivateBus, daemon: Daemon, network: Namespace
) -> None:
    async with Caller.at(bus.address) as caller:
        missing = document(ROUTE | {"iif": "eth77"}, ONE, TWO | {"interface": "eth78"})
        sentence = (
            "route[0]: Interface 'eth77' not found\nmembership[1]: Interface 'eth78' not found"
        )
        await refused(caller.apply(missing), f"{OWN}.NoSuchInterface", sentence)
        wrong = document(ROUTE | {"iif": "a b"}, ONE | {"group": "10.0.0.1"})
        await refused(
            caller.apply(wrong),
            f"{STANDARD}.InvalidArgs",
            "route[0]: 'a b' is not an interface name\nmembership[0]: Group '10.0.0.1' is not",
        )
        assert groups(network) == set()
        assert await caller.apply(missing, wait=True) == [3, 0, 0]
        states = [each["state"] for each in await caller.describe(what="membership")]
        assert states == ["joined", "waiting"]


async def test_what_is_described_is_applied_with_no_change(bus: PrivateBus, daemon: Daemon) -> None:
    async with Caller.at(bus.address) as caller:
        await caller.join(Membership("239.9.9.9", "10.1.0.10", "eth77"), wait=True)
        await caller.apply(document(ROUTE, ONE, TWO, THREE), merge=True)
        found = await caller.describe(what="membership")
        assert found[0].pop("state") == "waiting"
        assert {each.pop("state") for each in found[1:]} == {"joined"}
        assert await caller.apply(document(ROUTE, *found)) == [0, 0, 0]


async def test_the_description_can_be_filtered(bus: PrivateBus, daemon: Daemon) -> None:
    async with Caller.at(bus.address) as caller:
        await caller.apply(document(ROUTE, ONE, TWO, THREE))
        for chosen, found in (
            ({}, [ONE, TWO, THREE]),
            ({"group": "232.0.0.0/5"}, [ONE, TWO]),
            ({"group": "232.0.0.0/5", "exact": True}, []),
            ({"group": "239.1.1.1", "exact": True}, [ONE]),
            ({"source": "10.1.0.0/16"}, [TWO]),
            ({"source": "::"}, [THREE]),
            ({"iif": "eth2"}, [THREE]),
            ({"state": "joined", "iif": "eth1", "group": "239.1.1.1"}, [ONE]),
            ({"state": "failed"}, []),
            ({"state": "active"}, []),
        ):
            assert await described(caller, **chosen) == found
        assert await caller.describe(state="joined") == []
        assert len(await caller.describe(state="active")) == 1
        odd = caller.ask("Describe", "a{sv}", [{"state": Variant("s", "left")}])
        await refused(odd, f"{STANDARD}.InvalidArgs", "'left' is no state")
