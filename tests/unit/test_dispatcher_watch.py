"""Whatever the service does, and whatever signals are lost, scripts hear of it once, in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.remote import FakeBus

from mfc_dbus.bus.backend import Variant
from mfc_dbus.bus.connection import Connection
from mfc_dbus.client import Client
from mfc_dbus.dispatcher.events import Event, Kind, Thing, Value
from mfc_dbus.dispatcher.watch import Watch

GROUPS = ["239.1.1.1", "239.1.1.2"]
_UP = {Kind.ROUTE: "active", Kind.MEMBERSHIP: "joined"}


class Listener:
    """Scripts that are new: each event must follow from those before it."""

    def __init__(self, watch: Watch) -> None:
        self.heard: dict[Thing, Value] = {}
        self.told: list[str] = []
        self._watch = watch

    def things(self, kind: Kind) -> list[Thing]:
        return [thing for thing in self.heard if thing.kind is kind]

    def get(self, thing: Thing) -> Value | None:
        return self.heard.get(thing)

    def forget(self, thing: Thing) -> None:
        del self.heard[thing]

    async def hear(self, most: int = 1_000_000) -> None:
        """Hear so many events of those that wait."""
        for _ in range(most):
            event = self._watch.backlog.next(self)
            if event is None:
                return
            self._hear(event)

    def _hear(self, event: Event) -> None:
        self.told.append(f"{event.action} {event.subject}")
        if event.thing is None:
            return
        before = self.heard.get(event.thing)
        was_up = before is not None and before.get("state") == _UP.get(event.kind, "")
        step = event.action.rpartition("-")[2]
        if event.kind in _UP:
            assert (step in ("add", "join")) == (before is None), self.told
            assert step != "up" or not was_up, self.told
            assert (step == "down") <= was_up, self.told
            assert step not in ("remove", "leave") or not was_up, self.told
            assert step != "change" or before != event.left, self.told
        else:
            assert (step in ("up", "begin")) == (before is None), self.told
        if event.left is None:
            del self.heard[event.thing]
        else:
            self.heard[event.thing] = event.left


@asynccontextmanager
async def listening(
    bus: FakeBus, limit: int = 10_000, *, wants_streams: bool = False
) -> AsyncIterator[Listener]:
    async with Client(cast("Connection", bus)).following("UnroutedTraffic") as (follower, signals):
        watch = Watch(Client(cast("Connection", bus)), follower, "bus", lambda: wants_streams)
        watch.backlog._others._limit = limit
        await watch.begin()
        running = asyncio.create_task(watch.run(signals))
        yield Listener(watch)
        await settle()
        signals.put_nowait(None)
        await running


async def settle() -> None:
    for _ in range(40):
        await asyncio.sleep(0)


def show(bus: FakeBus, *up: str) -> None:
    """Have routes use eth1 and eth2, of which these are up."""
    states = {name: "active" if name in up else "down" for name in ("eth1", "eth2")}
    interfaces = [
        {
            "name": Variant("s", name),
            "family": Variant("s", "ipv4"),
            "vif": Variant("u", 0),
            "ifindex": Variant("u", 1),
            "references": Variant("u", 1),
            "state": Variant("s", state),
        }
        for name, state in states.items()
    ]
    bus.properties["Interfaces"] = Variant("aa{sv}", interfaces)


_HEARD = st.booleans()
_GROUP = st.sampled_from(GROUPS)
STEPS = st.one_of(
    st.tuples(
        st.just("put"),
        _GROUP,
        st.sampled_from(["eth2", "eth3"]),
        st.sampled_from(["active", "partial", "waiting"]),
        _HEARD,
    ),
    st.tuples(st.just("remove"), _GROUP, _HEARD),
    st.tuples(st.just("join"), _GROUP, st.sampled_from(["joined", "failed"]), _HEARD),
    st.tuples(st.just("show"), st.sets(st.sampled_from(["eth1", "eth2"]))),
    st.tuples(st.just("tell")),
    st.tuples(st.just("restart")),
    st.tuples(st.just("settle")),
    st.tuples(st.just("hear"), st.integers(0, 5)),
)


@given(st.lists(STEPS, max_size=30), st.sampled_from([2, 5, 10_000]))
def test_scripts_hear_of_all_once_and_in_order(steps: list[tuple[object, ...]], limit: int) -> None:
    async def run() -> None:
        bus = FakeBus()
        show(bus, "eth1", "eth2")
        bus.start()
        async with listening(bus, limit) as listener:
            for name, *arguments in steps:
                await do(bus, listener, str(name), arguments)
            bus.generation += 1  # a last signal is missed, and so all is compared
            bus.tell("Interfaces")
            await settle()
            await listener.hear()
            heard = listener.heard
        routes = {value["group"]: value for thing, value in heard.items() if thing.kind == "route"}
        assert {group: (each["oifs"], each["state"]) for group, each in routes.items()} == {
            group: (oifs, options["state"].value)
            for group, (_, _, _, oifs, options) in bus.routes.items()
        }
        joined = {
            value["group"]: value["state"]
            for thing, value in heard.items()
            if thing.kind == "membership"
        }
        assert joined == {group: each["state"].value for group, each in bus.memberships.items()}
        up = {value["name"] for thing, value in heard.items() if thing.kind == "interface"}
        shown = bus.properties["Interfaces"].value
        assert up == {each["name"].value for each in shown if each["state"].value == "active"}
        assert [thing.kind for thing in heard].count(Kind.SERVICE) == 1

    asyncio.run(run())


async def do(bus: FakeBus, listener: Listener, name: str, arguments: list[object]) -> None:
    match name, arguments:
        case "put", [str(group), str(oif), str(state), bool(heard)]:
            bus.put(group, oif, state, heard=heard)
        case "remove", [str(group), bool(heard)]:
            bus.remove(group, heard=heard)
        case "join", [str(group), str(state), bool(heard)]:
            bus.join(group, state, heard=heard)
        case "show", [set(up)]:
            show(bus, *map(str, up))
            bus.tell("Interfaces")
        case "tell", _:
            bus.tell()
        case "restart", _:
            bus.stop()
            bus.start()
        case "settle", _:
            await settle()
        case "hear", [int(most)]:
            await listener.hear(most)


def test_a_service_that_is_away_is_not_known_and_nothing_has_gone() -> None:
    async def run() -> None:
        bus = FakeBus()
        show(bus)
        async with listening(bus) as listener:
            gone = {"source": "*", "group": GROUPS[0], "state": "waiting", "reason": ""}
            listener.heard[Thing(Kind.ROUTE, ("*", GROUPS[0], "eth1", "0"))] = gone
            listener.heard[Thing(Kind.SERVICE, ())] = {"instance": "earlier"}
            await listener.hear()
            assert listener.told == ["service-down service"]
            bus.start()
            await settle()
            await listener.hear()
        assert listener.told[1] == "service-up service"
        assert "route-remove" in listener.told[2]

    asyncio.run(run())


def test_a_service_that_goes_while_it_is_read_is_not_known() -> None:
    async def run() -> None:
        bus = FakeBus()
        show(bus)
        bus.put(GROUPS[0], "eth2")
        bus.start()
        async with listening(bus) as listener:
            await listener.hear()
            listener.told.clear()
            bus.stop()
            bus.failures = [TimeoutError()]
            bus.start()
            await settle()
            await listener.hear()
            assert listener.told == ["service-down service"]
            bus.put(GROUPS[1], "eth2")
            bus.tell()
            await settle()
            await listener.hear()
        assert listener.told == [
            "service-down service",
            "service-up service",
            f"route-add *,{GROUPS[1]}",
            f"route-up *,{GROUPS[1]}",
        ]

    asyncio.run(run())


def learned(*groups: str) -> list[object]:
    """What ListStreams answers."""
    streams = [
        {
            "source": Variant("s", "10.1.0.10"),
            "group": Variant("s", group),
            "iif": Variant("s", "eth1"),
            "oifs": Variant("as", ["eth2"]),
            "learned": Variant("b", True),
            "route-source": Variant("s", "*"),
            "route-group": Variant("s", "239.0.0.0/8"),
            "route-iif": Variant("s", "eth1"),
        }
        for group in groups
    ]
    return [streams, len(streams)]


def test_streams_that_cannot_be_asked_for_have_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mfc_dbus.dispatcher.learned._PAUSE", 0)
    monkeypatch.setattr("mfc_dbus.dispatcher.learned._SHARE", 0)

    async def run() -> None:
        bus = FakeBus()
        show(bus)
        bus.returns = learned(*GROUPS)
        bus.start()
        async with listening(bus, wants_streams=True) as listener:
            await listener.hear()
            begun = [f"stream-begin 10.1.0.10,{group}" for group in GROUPS]
            assert listener.told == ["service-up service", *begun]
            listener.told.clear()
            bus.stop()
            await settle()
            bus.returns = [[], 20_000]
            bus.start()
            await settle()
            await listener.hear()
            assert listener.told == ["service-down service", "service-up service"]
            bus.returns = learned(GROUPS[1])
            await settle()
            await listener.hear()
            bus.returns = learned(*GROUPS)
            await settle()
            await listener.hear()
        assert listener.told[2:] == [f"stream-end 10.1.0.10,{GROUPS[0]}", begun[0]]

    asyncio.run(run())
