"""A typed client of the service, for the command line, applets and other people's programs.

async with Client.open() as client:
    await client.add_route("239.1.1.1", "eth1", ["eth2"], source="10.0.1.10")
"""

import contextlib
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from mfc_dbus.bus.backend import Variant
from mfc_dbus.bus.connection import Connection
from mfc_dbus.bus.errors import BusError
from mfc_dbus.bus.names import BUS
from mfc_dbus.client.follower import CHANGES, Follower
from mfc_dbus.client.info import (
    ANY_SOURCE,
    ClientError,
    Event,
    InterfaceInfo,
    LearnedInfo,
    MembershipInfo,
    RouteEvent,
    RouteInfo,
    ServiceEvent,
    TableInfo,
    UnroutedEvent,
    info,
    unrouted_event,
)
from mfc_dbus.client.remote import INTERACTIVE_TIMEOUT, LONG_TIMEOUT, TIMEOUT, Remote
from mfc_dbus.names import BUS_NAME

if TYPE_CHECKING:
    from mfc_dbus.documents.document import Report

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


class Client:
    """The service's methods and properties. Each call raises ClientError, after a timeout too."""

    def __init__(self, connection: Connection, *, interactive: bool = False) -> None:
        """interactive: the user may be asked for a password."""
        self._remote = Remote(connection)
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
            timeout = TIMEOUT if sock is None else INTERACTIVE_TIMEOUT
            connection = await Connection.open(address, sock=sock, timeout=timeout)
        except TimeoutError as error:
            raise ClientError("Timeout", "There was no answer from the bus") from error
        except (OSError, ValueError, BusError) as error:
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
        hairpin: bool = False,
    ) -> None:
        """Group and source may be prefixes, the interfaces patterns; without an oif it stops.

        ttls: TTL thresholds of the oifs where it is not 1; IPv4 only.

        persistent: keep it over a reboot; so it is where neither this nor a timeout is given.
        timeout: seconds after which it goes. wait: its interfaces need not be there yet. table:
        number of the kernel's routing table, 0 the default one. hairpin: the iif may be an oif.
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
        if hairpin:
            options["hairpin"] = Variant("b", True)
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
        self,
        document: str,
        *,
        merge: bool = False,
        dry_run: bool = False,
        wait: bool = False,
        empty: bool = False,
    ) -> tuple[int, int, int]:
        """Make the routes and memberships of a JSON document those of the service.

        merge: delete nothing. dry_run: do nothing. wait: interfaces need not be there yet. empty:
        it may have no entries, and then deletes all. How many were, or would be, added, changed and
        deleted.
        """
        given = {"merge": merge, "dry-run": dry_run, "wait": wait, "empty": empty}
        options = {name: Variant("b", True) for name, value in given.items() if value}
        added, changed, deleted = await self._change(
            "Apply", "sa{sv}", [document, options], returns="uuu", timeout=LONG_TIMEOUT
        )
        return added, changed, deleted

    async def describe(self, *, group: str | None = None) -> "Report":
        """All routes and memberships with states and counters, or those of a group prefix.

        In one message; what is too much for one is asked for by halves of the groups.
        """
        return await self._remote.describe(group=group)

    async def routes(self) -> list[RouteInfo]:
        routes, _ = await self._remote.snapshot()
        return routes

    async def interfaces(self) -> list[InterfaceInfo]:
        return [info(InterfaceInfo, fields) for fields in await self._remote.get("Interfaces")]

    async def learned(
        self, *, iif: str | None = None, group: str | None = None
    ) -> tuple[list[LearnedInfo], int]:
        """What was learned, or that of an iif or a group prefix: at most 1,000, and how many."""
        body = [_strings(iif=iif, group=group)]
        streams, total = await self._remote.call("ListLearned", "a{sv}", body, returns="aa{sv}u")
        return [info(LearnedInfo, fields) for fields in streams], int(total)

    async def tables(self) -> list[TableInfo]:
        return [info(TableInfo, fields) for fields in await self._remote.get("Tables")]

    async def memberships(self) -> list[MembershipInfo]:
        return [info(MembershipInfo, fields) for fields in await self._remote.get("Memberships")]

    async def version(self) -> str:
        return str(await self._remote.get("Version"))

    async def changes(self) -> AsyncGenerator[Event, None]:
        """Tell whether the service runs, then each change from there on, also over its restart.

        What changed unseen, while the service was away or when the bus dropped signals for a
        slow reader, is found by comparing and told like the rest. Raises ClientError when the
        bus has gone.
        """
        async with contextlib.AsyncExitStack() as stack:
            signals = await self._remote.subscribe(CHANGES, stack)
            follower = Follower(self._remote, signals.qsize)
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
        async with contextlib.AsyncExitStack() as stack:
            signals = await self._remote.subscribe(["UnroutedTraffic"], stack)
            owner = await self._remote.owner()
            yield ServiceEvent(running=bool(owner))
            while signal := await signals.get():
                if signal.sender == owner:
                    yield unrouted_event(signal.body)
                elif signal.sender == BUS and signal.body[0] == BUS_NAME:
                    before, owner = owner, signal.body[2]
                    if before and before != owner:
                        yield ServiceEvent(running=False)
                    if owner and before != owner:
                        yield ServiceEvent(running=True)
        raise ClientError("Disconnected", "The bus has gone")

    async def owner(self) -> str:
        """Get the unique name of the service that runs; empty where none does."""
        return await self._remote.owner()

    async def snapshot(self) -> tuple[list[RouteInfo], int]:
        """Get the routes, and the Generation that they are of or that came shortly before."""
        return await self._remote.snapshot()

    async def _change(
        self,
        member: str,
        signature: str,
        body: Sequence[Any],
        *,
        returns: str,
        timeout: float = TIMEOUT,
    ) -> list[Any]:
        return await self._remote.call(
            member,
            signature,
            body,
            returns=returns,
            interactive=self.interactive,
            timeout=timeout,
        )


def _strings(**options: str | None) -> dict[str, Any]:
    return {name: Variant("s", value) for name, value in options.items() if value is not None}


def _table(number: int | None) -> dict[str, Any]:
    return {} if number is None else {"table": Variant("u", number)}
