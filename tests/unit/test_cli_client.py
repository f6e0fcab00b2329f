"""The client, on a bus that exists in memory only."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mfc_dbus.bus.backend import Variant
from mfc_dbus.bus.connection import Connection, Signal
from mfc_dbus.bus.errors import BusError, ConnectionLost
from mfc_dbus.client import (
    Client,
    ClientError,
    Event,
    InterfaceInfo,
    MembershipInfo,
    RouteInfo,
    TableInfo,
)
from mfc_dbus.names import BUS_NAME, INTERFACE, OBJECT_PATH

BUS = "org.freedesktop.DBus"
STANDARD = f"{BUS}.Error"
ROUTES = "a(sssasa{sv})"


class FakeBus:
    """A connection, the bus, and the service behind it.

    failures: what the next calls fail with. Signals reach the handlers at once.
    """

    def __init__(self) -> None:
        self.owner = ""
        self.generation = 0
        self.routes: dict[str, list[Any]] = {}
        self.properties: dict[str, Any] = {"Version": Variant("s", "1.2.3")}
        self.returns: list[Any] = []
        self.calls: list[tuple[Any, ...]] = []
        self.options: list[tuple[float, bool]] = []
        self.failures: list[Exception] = []
        self.handlers: list[Callable[[Signal], None]] = []
        self.closed = asyncio.Event()
        self._owners = 0

    # The connection

    async def call(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str,
        body: Sequence[Any],
        *,
        timeout: float,
        interactive: bool,
        returns: str,
    ) -> list[Any]:
        assert (destination, path) == (BUS_NAME, OBJECT_PATH)
        await asyncio.sleep(0)
        self.calls.append((member, signature, *body))
        self.options.append((timeout, interactive))
        if self.failures:
            raise self.failures.pop(0)
        if interface == INTERFACE:
            return self.returns
        if not self.owner:
            raise BusError(f"{STANDARD}.ServiceUnknown", "not provided by any .service files")
        properties = {
            "Routes": Variant(ROUTES, [list(route) for route in self.routes.values()]),
            "Generation": Variant("t", self.generation),
        } | self.properties
        return [properties] if member == "GetAll" else [properties[body[1]]]

    async def call_bus(self, member: str, signature: str, body: Sequence[Any]) -> list[Any]:
        assert (member, signature, body) == ("GetNameOwner", "s", [BUS_NAME])
        if not self.owner:
            raise BusError(f"{STANDARD}.NameHasNoOwner", "")
        return [self.owner]

    async def subscribe(self, rule: str, handler: Callable[[Signal], None]) -> None:
        self.handlers.append(handler)

    def unsubscribe(self, rule: str, handler: Callable[[Signal], None]) -> None:
        self.handlers.remove(handler)

    async def wait_closed(self) -> None:
        await self.closed.wait()

    # The service

    def start(self) -> None:
        self._owners += 1
        self.generation = 0
        self._own(f":1.{self._owners}")

    def stop(self) -> None:
        self._own("")

    def put(self, group: str, oif: str, *, heard: bool = True) -> None:
        member = "RoutesChanged" if group in self.routes else "RoutesAdded"
        self.routes[group] = ["*", group, "eth1", [oif], {"state": Variant("s", "active")}]
        self._changed(member, self.routes[group], heard=heard)

    def remove(self, group: str, *, heard: bool = True) -> None:
        if group in self.routes:
            self._changed("RoutesRemoved", self.routes.pop(group), heard=heard)

    def tell(self) -> None:
        """Send the signal that comes after changes, some or many."""
        changed = {"Generation": Variant("t", self.generation)}
        body = [INTERFACE, changed, ["Routes"]]
        self.send(Signal(self.owner, OBJECT_PATH, f"{BUS}.Properties", "PropertiesChanged", body))

    def send(self, signal: Signal) -> None:
        for handler in self.handlers:
            handler(signal)

    def _own(self, owner: str) -> None:
        before, self.owner = self.owner, owner
        body = [BUS_NAME, before, owner]
        self.send(Signal(BUS, "/org/freedesktop/DBus", BUS, "NameOwnerChanged", body))

    def _changed(self, member: str, route: list[Any], *, heard: bool) -> None:
        if self.owner:
            self.generation += 1
            if heard:
                self.send(Signal(self.owner, OBJECT_PATH, INTERFACE, member, [[list(route)]]))


class Watcher:
    """Follows the changes, and knows of the service and its routes what they tell."""

    def __init__(self, bus: FakeBus) -> None:
        self.events: list[Event] = []
        self.running: bool | None = None
        self.oifs: dict[str, str] = {}
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
            else f"{event.event} {event.route.group} {','.join(event.route.oifs)}"
            for event in events
        ]


def on_bus(test: Callable[[FakeBus, Client], Awaitable[None]]) -> None:
    async def run() -> None:
        bus = FakeBus()
        await test(bus, Client(cast("Connection", bus)))

    asyncio.run(run())


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


def test_a_change_carries_only_the_options_that_are_set() -> None:
    async def test(bus: FakeBus, client: Client) -> None:
        await client.add_route("239.1.1.1", "eth1", ["eth2"])
        await client.add_route(
            "239.1.1.1",
            "eth1",
            ("eth2",),
            source="10.0.1.10",
            ttls={"eth2": 16},
            replace=True,
            persistent=False,
            timeout=60,
            wait=True,
            comment="lobby",
        )
        await client.add_route("239.1.1.1", "eth1", ["eth2"], persistent=True)
        await client.delete_route("239.1.1.1", iif="eth1")
        bus.returns = [3]
        assert await client.flush_routes(group="239.1.0.0/16") == 3
        add, full, kept, delete, flush = bus.calls
        assert add == ("AddRoute", "sssasa{sv}", "*", "239.1.1.1", "eth1", ["eth2"], {})
        assert full[2] == "10.0.1.10"
        assert plain(full[-1]) == {
            "ttls": ("a{sy}", {"eth2": 16}),
            "replace": ("b", True),
            "persistent": ("b", False),
            "timeout": ("u", 60),
            "wait": ("b", True),
            "comment": ("s", "lobby"),
        }
        assert plain(kept[-1]) == {"persistent": ("b", True)}
        assert plain(delete[-1]) == {"iif": ("s", "eth1")}
        assert plain(flush[-1]) == {"group": ("s", "239.1.0.0/16")}

    on_bus(test)


def test_a_membership_carries_only_the_options_that_are_set() -> None:
    async def test(bus: FakeBus, client: Client) -> None:
        await client.join_group("239.1.1.1", "eth1")
        await client.join_group(
            "239.1.1.1", "eth1", source="10.0.1.10", persistent=False, wait=True, comment="lobby"
        )
        await client.leave_group("239.1.1.1", "eth1", source="10.0.1.10")
        join, full, leave = bus.calls
        assert join == ("JoinGroup", "sssa{sv}", "239.1.1.1", "*", "eth1", {})
        assert full[3] == "10.0.1.10"
        assert plain(full[-1]) == {
            "persistent": ("b", False),
            "wait": ("b", True),
            "comment": ("s", "lobby"),
        }
        assert leave == ("LeaveGroup", "sssa{sv}", "239.1.1.1", "10.0.1.10", "eth1", {})

    on_bus(test)


def test_a_document_is_applied_with_the_options_that_are_set() -> None:
    async def test(bus: FakeBus, client: Client) -> None:
        bus.returns = [1, 2, 3]
        assert await client.apply("{}") == (1, 2, 3)
        assert await client.apply("{}", merge=True, dry_run=True, wait=True) == (1, 2, 3)
        first, second = bus.calls
        assert first == ("Apply", "sa{sv}", "{}", {})
        assert plain(second[-1]) == dict.fromkeys(("merge", "dry-run", "wait"), ("b", True))

    on_bus(test)


def test_what_is_too_much_for_one_message_is_asked_for_by_halves() -> None:
    async def test(bus: FakeBus, client: Client) -> None:
        route = '{"group": "239.1.1.1", "iif": "a", "oifs": ["b"], "state": "active", "new": 1}'
        joined = '{"group": "239.1.1.1", "interface": "a", "state": "joined", "new": 1}'
        bus.returns = [f'{{"route": [{route}], "membership": [{joined}]}}']
        too_much = BusError(f"{INTERFACE}.Error.LimitExceeded", "too much")
        bus.failures = [too_much, too_much]
        described = await client.describe()
        assert [each.group for each in described.route] == ["239.1.1.1"] * 3
        assert [each.interface for each in described.membership] == ["a"] * 3
        asked = [plain(call[-1]).get("group", ("s", ""))[1] for call in bus.calls]
        assert asked == ["", "224.0.0.0/4", "224.0.0.0/5", "232.0.0.0/5", "ff00::/8"]
        bus.failures = [too_much]
        with pytest.raises(ClientError):
            await client.describe(group="239.1.1.1/32")
        bus.returns = ["?"]
        with pytest.raises(ClientError, match="does not understand"):
            await client.describe()

    on_bus(test)


def test_only_a_change_may_ask_for_a_password_and_then_waits_longer() -> None:
    async def test(bus: FakeBus, client: Client) -> None:
        bus.start()
        asking = Client(cast("Connection", bus), interactive=True)
        await asking.delete_route("239.1.1.1")
        await asking.version()
        await client.delete_route("239.1.1.1")
        assert bus.options == [(300.0, True), (30.0, False), (30.0, False)]

    on_bus(test)


def test_what_the_service_tells_becomes_values() -> None:
    async def test(bus: FakeBus, client: Client) -> None:
        bus.start()
        bus.put("239.1.1.1", "eth2")
        bus.routes["239.1.1.1"][4] |= {
            "ttls": Variant("a{sy}", {"eth2": 16}),
            "comment": Variant("s", "lobby"),
            "persistent": Variant("b", False),
            "expires": Variant("t", 5_000_000),
            "future": Variant("s", "something that a newer service tells"),
        }
        bus.properties["Interfaces"] = Variant("aa{sv}", [INTERFACE_FIELDS])
        bus.properties["Tables"] = Variant("aa{sv}", [TABLE_FIELDS])
        bus.properties["Memberships"] = Variant("aa{sv}", [MEMBERSHIP_FIELDS])
        oifs, ttls = ("eth2",), {"eth2": 16}
        route = RouteInfo("*", "239.1.1.1", "eth1", oifs, "active", ttls, "lobby", False, 5_000_000)
        assert await client.routes() == [route]
        assert await client.interfaces() == [
            InterfaceInfo("eth1", "ipv4", 0, 7, 3, "active", packets_in=5)
        ]
        assert await client.tables() == [TableInfo("ipv4", 0, "unavailable", 0, 0, "Busy")]
        assert await client.memberships() == [
            MembershipInfo("*", "239.1.1.1", "eth1", "failed", "No such device")
        ]
        assert await client.version() == "1.2.3"

    on_bus(test)


INTERFACE_FIELDS = {
    "name": Variant("s", "eth1"),
    "family": Variant("s", "ipv4"),
    "vif": Variant("u", 0),
    "ifindex": Variant("u", 7),
    "references": Variant("u", 3),
    "state": Variant("s", "active"),
    "packets-in": Variant("t", 5),
    "future": Variant("s", "something that a newer service tells"),
}
TABLE_FIELDS = {
    "family": Variant("s", "ipv4"),
    "table": Variant("u", 0),
    "state": Variant("s", "unavailable"),
    "reason": Variant("s", "Busy"),
    "routes": Variant("u", 0),
    "interfaces": Variant("u", 0),
}
MEMBERSHIP_FIELDS = {
    "group": Variant("s", "239.1.1.1"),
    "source": Variant("s", "*"),
    "interface": Variant("s", "eth1"),
    "state": Variant("s", "failed"),
    "reason": Variant("s", "No such device"),
    "future": Variant("s", "something that a newer service tells"),
}


@pytest.mark.parametrize(
    ("failure", "name", "sentence"),
    [
        (BusError(f"{INTERFACE}.Error.RouteExists", "It exists"), "RouteExists", "It exists"),
        (BusError(f"{STANDARD}.AccessDenied", "Not you"), "AccessDenied", "Not you"),
        (BusError(f"{STANDARD}.Failed", ""), "Failed", "Failed"),
        (BusError("com.example.Odd", "Odd"), "com.example.Odd", "Odd"),
        (
            BusError(f"{STANDARD}.ServiceUnknown", "not provided by any .service files"),
            "ServiceUnknown",
            f"The service {BUS_NAME} is not running",
        ),
        (TimeoutError(), "Timeout", "There was no answer in 30 seconds"),
        (ConnectionLost("gone"), "Disconnected", "The bus has gone"),
    ],
)
def test_every_failure_has_a_short_name_and_a_sentence(
    failure: Exception, name: str, sentence: str
) -> None:
    async def test(bus: FakeBus, client: Client) -> None:
        bus.failures = [failure]
        with pytest.raises(ClientError) as error:
            await client.delete_route("239.1.1.1")
        assert (error.value.name, str(error.value)) == (name, sentence)

    on_bus(test)


@pytest.mark.parametrize(
    "routes",
    [
        Variant("s", "no routes at all"),
        Variant(ROUTES, [["*", "239.1.1.1", "eth1", ["eth2"], {}]]),
    ],
)
def test_a_property_of_another_shape_is_a_bad_reply(routes: Variant) -> None:
    async def test(bus: FakeBus, client: Client) -> None:
        bus.start()
        bus.properties["Routes"] = routes
        with pytest.raises(ClientError) as error:
            await client.routes()
        assert error.value.name == "BadReply"

    on_bus(test)


def test_no_bus_is_an_error_with_a_name(tmp_path: Any) -> None:
    async def run(address: str) -> None:
        async with Client.open(address):
            pass

    for address in (f"unix:path={tmp_path}/none", "nonsense"):
        with pytest.raises(ClientError, match="Cannot connect to the bus: ") as error:
            asyncio.run(run(address))
        assert error.value.name == "NoServer"


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
        bus.failures = [BusError(f"{STANDARD}.NoReply", "")]
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
        bus.send(Signal(BUS, "/org/freedesktop/DBus", BUS, "NameAcquired", [":1.5"]))
        await watcher.settle()
        assert watcher.told() == []

    watching(test)


def test_changes_end_with_the_bus() -> None:
    async def test(bus: FakeBus, client: Client) -> None:
        async with aclosing(client.changes()) as changes:
            await anext(changes)
            bus.closed.set()
            with pytest.raises(ClientError) as error:
                await anext(changes)
        assert error.value.name == "Disconnected"

    on_bus(test)


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


def plain(options: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    return {name: (variant.signature, variant.value) for name, variant in options.items()}
