"""What the client asks of the service, and what becomes of the answers."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, cast

import pytest
from lab.remote import ROUTES, FakeBus

from mfc_dbus.bus.backend import Variant
from mfc_dbus.bus.connection import Connection
from mfc_dbus.bus.errors import BusError, ConnectionLost
from mfc_dbus.bus.names import ERROR
from mfc_dbus.client import (
    Client,
    ClientError,
    InterfaceInfo,
    MembershipInfo,
    RouteInfo,
    Snapshot,
    TableInfo,
)
from mfc_dbus.names import BUS_NAME, INTERFACE


def on_bus(test: Callable[[FakeBus, Client], Awaitable[None]]) -> None:
    async def run() -> None:
        bus = FakeBus()
        await test(bus, Client(cast("Connection", bus)))

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
        assert await client.apply("{}", remove=True, persistent=False) == (1, 2, 3)
        first, second, third = bus.calls
        assert first == ("Apply", "sa{sv}", "{}", {})
        assert plain(third[-1]) == {"remove": ("b", True), "persistent": ("b", False)}
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
        assert [each.group for each in described.route] == ["239.1.1.1"] * 4
        assert [each.interface for each in described.membership] == ["a"] * 4
        asked = [
            {name: value for name, (_, value) in plain(call[-1]).items()} for call in bus.calls
        ]
        assert asked == [
            {},
            {"group": "224.0.0.0/4"},
            {"group": "224.0.0.0/4", "exact": True},
            {"group": "224.0.0.0/5"},
            {"group": "232.0.0.0/5"},
            {"group": "ff00::/8"},
        ]
        bus.failures = [too_much]
        bus.calls.clear()
        await client.describe(group="239.1.1.1/32")
        assert [
            {name: value for name, (_, value) in plain(call[-1]).items()} for call in bus.calls[1:]
        ] == [
            {"group": "239.1.1.1/32", "source": source}
            for source in ("*", "0.0.0.0/1", "128.0.0.0/1")
        ]
        bus.returns = ["?"]
        with pytest.raises(ClientError, match="does not understand"):
            await client.describe()

    on_bus(test)


def test_routes_that_are_too_many_for_one_message_are_those_described() -> None:
    async def test(bus: FakeBus, client: Client) -> None:
        bus.start()
        bus.too_many, bus.generation = True, 7
        one = '{"group": "239.1.1.1", "iif": "a", "oifs": ["b"], "state": "active", "packets": 1}'
        two = (
            '{"source": "10.0.0.1", "group": "239.1.1.2", "iif": "a", "oifs": ["b", "c"], "ttls":'
            ' {"c": 9}, "comment": "lobby", "persistent": false, "expires": 5, "table": 3, "state":'
            ' "waiting", "reason": "so", "origin": "config", "hairpin": true}'
        )
        bus.returns = [f'{{"route": [{one}, {two}]}}']
        expected = [
            RouteInfo("*", "239.1.1.1", "a", ("b",), "active"),
            RouteInfo(
                *("10.0.0.1", "239.1.1.2", "a", ("b", "c"), "waiting", {"c": 9}, "lobby", False),
                *(5, "config", 3, "so", True),
            ),
        ]
        assert await client.routes() == expected
        assert await client.snapshot() == Snapshot(expected, [], 7)

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
        (BusError(f"{ERROR}.AccessDenied", "Not you"), "AccessDenied", "Not you"),
        (BusError(f"{ERROR}.Failed", ""), "Failed", "Failed"),
        (BusError("com.example.Odd", "Odd"), "com.example.Odd", "Odd"),
        (
            BusError(f"{ERROR}.ServiceUnknown", "not provided by any .service files"),
            "ServiceUnknown",
            f"The service {BUS_NAME} is not running: 'systemctl start mfc-dbus' starts it",
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


MANY: dict[str, Callable[[Client], Awaitable[object]]] = {
    "apply": lambda client: client.apply("{}"),
    "describe": lambda client: client.describe(),
    "flush": lambda client: client.flush_routes(),
    "snapshot": lambda client: client.snapshot(),
}


@pytest.mark.parametrize("call", MANY.values(), ids=MANY)
def test_what_may_be_of_all_routes_may_take_long(
    call: Callable[[Client], Awaitable[object]],
) -> None:
    async def test(bus: FakeBus, client: Client) -> None:
        bus.failures = [TimeoutError()]
        with pytest.raises(ClientError, match="no answer in 300 seconds"):
            await call(client)

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


def test_changes_end_with_the_bus() -> None:
    async def test(bus: FakeBus, client: Client) -> None:
        async with aclosing(client.changes()) as changes:
            await anext(changes)
            bus.closed.set()
            with pytest.raises(ClientError) as error:
                await anext(changes)
        assert error.value.name == "Disconnected"

    on_bus(test)


def plain(options: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    return {name: (variant.signature, variant.value) for name, variant in options.items()}
