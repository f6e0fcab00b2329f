"""Who may, with everything as it is shipped: the real polkitd and its action, the bus policy, the
daemon under a uid of its own. The users are made up, and a rule knows them by name.
"""

import socket
from collections.abc import Iterator

import pytest
from lab.bus import DAEMON, PrivateBus
from lab.caller import PATH, STANDARD, Caller, Route, refused
from lab.daemon import BUS_NAME, Daemon
from lab.netns import Namespace
from lab.polkit import Service, serving
from lab.witness import entries

from mfc_dbus.bus.frames import MessageType

USERS = {
    "mfc-dbus": 64201,
    "plain": 64202,  # of whom no rule says anything
    "barred": 64203,
    "operator": 64204,
    "camera": 64205,  # may do some
    "editor": 64206,  # in a group that may do some
}
GROUPS = {"video-team": ["editor"]}
RULES = """
polkit.addRule(function(action, subject) {
    if (action.id != "org.example.MulticastForwarding.manage-routes")
        return polkit.Result.NOT_HANDLED;
    if (subject.user == "barred")
        return polkit.Result.NO;
    if (subject.user == "operator")
        return polkit.Result.YES;
    if ((subject.user == "camera" || subject.isInGroup("video-team")) &&
        (action.lookup("group") || "").indexOf("239.1.") == 0 &&
        action.lookup("iif") == "eth2")
        return polkit.Result.YES;
    return polkit.Result.NOT_HANDLED;
});
"""

DENIED = f"{STANDARD}.AccessDenied"
PASSWORD = f"{STANDARD}.InteractiveAuthorizationRequired"
GRANTED = Route(group="239.1.2.3", iif="eth2", oifs=["eth3"])

pytestmark = pytest.mark.usefixtures("daemon", "nobody")


@pytest.fixture(scope="module")
def service(library: str, bus_program: str) -> Iterator[Service]:
    """Each library has a polkitd of its own, which keeps what was typed for this process."""
    with serving(USERS, GROUPS, RULES, library, bus_program) as service:
        yield service


@pytest.fixture(scope="module")
def bus(service: Service) -> PrivateBus:
    return service.bus


@pytest.fixture(scope="module")
def network(service: Service) -> Namespace:
    return service.network


@pytest.fixture(scope="module")
def _daemon(service: Service) -> Daemon:
    return service.daemon


# The bus


async def test_nobody_else_gets_the_name(bus: PrivateBus) -> None:
    for user in ("plain", "operator"):
        async with Caller.at(bus.address, USERS[user]) as caller:
            await refused(caller.own_name(BUS_NAME), DENIED, "to own")


async def test_the_bus_keeps_signals_from_the_service(bus: PrivateBus, bus_program: str) -> None:
    async with Caller.at(bus.address, USERS["operator"]) as caller:
        await caller.ping()  # the bus's first words have come by then
        caller.arrived.clear()
        for destination in (caller.unique_name, BUS_NAME):
            caller._outgoing.send(
                MessageType.SIGNAL,
                "",
                [],
                destination=destination,
                path=PATH,
                interface="org.example.Other",
                member="Hello",
            )
        await caller.ping()
        to_itself, *to_service, _ = caller.arrived
        assert (to_itself.type, to_itself.member) == (MessageType.SIGNAL, "Hello")
        # dbus-broker tells the sender nothing.
        assert [told.error_name for told in to_service] == [DENIED] * (bus_program == DAEMON)


# polkit


async def test_an_unprivileged_user_needs_a_password(bus: PrivateBus) -> None:
    async with Caller.at(bus.address, USERS["plain"]) as caller:
        await refused(caller.add(GRANTED), PASSWORD)
        await refused(caller.flush(), PASSWORD)
        # He may be asked for it, and there is nobody who would ask.
        await refused(caller.add(GRANTED, interactive=True), DENIED)
        assert await caller.get("Routes") == []


async def test_a_rule_can_forbid(bus: PrivateBus) -> None:
    async with Caller.at(bus.address, USERS["barred"]) as caller:
        for interactive in (False, True):
            await refused(caller.add(GRANTED, interactive=interactive), DENIED)
        assert await caller.get("Routes") == []


@pytest.mark.parametrize("user", ["camera", "editor"])
async def test_a_rule_can_allow_some_groups_on_one_interface(user: str, bus: PrivateBus) -> None:
    others = [
        GRANTED._replace(group="239.2.2.3"),
        GRANTED._replace(source="*", group="ff1e::239"),
        GRANTED._replace(group="239.1.2.4", iif="eth1"),
    ]
    taken = GRANTED._replace(group="239.1.9.9", iif="eth1")
    async with Caller.at(bus.address) as root, Caller.at(bus.address, USERS[user]) as caller:
        for other in others:
            await refused(caller.add(other), PASSWORD)
            await root.add(other)
            await refused(caller.delete(other), PASSWORD)
        await refused(caller.flush(group=GRANTED.group), PASSWORD)
        # To make a stream of another interface one of his own takes a right to the other one.
        await root.add(taken)
        await refused(caller.add(taken._replace(iif="eth2"), replace=True), PASSWORD)
        before = await root.get("Routes")

        await caller.add(GRANTED)
        await caller.add(GRANTED._replace(oifs=["eth3", "eth4"]), replace=True)
        assert len(await root.get("Routes")) == len(before) + 1
        await caller.delete(GRANTED)
        assert await root.get("Routes") == before


async def test_a_rule_can_allow_everything(bus: PrivateBus, network: Namespace) -> None:
    async with Caller.at(bus.address, USERS["operator"]) as caller:
        await caller.add(GRANTED)
        assert len(entries(network, socket.AF_INET)) == 1
        await caller.delete(GRANTED)
        await caller.add(Route("*", "ff1e::1", "eth1", ["eth2"]))
        assert await caller.flush() == 1


async def test_root_may(bus: PrivateBus) -> None:
    async with Caller.at(bus.address) as caller:
        await caller.add(GRANTED)
        await caller.delete(GRANTED)


# The daemon


def test_the_daemon_is_its_own_user_with_no_capability(daemon: Daemon) -> None:
    status = daemon.status()
    assert status["Uid"].split() == [str(USERS["mfc-dbus"])] * 4
    assert status["Groups"] == ""
    assert {int(status[f"Cap{which}"], 16) for which in ("Inh", "Prm", "Eff", "Amb")} == {0}
    assert status["NoNewPrivs"] == "1"
