"""A typed client of the service, for the command line, applets and other people's programs.

async with Client.open() as client:
    await client.add_route("239.1.1.1", "eth1", ["eth2"], source="10.0.1.10")
"""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from mfc_dbus.bus.backend import Variant
from mfc_dbus.bus.connection import Connection, Signal
from mfc_dbus.bus.errors import BusError, ConnectionLost
from mfc_dbus.info import (
    ANY_SOURCE,
    ClientError,
    Event,
    InterfaceInfo,
    LearnedInfo,
    MembershipInfo,
    RouteEvent,
    RouteInfo,
    RouteKey,
    ServiceEvent,
    TableInfo,
    UnroutedEvent,
    bad_reply,
    info,
    route_info,
    unrouted_event,
)
from mfc_dbus.names import BUS_NAME, INTERFACE, OBJECT_PATH

if TYPE_CHECKING:
    from mfc_dbus.document import Report

__all__ = [
    "ANY_SOURCE",
    "Client",
    "ClientError",
    "Event",
    "InterfaceInfo",
    "LearnedInfo",
    "MembershipInfo",
    "RouteEvent",
    "RouteInfo",
    "ServiceEvent",
    "TableInfo",
    "UnroutedEvent",
]

_TIMEOUT = 30.0
_INTERACTIVE_TIMEOUT = 300.0  # somebody types a password meanwhile
_LONG_TIMEOUT = 300.0  # 100,000 routes take a slow machine a minute
_BUS = "org.freedesktop.DBus"
_PROPERTIES = f"{_BUS}.Properties"
_CHANGES = ("RoutesAdded", "RoutesChanged", "RoutesRemoved", "PropertiesChanged")
_SIGNATURES = {
    "Routes": "a(sssasa{sv})",
    "Interfaces": "aa{sv}",
    "Tables": "aa{sv}",
    "Memberships": "aa{sv}",
    "Version": "s",
    "Generation": "t",
}
# What a call meets that comes when the service has gone, or that it goes under.
_GONE = {
    "ServiceUnknown": f"The service {BUS_NAME} is not running",
    "NameHasNoOwner": f"The service {BUS_NAME} is not running",
    "NoReply": f"The service {BUS_NAME} has gone before it answered",
}


class Client:
    """The service's methods and properties. Each call raises ClientError, after a timeout too."""

    def __init__(self, connection: Connection, *, interactive: bool = False) -> None:
        """interactive: the user may be asked for a password."""
        self._connection = connection
        self.interactive = interactive

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls,
        address: str | None = None,
        *,
        sock: socket.socket | None = None,
        interactive: bool = False,
    ) -> AsyncIterator[Self]:
        """Connect to the system bus, to another, or to one at the far end of a socket."""
        try:
            # At the far end of a socket somebody may have to type a password first.
            timeout = _TIMEOUT if sock is None else _INTERACTIVE_TIMEOUT
            connection = await Connection.open(address, sock=sock, timeout=timeout)
        except TimeoutError as error:
            raise ClientError("Timeout", "There was no answer from the bus") from error
        except (OSError, ValueError, BusError, ConnectionLost) as error:
            why = getattr(error, "strerror", None) or error
            raise ClientError("NoServer", f"Cannot connect to the bus: {why}") from error
        try:
            yield cls(connection, interactive=interactive)
        finally:
            await connection.close()

    async def add_route(
        self,
        group: str,
        iif: str,
        oifs: Sequence[str],
        *,
        source: str = ANY_SOURCE,
        ttls: Mapping[str, int] | None = None,
        replace: bool = False,
        persistent: bool | None = None,
        timeout: int | None = None,
        wait: bool = False,
        comment: str = "",
        table: int = 0,
    ) -> None:
        """Group and source may be prefixes, the interfaces patterns; without an oif it stops.

        ttls: TTL thresholds of the oifs where it is not 1; IPv4 only.

        persistent: keep it over a reboot; so it is where neither this nor a timeout is given.
        timeout: seconds after which it goes. wait: its interfaces need not be there yet. table:
        number of the kernel's routing table, 0 the default one.
        """
        options: dict[str, Any] = _table(table or None)
        if ttls:
            options["ttls"] = Variant("a{sy}", dict(ttls))
        if replace:
            options["replace"] = Variant("b", True)
        if persistent is not None:
            options["persistent"] = Variant("b", persistent)
        if timeout is not None:
            options["timeout"] = Variant("u", timeout)
        if wait:
            options["wait"] = Variant("b", True)
        if comment:
            options["comment"] = Variant("s", comment)
        body = [source, group, iif, list(oifs), options]
        await self._change("AddRoute", "sssasa{sv}", body, returns="")

    async def delete_route(
        self, group: str, *, source: str = ANY_SOURCE, iif: str | None = None, table: int = 0
    ) -> None:
        """iif: which one, where any source has several. table: its number."""
        body = [source, group, _strings(iif=iif) | _table(table or None)]
        await self._change("DeleteRoute", "ssa{sv}", body, returns="")

    async def flush_routes(
        self, *, iif: str | None = None, group: str | None = None, table: int | None = None
    ) -> int:
        """Delete all routes, or those of an iif, a group prefix ("239.1.0.0/16") or a table.

        Returns how many there were.
        """
        body = [_strings(iif=iif, group=group) | _table(table)]
        (count,) = await self._change("FlushRoutes", "a{sv}", body, returns="u")
        return int(count)

    async def join_group(
        self,
        group: str,
        interface: str,
        *,
        source: str = ANY_SOURCE,
        persistent: bool = True,
        wait: bool = False,
        comment: str = "",
    ) -> None:
        """persistent: keep it over a reboot. wait: the interface need not be there yet."""
        options: dict[str, Any] = {}
        if not persistent:
            options["persistent"] = Variant("b", False)
        if wait:
            options["wait"] = Variant("b", True)
        if comment:
            options["comment"] = Variant("s", comment)
        body = [group, source, interface, options]
        await self._change("JoinGroup", "sssa{sv}", body, returns="")

    async def leave_group(self, group: str, interface: str, *, source: str = ANY_SOURCE) -> None:
        body: list[Any] = [group, source, interface, {}]
        await self._change("LeaveGroup", "sssa{sv}", body, returns="")

    async def apply(
        self, document: str, *, merge: bool = False, dry_run: bool = False, wait: bool = False
    ) -> tuple[int, int, int]:
        """Make the routes and memberships of a JSON document those of the service.

        merge: delete nothing. dry_run: do nothing. wait: interfaces need not be there yet. How many
        were, or would be, added, changed and deleted.
        """
        given = {"merge": merge, "dry-run": dry_run, "wait": wait}
        options = {name: Variant("b", True) for name, value in given.items() if value}
        added, changed, deleted = await self._change(
            "Apply", "sa{sv}", [document, options], returns="uuu", timeout=_LONG_TIMEOUT
        )
        return added, changed, deleted

    async def describe(self, *, group: str | None = None) -> "Report":
        """All routes and memberships with states and counters, or those of a group prefix.

        In one message; what is too much for one is asked for by halves of the groups.
        """
        from mfc_dbus.document import Report, read_report

        try:
            (text,) = await self._call(
                INTERFACE,
                "Describe",
                "a{sv}",
                [_strings(group=group)],
                returns="s",
                timeout=_LONG_TIMEOUT,
            )
        except ClientError as error:
            parts = _halves(group)
            if error.name != "LimitExceeded" or not parts:
                raise
            whole = Report()
            for prefix in parts:
                part = await self.describe(group=prefix)
                whole.route += part.route
                whole.membership += part.membership
            return whole
        with bad_reply():
            return read_report(text)

    async def routes(self) -> list[RouteInfo]:
        return [route_info(fields) for fields in await self._get("Routes")]

    async def interfaces(self) -> list[InterfaceInfo]:
        return [info(InterfaceInfo, fields) for fields in await self._get("Interfaces")]

    async def learned(
        self, *, iif: str | None = None, group: str | None = None
    ) -> tuple[list[LearnedInfo], int]:
        """What was learned, or that of an iif or a group prefix: at most 1,000, and how many."""
        body = [_strings(iif=iif, group=group)]
        streams, total = await self._call(
            INTERFACE, "ListLearned", "a{sv}", body, returns="aa{sv}u"
        )
        return [info(LearnedInfo, fields) for fields in streams], int(total)

    async def tables(self) -> list[TableInfo]:
        return [info(TableInfo, fields) for fields in await self._get("Tables")]

    async def memberships(self) -> list[MembershipInfo]:
        return [info(MembershipInfo, fields) for fields in await self._get("Memberships")]

    async def version(self) -> str:
        return str(await self._get("Version"))

    async def changes(self) -> AsyncGenerator[Event, None]:
        """Tell whether the service runs, then each change from there on, also over its restart.

        What changed unseen, while the service was away or when the bus dropped signals for a
        slow reader, is found by comparing and told like the rest. Raises ClientError when the
        bus has gone.
        """
        signals: asyncio.Queue[Signal | None] = asyncio.Queue()
        follower = _Follower(self, signals.qsize)
        async with contextlib.AsyncExitStack() as stack:
            await self._subscribe(_CHANGES, signals, stack)
            yield await follower.start()
            while signal := await signals.get():
                for event in await follower.follow(signal):
                    yield event
        raise ClientError("Disconnected", "The bus has gone")

    async def unrouted(self) -> AsyncGenerator[UnroutedEvent | ServiceEvent, None]:
        """Tell whether the service runs, then each stream that arrives and that no route covers.

        The service tells of a stream at most once in 10 seconds, and under a flood not of all.
        Goes on over its restart. Raises ClientError when the bus has gone.
        """
        signals: asyncio.Queue[Signal | None] = asyncio.Queue()
        async with contextlib.AsyncExitStack() as stack:
            await self._subscribe(["UnroutedTraffic"], signals, stack)
            owner = await self.owner()
            yield ServiceEvent(running=bool(owner))
            while signal := await signals.get():
                if signal.sender == owner:
                    yield unrouted_event(signal.body)
                elif signal.sender == _BUS and signal.body[0] == BUS_NAME:
                    before, owner = owner, signal.body[2]
                    if before and before != owner:
                        yield ServiceEvent(running=False)
                    if owner and before != owner:
                        yield ServiceEvent(running=True)
        raise ClientError("Disconnected", "The bus has gone")

    async def _subscribe(
        self,
        members: Sequence[str],
        signals: "asyncio.Queue[Signal | None]",
        stack: contextlib.AsyncExitStack,
    ) -> None:
        """Queue these signals, that the service comes or goes, and None for the end of the bus."""

        def of_bus(signal: Signal) -> None:
            # The bus also tells each connection which names it acquired, unasked.
            if signal.sender == _BUS and signal.member == "NameOwnerChanged":
                signals.put_nowait(signal)

        def of_service(member: str, signal: Signal) -> None:
            if signal.sender != _BUS and signal.member == member:
                signals.put_nowait(signal)

        async def end() -> None:
            await self._connection.wait_closed()
            signals.put_nowait(None)

        stack.callback(asyncio.create_task(end()).cancel)
        ours = f"type='signal',sender='{BUS_NAME}',path='{OBJECT_PATH}'"
        rules: dict[str, Callable[[Signal], None]] = {
            f"type='signal',sender='{_BUS}',member='NameOwnerChanged',arg0='{BUS_NAME}'": of_bus
        }
        for member in members:
            rules[f"{ours},member='{member}'"] = partial(of_service, member)
        for rule, handler in rules.items():
            stack.callback(self._connection.unsubscribe, rule, handler)
            with _client_errors():
                await self._connection.subscribe(rule, handler)

    async def owner(self) -> str:
        """Get the unique name of the service that runs; empty where none does."""
        try:
            with _client_errors():
                (owner,) = await self._connection.call_bus("GetNameOwner", "s", [BUS_NAME])
        except ClientError as error:
            if error.name in _GONE:
                return ""
            raise
        return str(owner)

    async def snapshot(self) -> tuple[list[RouteInfo], int]:
        """Get the routes and the Generation that they are of, in one message."""
        (properties,) = await self._call(_PROPERTIES, "GetAll", "s", [INTERFACE], returns="a{sv}")
        with bad_reply():
            routes = [route_info(fields) for fields in _value("Routes", properties["Routes"])]
            return routes, _value("Generation", properties["Generation"])

    async def _change(
        self,
        member: str,
        signature: str,
        body: Sequence[Any],
        *,
        returns: str,
        timeout: float = _TIMEOUT,
    ) -> list[Any]:
        return await self._call(
            INTERFACE,
            member,
            signature,
            body,
            returns=returns,
            interactive=self.interactive,
            timeout=timeout,
        )

    async def _get(self, name: str) -> Any:
        (value,) = await self._call(_PROPERTIES, "Get", "ss", [INTERFACE, name], returns="v")
        return _value(name, value)

    async def _call(
        self,
        interface: str,
        member: str,
        signature: str,
        body: Sequence[Any],
        *,
        returns: str,
        interactive: bool = False,
        timeout: float = _TIMEOUT,
    ) -> list[Any]:
        timeout = max(timeout, _INTERACTIVE_TIMEOUT if interactive else 0)
        with _client_errors(timeout):
            return await self._connection.call(
                BUS_NAME,
                OBJECT_PATH,
                interface,
                member,
                signature,
                body,
                timeout=timeout,
                interactive=interactive,
                returns=returns,
            )


class _Follower:
    """What is known of the service and its routes, and what is new in a signal.

    A comparison may know more than the signals that still wait behind it: what these tell again
    is left out, and what they tell of states before leads to the same end.
    """

    def __init__(self, client: Client, waiting: Callable[[], int]) -> None:
        """waiting: how many signals wait to be followed."""
        self._client = client
        self._waiting = waiting
        self._owner = ""
        self._routes: dict[RouteKey, RouteInfo] = {}
        self._generation: int | None = None  # None: compare when the next one is told
        self._heard = 0  # signals of routes since that generation: at least one a change

    async def start(self) -> Event:
        self._owner = await self._client.owner()
        if self._owner:
            await self._compare()
        return ServiceEvent(running=bool(self._owner))

    async def follow(self, signal: Signal) -> list[Event]:
        with bad_reply():
            if signal.sender == _BUS:
                name, _, owner = signal.body
                return await self._follow_owner(owner) if name == BUS_NAME else []
            if signal.sender != self._owner:
                return []
            if signal.interface == _PROPERTIES:
                _, changed, _ = signal.body
                return await self._follow_generation(changed["Generation"].value)
            (routes,) = signal.body
            self._heard += 1
            events = [self._follow_route(signal.member, route_info(fields)) for fields in routes]
            return [event for event in events if event is not None]

    async def _follow_owner(self, owner: str) -> list[Event]:
        if owner == self._owner:
            return []
        events: list[Event] = [ServiceEvent(running=False)] if self._owner else []
        self._owner, self._generation = owner, None
        if owner:
            events += [ServiceEvent(running=True), *await self._compare()]
        return events

    async def _follow_generation(self, generation: int) -> list[Event]:
        before = self._generation
        if before is not None and generation <= before:
            return []
        missed = before is None or generation - before > self._heard
        self._generation, self._heard = generation, 0
        return await self._compare() if missed else []

    def _follow_route(self, member: str, route: RouteInfo) -> Event | None:
        known = self._routes.get(route.key)
        if member == "RoutesRemoved":
            return RouteEvent("removed", route) if self._routes.pop(route.key, None) else None
        if route == known:
            return None
        self._routes[route.key] = route
        return RouteEvent("changed" if known else "added", route)

    async def _compare(self) -> list[Event]:
        """Read the routes again, and tell what is different."""
        try:
            routes, generation = await self._client.snapshot()
        except ClientError as error:
            # It has gone again, or hangs and will: the bus tells when there is another.
            if error.name not in (*_GONE, "Timeout"):
                raise
            self._generation = None
            return []
        if self._generation is None and not self._waiting():
            # Of signals that wait it is not known which changes they tell: count from the next on.
            self._generation, self._heard = generation, 0
        present = {route.key for route in routes}
        removed = [route for key, route in self._routes.items() if key not in present]
        events = [self._follow_route("RoutesRemoved", route) for route in removed]
        events += [self._follow_route("RoutesAdded", route) for route in routes]
        return [event for event in events if event is not None]


def _strings(**options: str | None) -> dict[str, Any]:
    return {name: Variant("s", value) for name, value in options.items() if value is not None}


def _table(number: int | None) -> dict[str, Any]:
    return {} if number is None else {"table": Variant("u", number)}


def _halves(group: str | None) -> list[str]:
    """Split a prefix of groups, None for all; a single group has no halves."""
    if group is None:
        return ["224.0.0.0/4", "ff00::/8"]
    network = ipaddress.ip_network(group)
    if network.prefixlen == network.max_prefixlen:
        return []
    return [str(half) for half in network.subnets()]


def _value(name: str, variant: Any) -> Any:
    if variant.signature != _SIGNATURES[name]:
        raise ClientError("BadReply", f"Property {name} has type '{variant.signature}'")
    return variant.value


@contextlib.contextmanager
def _client_errors(timeout: float = _TIMEOUT) -> Iterator[None]:
    try:
        yield
    except BusError as error:
        name = error.name.removeprefix(f"{INTERFACE}.Error.").removeprefix(f"{_BUS}.Error.")
        raise ClientError(name, _GONE.get(name) or error.message or name) from error
    except ConnectionLost as error:
        raise ClientError("Disconnected", "The bus has gone") from error
    except TimeoutError as error:
        raise ClientError("Timeout", f"There was no answer in {timeout:.0f} seconds") from error
