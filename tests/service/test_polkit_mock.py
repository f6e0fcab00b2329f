"""Who may, asked of a polkit that answers as a test wants: late, never, wrongly, or not at all."""

import asyncio
import contextlib
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest
from lab.bus import PrivateBus
from lab.caller import OWN, ROUTE, STANDARD, Caller, Route, refused
from lab.foreign import add_route, run
from lab.netns import Namespace
from lab.polkit import CHALLENGE, NAME, NO, YES, Answer, Check, MockPolkit, running
from lab.witness import entries

from mfc_dbus.bus.backend import Variant
from mfc_dbus.bus.connection import Connection
from mfc_dbus.bus.errors import BusError
from mfc_dbus.model.members import Action

DENIED = f"{STANDARD}.AccessDenied"
DETAILS = {
    "source": "10.1.0.10",
    "group": "239.1.2.3",
    "iif": "eth1",
    "oifs": "eth2",
    "table": "0",
}

pytestmark = pytest.mark.usefixtures("daemon")


class Ground:
    """A stranger and root as callers of the service, and what came of it."""

    def __init__(self, root: Caller, stranger: Caller) -> None:
        self.root = root
        self.stranger = stranger

    async def groups(self) -> list[str]:
        return sorted(route[1] for route in await self.root.get("Routes"))


@contextlib.asynccontextmanager
async def ground(bus: PrivateBus, nobody: int) -> AsyncIterator[Ground]:
    async with Caller.at(bus.address) as root, Caller.at(bus.address, nobody) as stranger:
        yield Ground(root, stranger)


# No


async def test_without_polkit_only_root_may(bus: PrivateBus, nobody: int) -> None:
    async with ground(bus, nobody) as on:
        await refused(
            on.stranger.add(),
            DENIED,
            "Not authorised (org.example.MulticastForwarding.manage-routes)",
        )
        await refused(on.stranger.flush(), DENIED)
        await on.root.add()
        await refused(on.stranger.delete(), DENIED)
        await refused(on.stranger.add(replace=True), DENIED)
        assert await on.groups() == [ROUTE.group]
        await refused(on.stranger.join(), DENIED, "manage-memberships")
        await on.root.join()
        await refused(on.stranger.leave(), DENIED, "manage-memberships")
        assert len(await on.root.get("Memberships")) == 1


async def test_a_refused_user_of_busctl_is_told_so(bus: PrivateBus, nobody: int) -> None:
    async with ground(bus, nobody) as on, MockPolkit.at(bus.address, NO):
        done = await asyncio.to_thread(run, bus.address, *add_route(ROUTE.group), uid=nobody)
        assert done.returncode == 1
        assert "Access denied" in done.stderr
        assert await on.groups() == []


@pytest.mark.parametrize("interactive", [False, True])
async def test_a_no_is_a_no(interactive: bool, bus: PrivateBus, nobody: int) -> None:
    async with ground(bus, nobody) as on, MockPolkit.at(bus.address, NO):
        await refused(on.stranger.add(interactive=interactive), DENIED, "Not authorised")
        assert await on.groups() == []


async def test_a_challenge_is_a_no_that_says_whether_asking_would_help(
    bus: PrivateBus, nobody: int
) -> None:
    async with ground(bus, nobody) as on, MockPolkit.at(bus.address, CHALLENGE):
        required = f"{STANDARD}.InteractiveAuthorizationRequired"
        await refused(on.stranger.add(), required, "takes a password")
        await refused(on.stranger.add(interactive=True), DENIED, "Not authorised")
        assert await on.groups() == []


async def test_where_there_is_no_polkit_the_refusal_says_so(bus: PrivateBus, nobody: int) -> None:
    async with ground(bus, nobody) as on:
        await refused(on.stranger.add(), DENIED, "Not authorised")
        await refused(on.stranger.add(), DENIED, "there is no polkit here")
        assert await on.groups() == []


async def test_a_polkit_that_fails_is_quoted_in_the_refusal(bus: PrivateBus, nobody: int) -> None:
    answer = WRONG_ANSWERS["a failure"]
    async with ground(bus, nobody) as on, MockPolkit.at(bus.address, answer):
        await refused(on.stranger.add(), DENIED, "polkit did not decide: out of order")


WRONG_ANSWERS: dict[str, Answer] = {
    "nothing": ("", []),
    "a yes": ("b", [True]),
    "a yes without details": ("(bb)", [[True, True]]),
    "three values and no struct": ("bba{ss}", [True, False, {}]),
    "a struct in an array": ("a(bba{ss})", [[[True, False, {}]]]),
    "another dictionary": ("(bba{sv})", [[True, False, {"a": Variant("s", "b")}]]),
    "a number for a yes": ("(uba{ss})", [[1, False, {}]]),
    "a sentence": ("s", ["yes"]),
    "a failure": BusError(f"{NAME}.Error.Failed", "out of order"),
    "not known": BusError(f"{STANDARD}.NameHasNoOwner", "no such caller"),
    "a failure that says nothing": BusError(f"{NAME}.Error.Failed", ""),
}


@pytest.mark.parametrize("answer", WRONG_ANSWERS)
@pytest.mark.parametrize("interactive", [False, True])
async def test_whatever_is_not_an_answer_is_a_no(
    answer: str, interactive: bool, bus: PrivateBus, nobody: int
) -> None:
    async with ground(bus, nobody) as on, MockPolkit.at(bus.address, WRONG_ANSWERS[answer]):
        await refused(on.stranger.add(interactive=interactive), DENIED, "Not authorised")
        assert await on.groups() == []


async def test_a_polkit_that_vanishes_while_it_is_asked_says_no(
    bus: PrivateBus, nobody: int
) -> None:
    async with ground(bus, nobody) as on, MockPolkit.at(bus.address) as polkit:
        call = asyncio.create_task(on.stranger.add())
        await polkit.asked.get()
        await polkit.connection.close()
        await refused(call, DENIED, "Not authorised")
        assert await on.groups() == []


async def test_a_caller_who_leaves_is_asked_about_no_more_and_changes_nothing(
    bus: PrivateBus, nobody: int
) -> None:
    async with ground(bus, nobody) as on, MockPolkit.at(bus.address) as polkit:
        async with Caller.at(bus.address, nobody) as leaver:
            # One that would wait for minutes: what ends it is that he left.
            call = asyncio.create_task(leaver.add(interactive=True))
            check = await polkit.asked.get()
        await asyncio.wait([call])
        assert call.exception()
        assert await polkit.cancelled.get() == check.cancellation
        polkit.tell(check, YES)
        await on.root.ping()
        assert await on.groups() == []
        # The others are asked about as before.
        call = asyncio.create_task(on.stranger.add())
        polkit.tell(await polkit.asked.get(), YES)
        await call


# What is asked


async def test_root_is_not_asked_about(bus: PrivateBus, nobody: int) -> None:
    async with ground(bus, nobody) as on, MockPolkit.at(bus.address, NO) as polkit:
        await on.root.add()
        await on.root.delete()
        await on.root.flush()
        assert polkit.asked.empty()


async def test_who_only_reads_is_not_asked_about(bus: PrivateBus, nobody: int) -> None:
    async with ground(bus, nobody) as on, MockPolkit.at(bus.address, NO) as polkit:
        await on.root.add()
        assert len(await on.stranger.get("Routes")) == 1
        assert len(await on.stranger.get("Interfaces")) == 2
        await on.stranger.ping()
        assert polkit.asked.empty()


async def test_what_cannot_be_is_refused_before_polkit_is_asked(
    bus: PrivateBus, nobody: int
) -> None:
    async with ground(bus, nobody) as on, MockPolkit.at(bus.address, YES) as polkit:
        await on.root.add()
        await refused(on.stranger.add(), f"{OWN}.RouteExists")
        await refused(on.stranger.add(Route(group="10.0.0.1")), f"{STANDARD}.InvalidArgs")
        await refused(
            on.stranger.add(Route(group="239.1.1.1", iif="eth99")), f"{OWN}.NoSuchInterface"
        )
        await refused(on.stranger.delete(Route(group="239.1.1.1")), f"{OWN}.NoSuchRoute")
        await refused(on.stranger.flush(group="any"), f"{STANDARD}.InvalidArgs")
        assert polkit.asked.empty()


async def test_polkit_gets_the_caller_the_action_and_what_a_rule_may_decide_by(
    bus: PrivateBus, nobody: int
) -> None:
    async with ground(bus, nobody) as on, MockPolkit.at(bus.address, YES) as polkit:

        async def asked() -> dict[str, str]:
            check = polkit.asked.get_nowait()
            assert polkit.asked.empty()
            assert (check.subject, check.name) == ("system-bus-name", on.stranger.unique_name)
            assert check.action == Action.MANAGE_ROUTES
            return check.details

        await on.stranger.add(ROUTE._replace(oifs=["eth2", "eth3"]))
        assert await asked() == DETAILS | {"oifs": "eth2 eth3"}
        await on.stranger.delete()
        assert await asked() == DETAILS | {"oifs": "eth2 eth3"}
        await on.stranger.add(Route("::", "FF1E:0::123"))
        assert await asked() == DETAILS | {"source": "*", "group": "ff1e::123"}
        await on.stranger.flush(iif="eth1")
        assert await asked() == {"bulk": "true"}


async def test_polkit_is_told_which_group_is_joined_and_where(bus: PrivateBus, nobody: int) -> None:
    details = {"source": "*", "group": "239.1.2.3", "iif": "eth1"}
    async with ground(bus, nobody) as on, MockPolkit.at(bus.address, YES) as polkit:
        for call in (on.stranger.join, on.stranger.leave):
            await call()
            check = polkit.asked.get_nowait()
            assert check.action == "org.example.MulticastForwarding.manage-memberships"
            assert check.details == details
        assert polkit.asked.empty()


async def test_a_password_may_be_asked_for_only_where_the_call_allows_it(
    bus: PrivateBus, nobody: int
) -> None:
    async with ground(bus, nobody) as on, MockPolkit.at(bus.address, YES) as polkit:
        await on.stranger.add()
        await on.stranger.add(replace=True, interactive=True)
        flags = [polkit.asked.get_nowait().flags for _ in range(2)]
        assert flags == [0, 1]


async def test_no_two_checks_have_the_same_id(bus: PrivateBus, nobody: int) -> None:
    async with ground(bus, nobody) as on, MockPolkit.at(bus.address, YES) as polkit:
        for _ in range(3):
            await on.stranger.flush()
        assert len({polkit.asked.get_nowait().cancellation for _ in range(3)}) == 3


async def test_moving_a_stream_takes_the_right_to_both_its_interfaces(
    bus: PrivateBus, nobody: int, network: Namespace
) -> None:
    moved = Route(iif="eth3", oifs=["eth4"])
    async with ground(bus, nobody) as on, MockPolkit.at(bus.address) as polkit:
        await on.root.add()
        for from_old in (NO, YES):
            call = asyncio.create_task(on.stranger.add(moved, replace=True))
            old = await polkit.asked.get()
            assert old.details == DETAILS
            polkit.tell(old, from_old)
            if from_old == NO:
                await refused(
                    call, DENIED, "it takes source '10.1.0.10' group '239.1.2.3' iif 'eth1'"
                )
                assert {entry.iif for entry in entries(network, socket.AF_INET)} == {"eth1"}
                continue
            new = await polkit.asked.get()
            assert new.details == DETAILS | {"iif": "eth3", "oifs": "eth4"}
            polkit.tell(new, YES)
        await call
        assert {entry.iif for entry in entries(network, socket.AF_INET)} == {"eth3"}


# What happens meanwhile


async def test_while_polkit_thinks_everyone_else_is_served(bus: PrivateBus, nobody: int) -> None:
    async with ground(bus, nobody) as on, MockPolkit.at(bus.address) as polkit:
        call = asyncio.create_task(on.stranger.add())
        check = await polkit.asked.get()
        await on.stranger.ping()
        await on.root.add(Route(group="239.1.2.4"))
        assert await on.groups() == ["239.1.2.4"]
        polkit.tell(check, YES)
        await call
        assert await on.groups() == ["239.1.2.3", "239.1.2.4"]


async def waiting(on: Ground, polkit: MockPolkit, **options: Any) -> tuple[Any, Check]:
    """A stranger's AddRoute, as far as polkit."""
    call = asyncio.create_task(on.stranger.add(**options))
    return call, await polkit.asked.get()


async def test_a_route_that_was_added_meanwhile_exists(bus: PrivateBus, nobody: int) -> None:
    async with ground(bus, nobody) as on, MockPolkit.at(bus.address) as polkit:
        call, check = await waiting(on, polkit)
        await on.root.add(comment="the first")
        polkit.tell(check, YES)
        await refused(call, f"{OWN}.RouteExists")
        assert [route[4]["comment"] for route in await on.root.get("Routes")] == ["the first"]


WIDE = Route("*", "239.1.0.0/16", "eth3", ["eth4"])
WIDER = WIDE._replace(oifs=["eth2", "eth4"])
MORE = ROUTE._replace(oifs=["eth2", "eth3"])
MOVED = Route(iif="eth3", oifs=["eth4"])
Step = Callable[[Caller], Coroutine[Any, Any, None]]


async def nothing(_: Caller) -> None:
    pass


def adding(route: Route = ROUTE, **options: Any) -> Step:
    return lambda caller: caller.add(route, **options)


async def deleting(caller: Caller) -> None:
    await caller.delete()


async def adding_anew(caller: Caller) -> None:
    await caller.delete()
    await caller.add(comment="another")


async def deleting_the_wide_one(caller: Caller) -> None:
    await caller.delete(WIDE)


async def joining(caller: Caller) -> None:
    await caller.join()


async def leaving(caller: Caller) -> None:
    await caller.leave()


async def joining_anew(caller: Caller) -> None:
    await caller.leave()
    await caller.join(comment="another")


@pytest.mark.parametrize(
    ("before", "call", "meanwhile"),
    [
        pytest.param(nothing, adding(replace=True), adding(MORE), id="replace of nothing, a route"),
        pytest.param(adding(), adding(MORE, replace=True), deleting, id="replace, none"),
        pytest.param(
            adding(), adding(replace=True), adding(MOVED, replace=True), id="replace, moved"
        ),
        pytest.param(
            adding(), adding(replace=True), adding(MORE, replace=True), id="replace, more oifs"
        ),
        pytest.param(
            adding(),
            adding(replace=True),
            adding(ttls={"eth2": 9}, replace=True),
            id="replace, TTL",
        ),
        pytest.param(adding(), deleting, adding(MOVED, replace=True), id="delete, moved"),
        pytest.param(adding(), deleting, adding(MORE, replace=True), id="delete, more oifs"),
        pytest.param(adding(), deleting, adding_anew, id="delete, another of the same"),
        pytest.param(nothing, adding(), adding(WIDE), id="add, a stream of a route"),
        pytest.param(
            adding(WIDE), adding(), adding(WIDER, replace=True), id="add, a stream for more oifs"
        ),
        pytest.param(adding(WIDE), adding(), deleting_the_wide_one, id="add, a stream of none"),
        pytest.param(joining, leaving, joining_anew, id="leave, another of the same"),
    ],
)
async def test_what_is_other_meanwhile_is_not_what_polkit_said_yes_to(
    before: Step, call: Step, meanwhile: Step, bus: PrivateBus, nobody: int
) -> None:
    async with ground(bus, nobody) as on, MockPolkit.at(bus.address) as polkit:
        await before(on.root)
        asking = asyncio.create_task(call(on.stranger))
        first = await polkit.asked.get()
        await meanwhile(on.root)
        now = await on.root.get("Routes"), await on.root.get("Memberships")
        polkit.answer = YES
        polkit.tell(first, YES)
        await refused(asking, DENIED, "changed meanwhile: try again")
        assert (await on.root.get("Routes"), await on.root.get("Memberships")) == now


class InAnyOrder(MockPolkit):
    """Grants groups of 239.1.0.0/16 on eth3, to whoever of those who wait comes up next."""

    def __init__(self, connection: Connection, answer: Answer | None) -> None:
        super().__init__(connection, answer)
        self._random = random.Random(1)
        self._waiting: list[Check] = []

    def tell(self, check: Check, answer: Answer) -> None:
        self._waiting.append(check)
        self.tell_some()

    def tell_some(self, most: int = 4) -> None:
        """Answer some, so that so many wait."""
        while len(self._waiting) > most:
            check = self._waiting.pop(self._random.randrange(len(self._waiting)))
            granted = check.details["group"].startswith("239.1.") and check.details["iif"] == "eth3"
            super().tell(check, YES if granted else NO)


async def test_whatever_races_with_root_the_routes_of_another_interface_are_his_alone(
    bus: PrivateBus, nobody: int
) -> None:
    """Strangers, who are granted eth3 alone, toggle what root does, on six connections."""
    keys = [Route(group=f"239.1.2.{number}") for number in range(3)]
    keys += [Route("*", "239.1.2.0/24"), Route("*", "239.1.2.1")]
    own: dict[Route, Route] = {}
    done: Counter[str] = Counter()

    async def toggle(caller: Caller, chance: random.Random) -> None:
        """Add, replace or delete on eth3, and for ever."""
        while True:
            route = chance.choice(keys)._replace(iif="eth3", oifs=["eth4"])
            try:
                if chance.random() < 0.6:
                    await caller.add(route, replace=chance.random() < 0.7)
                else:
                    await caller.delete(route)
            except BusError as error:
                done[error.message.rpartition(":")[2] if error.name == DENIED else error.name] += 1
            else:
                done["done"] += 1

    async with ground(bus, nobody) as on, InAnyOrder.at(bus.address, NO) as polkit:
        async with contextlib.AsyncExitStack() as stack:
            callers = [
                await stack.enter_async_context(Caller.at(bus.address, nobody)) for _ in range(6)
            ]
            toggling = [
                asyncio.create_task(toggle(caller, random.Random(number)))
                for number, caller in enumerate(callers)
            ]
            chance = random.Random(0)
            rounds = 0
            while rounds < 150 or done["done"] <= 20 or done[" try again"] <= 5:
                rounds += 1
                key = chance.choice(keys)
                if key in own and chance.random() < 0.5:
                    await on.root.delete(key, iif="eth1")
                    del own[key]
                else:
                    own[key] = key._replace(oifs=chance.choice([["eth2"], ["eth2", "eth4"]]))
                    await on.root.add(own[key], replace=True)
                found = [route[:4] for route in await on.root.get("Routes") if route[2] == "eth1"]
                assert sorted(found) == sorted([*each[:3], each.oifs] for each in own.values())
            for task in toggling:
                task.cancel()
            await asyncio.wait(toggling)
        polkit.tell_some(0)


async def test_polkit_is_asked_about_all_that_a_route_takes_from_others(
    bus: PrivateBus, nobody: int
) -> None:
    async with ground(bus, nobody) as on, MockPolkit.at(bus.address, YES) as polkit:
        await on.root.add(WIDE)
        await on.root.add(Route("*", "239.0.0.0/8", "eth*", []))
        await on.stranger.add()
        asked = [polkit.asked.get_nowait().details for _ in range(3)]
        assert asked == [
            DETAILS,
            DETAILS | {"iif": "eth3", "oifs": "eth4"},
            DETAILS | {"iif": "eth*", "oifs": ""},
        ]
        # What it took before it takes on, and to give it back takes it from nobody.
        await on.stranger.add(MORE, replace=True)
        asked = [polkit.asked.get_nowait().details for _ in range(2)]
        assert asked == [DETAILS, DETAILS | {"oifs": "eth2 eth3"}]
        await on.stranger.delete()
        assert polkit.asked.get_nowait().details == DETAILS | {"oifs": "eth2 eth3"}
        assert polkit.asked.empty()


async def test_of_many_routes_polkit_is_asked_as_of_a_flush(bus: PrivateBus, nobody: int) -> None:
    async with ground(bus, nobody) as on, MockPolkit.at(bus.address, YES) as polkit:
        for number in range(5, 25):
            await on.root.add(WIDE._replace(iif=f"eth{number}"))
        await on.stranger.add()
        asked = [polkit.asked.get_nowait().details for _ in range(2)]
        assert asked == [DETAILS, {"bulk": "true"}]
        assert polkit.asked.empty()


async def test_a_route_that_was_deleted_meanwhile_is_not_there(
    bus: PrivateBus, nobody: int
) -> None:
    async with ground(bus, nobody) as on, MockPolkit.at(bus.address) as polkit:
        await on.root.add()
        call = asyncio.create_task(on.stranger.delete())
        check = await polkit.asked.get()
        await on.root.delete()
        polkit.tell(check, YES)
        await refused(call, f"{OWN}.NoSuchRoute")


async def test_an_interface_that_went_meanwhile_is_not_found(
    bus: PrivateBus, nobody: int, network: Namespace
) -> None:
    network.ip("link add name here type veth peer name there")
    async with ground(bus, nobody) as on, MockPolkit.at(bus.address) as polkit:
        call, check = await waiting(on, polkit, route=Route(oifs=["here"]))
        network.ip("link delete dev here")
        polkit.tell(check, YES)
        await refused(call, f"{OWN}.NoSuchInterface", "'here'")
        assert await on.groups() == []


# How many may wait


@pytest.mark.parametrize(
    ("callers", "who"),
    [(1, "4 calls of this caller"), (4, "16 calls of this user")],
    ids=["caller", "user"],
)
async def test_so_many_checks_wait_and_no_more(
    callers: int, who: str, bus: PrivateBus, strangers: list[int]
) -> None:
    async with contextlib.AsyncExitStack() as stack, MockPolkit.at(bus.address) as polkit:

        async def caller(uid: int) -> Caller:
            return await stack.enter_async_context(Caller.at(bus.address, uid))

        crowd = [await caller(strangers[0]) for _ in range(callers)]
        another = await caller(strangers[1])
        calls = [asyncio.create_task(each.flush()) for each in crowd for _ in range(4)]
        checks = [await polkit.asked.get() for _ in calls]

        # One more is too many, of this caller, or of another one of his.
        last = crowd[0] if callers == 1 else await caller(strangers[0])
        await refused(last.flush(), f"{OWN}.LimitExceeded", who)
        calls.append(asyncio.create_task(another.flush()))
        checks.append(await polkit.asked.get())

        for check in checks:
            polkit.tell(check, YES)
        assert await asyncio.gather(*calls) == [0] * len(calls)
        polkit.answer = YES
        await last.flush()


# The mock that others use


@pytest.fixture
def dbusmock(bus: PrivateBus) -> Iterator[None]:
    """python-dbusmock's polkitd."""
    if run(bus.address, "/usr/bin/python3", "-c", "import dbusmock").returncode:
        pytest.skip("/usr/bin/python3 has no module dbusmock")
    mock = ("/usr/bin/python3", "-m", "dbusmock", "--system", "--template", "polkitd")
    with running(bus.address, *mock):
        yield


async def test_dbusmocks_polkitd_denies_hangs_and_allows(
    dbusmock: None, bus: PrivateBus, nobody: int
) -> None:
    async with ground(bus, nobody) as on:

        async def mock(member: str, signature: str = "", *body: Any) -> list[Any]:
            path, interface = "/org/freedesktop/PolicyKit1/Authority", "org.freedesktop.DBus.Mock"
            return await on.root.call(NAME, path, interface, member, signature, body, timeout=20)

        await refused(on.stranger.add(), DENIED, "Not authorised")
        await mock("SetAllowed", "as", [f"{Action.MANAGE_ROUTES}-not"])
        await refused(on.stranger.add(), DENIED, "Not authorised")
        await mock("SetAllowed", "as", [Action.MANAGE_ROUTES])
        await mock("SimulateHangActions", "as", [Action.MANAGE_ROUTES])
        call = asyncio.create_task(on.stranger.add())
        while not (await mock("HaveHangingCalls"))[0]:
            pass
        assert await on.groups() == []
        await mock("ReleaseHangingCalls")
        await call
        assert await on.groups() == [ROUTE.group]
