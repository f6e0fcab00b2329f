"""Whoever follows the changes of the routes learns of each, whatever happens to the service."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lab.remote import FakeBus

from mfc_dbus.bus.backend import Variant
from mfc_dbus.bus.connection import Connection, Signal
from mfc_dbus.bus.errors import BusError
from mfc_dbus.bus.names import BUS, BUS_PATH, ERROR
from mfc_dbus.client import Client, Event, MembershipEvent, RouteEvent
from mfc_dbus.client.remote import Remote
from mfc_dbus.names import BUS_NAME, INTERFACE, OBJECT_PATH


class Watcher:
    """Follows the changes, and knows of the service and its routes what they tell."""

    def __init__(self, bus: FakeBus) -> None:
        self.events: list[Event] = []
        self.running: bool | None = None
        self.oifs: dict[str, str] = {}
        self.joined: dict[str, str] = {}
        self._bus = bus
        self._task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        async with aclosing(Client(cast("Connection", self._bus)).changes()) as changes:
            async for event in changes:
                self.events.append(event)
                self._learn(event)

    def _learn(self, event: Event) -> None:
        if event.event == "service":
            self.running = event.running
        elif isinstance(event, MembershipEvent):
            self.joined[event.event.removeprefix("membership-")] = event.membership.group
        elif event.event == "removed":
            del self.oifs[event.route.group]
        else:
            assert (event.event == "changed") == (event.route.group in self.oifs)
            (self.oifs[event.route.group],) = event.route.oifs

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        if self._task.done():
            self._task.result()

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def told(self) -> list[str]:
        """What the events since the last look were, in short."""
        events, self.events = self.events, []
        return [
            f"service {event.running}"
            if event.event == "service"
            else f"{event.event} {event.membership.group} {event.membership.state}"
            if isinstance(event, MembershipEvent)
            else f"{event.event} {event.route.group} {','.join(event.route.oifs)}"
            for event in events
        ]


def watching(test: Callable[[FakeBus, Watcher], Awaitable[None]], *, running: bool = True) -> None:
    async def run() -> None:
        bus = FakeBus()
        if running:
            bus.start()
        watcher = Watcher(bus)
        await watcher.settle()
        await test(bus, watcher)
        await watcher.end()
        assert not bus.handlers

    asyncio.run(run())


def test_changes_begin_with_whether_the_service_runs() -> None:
    async def running(bus: FakeBus, watcher: Watcher) -> None:
        assert watcher.told() == ["service True"]

    async def stopped(bus: FakeBus, watcher: Watcher) -> None:
        assert watcher.told() == ["service False"]

    watching(running)
    watching(stopped, running=False)


def test_each_change_is_told_once() -> None:
    async def test(bus: FakeBus, watcher: Watcher) -> None:
        watcher.told()
        bus.put("239.1.1.1", "eth2")
        bus.put("239.1.1.1", "eth3")
        bus.remove("239.1.1.1")
        bus.tell()
        await watcher.settle()
        assert watcher.told() == [
            "added 239.1.1.1 eth2",
            "changed 239.1.1.1 eth3",
            "removed 239.1.1.1 eth3",
        ]
        assert [call[0] for call in bus.calls] == ["GetAll"]

    watching(test)


def test_an_event_has_what_was_known_before_it() -> None:
    async def test(bus: FakeBus, watcher: Watcher) -> None:
        watcher.events.clear()
        bus.put("239.1.1.1", "eth2")
        bus.put("239.1.1.1", "eth3")
        bus.remove("239.1.1.1")
        await watcher.settle()
        before = [event.before for event in watcher.events if isinstance(event, RouteEvent)]
        assert [each.oifs if each else None for each in before] == [None, ("eth2",), ("eth3",)]

    watching(test)


def test_whoever_follows_sees_what_is_known_and_whether_it_was_read() -> None:
    async def run() -> None:
        bus = FakeBus()
        bus.start()
        bus.put("239.1.1.1", "eth2")
        async with Client(cast("Connection", bus)).following() as (follower, signals):
            assert (follower.compared, follower.generation) == (True, bus.generation)
            assert [route.group for route in follower.routes.values()] == ["239.1.1.1"]
            bus.put("239.1.1.2", "eth2")
            assert len(await follower.follow(cast(Signal, signals.get_nowait()))) == 1
            assert follower.generation == bus.generation
            assert len(follower.routes) == 2
            bus.failures = [TimeoutError()]
            bus.stop()
            bus.start()
            while not signals.empty():
                await follower.follow(cast(Signal, signals.get_nowait()))
            assert (follower.owner, follower.compared) == (bus.owner, False)

    asyncio.run(run())


def test_a_change_of_memberships_is_told_as_one_of_routes_is() -> None:
    async def test(bus: FakeBus, watcher: Watcher) -> None:
        watcher.told()
        bus.join("239.1.1.1", "joined")
        bus.join("239.1.1.1", "joined")
        bus.join("239.1.1.1", "waiting")
        bus.join("239.1.1.2", "joined", heard=False)
        bus.leave("239.1.1.1")
        await watcher.settle()
        assert watcher.told() == [
            "membership-added 239.1.1.1 joined",
            "membership-changed 239.1.1.1 waiting",
            "membership-removed 239.1.1.1 waiting",
        ]
        bus.tell()
        await watcher.settle()
        assert watcher.told() == ["membership-added 239.1.1.2 joined"], "it was missed"

    watching(test)


def test_a_change_has_the_cause_that_was_told_before_it_and_one_that_was_missed_has_none() -> None:
    async def test(bus: FakeBus, watcher: Watcher) -> None:
        await watcher.settle()
        watcher.told()
        bus.cause(cause="call", action="add", user="alice")
        bus.put("239.1.1.1", "eth2")
        bus.join("239.1.1.1", "joined")
        bus.cause(cause="interface", action="state")
        bus.put("239.1.1.1", "eth3")
        bus.put("239.1.1.2", "eth3", heard=False)
        bus.tell()
        await watcher.settle()
        causes = [event.cause for event in watcher.events if event.event != "service"]
        assert [cause and (cause.cause, cause.user) for cause in causes] == [
            ("call", "alice"),
            ("call", "alice"),
            ("interface", ""),
            None,
        ]

    watching(test)


def test_what_a_restart_changed_is_told_after_it() -> None:
    async def test(bus: FakeBus, watcher: Watcher) -> None:
        for group in ("239.1.1.1", "239.1.1.2", "239.1.1.3"):
            bus.put(group, "eth2")
        await watcher.settle()
        watcher.told()
        bus.stop()
        bus.remove("239.1.1.1")
        bus.put("239.1.1.2", "eth3")
        bus.put("239.1.1.4", "eth2")
        await watcher.settle()
        assert watcher.told() == ["service False"]
        bus.start()
        await watcher.settle()
        assert watcher.told() == [
            "service True",
            "removed 239.1.1.1 eth2",
            "changed 239.1.1.2 eth3",
            "added 239.1.1.4 eth2",
        ]

    watching(test)


def test_a_signal_that_the_bus_dropped_is_made_up_for() -> None:
    async def test(bus: FakeBus, watcher: Watcher) -> None:
        bus.put("239.1.1.1", "eth2")
        bus.tell()
        await watcher.settle()
        watcher.told()
        bus.put("239.1.1.2", "eth2", heard=False)
        bus.put("239.1.1.3", "eth2")
        bus.tell()
        await watcher.settle()
        assert watcher.told() == ["added 239.1.1.3 eth2", "added 239.1.1.2 eth2"]

    watching(test)


def test_a_service_that_goes_while_it_is_read_is_read_when_it_is_back() -> None:
    async def test(bus: FakeBus, watcher: Watcher) -> None:
        watcher.told()
        bus.stop()
        bus.start()
        bus.failures = [BusError(f"{ERROR}.NoReply", "")]
        await watcher.settle()
        bus.put("239.1.1.1", "eth2", heard=False)
        bus.tell()
        await watcher.settle()
        assert watcher.told() == ["service False", "service True", "added 239.1.1.1 eth2"]

    watching(test)


def test_signals_of_anyone_else_are_ignored() -> None:
    async def test(bus: FakeBus, watcher: Watcher) -> None:
        watcher.told()
        route = ["*", "239.1.1.1", "eth1", ["eth2"], {"state": Variant("s", "active")}]
        bus.send(Signal(":1.66", OBJECT_PATH, INTERFACE, "RoutesAdded", [[route]]))
        bus.send(Signal(":1.66", "/", BUS, "NameOwnerChanged", [BUS_NAME, bus.owner, ""]))
        bus.send(Signal(BUS, BUS_PATH, BUS, "NameAcquired", [":1.5"]))
        await watcher.settle()
        assert watcher.told() == []

    watching(test)


def test_the_service_alone_is_heard_also_when_it_is_another_one() -> None:
    async def test(bus: FakeBus, watcher: Watcher) -> None:
        assert bus.heard == bus.owner != ""
        bus.stop()
        assert bus.heard == ""
        bus.start()
        assert bus.heard == bus.owner != ""

    watching(test)


async def subscribe(bus: FakeBus, stack: AsyncExitStack) -> "asyncio.Queue[Signal | None]":
    _, signals = await Remote(cast("Connection", bus)).subscribe(["RoutesAdded"], stack)
    return signals


def test_another_service_is_heard_though_it_came_while_nobody_listened() -> None:
    async def test() -> None:
        bus = FakeBus()
        bus.start()
        async with AsyncExitStack() as stack:
            await subscribe(bus, stack)
        bus.stop()
        bus.start()
        async with AsyncExitStack() as stack:
            signals = await subscribe(bus, stack)
            bus.put("239.1.1.1", "eth2")
            signal = signals.get_nowait()
            assert signal is not None
            assert signal.member == "RoutesAdded"

    asyncio.run(test())


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("there", [False, True])
def test_what_the_bus_tells_last_decides_on_who_is_heard(first: bool, there: bool) -> None:
    """The answer on who the owner is may be read together with signals that came after it."""

    class Hasty(FakeBus):
        async def call_bus(self, member: str, signature: str, body: Sequence[Any]) -> list[Any]:
            reply = await super().call_bus(member, signature, body)
            self.stop()
            if there:
                self.start()
            return reply

    async def test() -> None:
        bus = Hasty()
        bus.start()
        if not first:
            bus.heard = ":1.77"  # what an earlier subscription has left
        async with AsyncExitStack() as stack:
            await subscribe(bus, stack)
            assert bus.heard == bus.owner
            assert bool(bus.owner) == there

    asyncio.run(test())


GROUPS = [f"239.1.1.{n}" for n in range(3)]
STEPS = st.one_of(
    st.tuples(
        st.just("put"), st.sampled_from(GROUPS), st.sampled_from(["eth2", "eth3"]), st.booleans()
    ),
    st.tuples(st.just("remove"), st.sampled_from(GROUPS), st.just(""), st.booleans()),
    st.tuples(st.sampled_from(["start", "stop", "tell", "fail"])),
    st.tuples(st.just("wait"), st.sampled_from([1, 20])),
)
START, TELL, WAIT = ("start",), ("tell",), ("wait", 20)
LOST = ("put", GROUPS[0], "eth3", False)
HEARD = ("put", GROUPS[0], "eth2", True)


@given(st.lists(STEPS, max_size=30))
@example([START, HEARD, LOST])
@example([START, WAIT, HEARD, TELL, WAIT, ("stop",), START, WAIT, LOST])
@example([START, WAIT, HEARD, LOST, ("fail",), TELL, WAIT, ("put", GROUPS[1], "eth2", True)])
def test_whatever_happens_the_changes_lead_to_what_the_service_has(
    steps: list[tuple[Any, ...]],
) -> None:
    async def test(bus: FakeBus, watcher: Watcher) -> None:
        for step in steps:
            match step:
                case ("put", group, oif, heard):
                    bus.put(group, oif, heard=heard)
                case ("remove", group, _, heard):
                    bus.remove(group, heard=heard)
                case ("start",) if not bus.owner:
                    bus.start()
                case ("stop",) if bus.owner:
                    bus.stop()
                case ("tell",) if bus.owner:
                    bus.tell()
                case ("wait", turns):
                    for _ in range(turns):
                        await asyncio.sleep(0)
                case ("fail",):
                    bus.failures.append(TimeoutError())
        bus.failures.clear()
        await watcher.settle()
        if bus.owner:
            bus.tell()
            await watcher.settle()
            assert watcher.oifs == {group: route[3][0] for group, route in bus.routes.items()}
        assert watcher.running == bool(bus.owner)

    watching(test, running=False)
