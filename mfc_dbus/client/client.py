"""A typed client of the service, for the command line, applets and other people's programs.

async with Client.open() as client:
    await client.add_route("239.1.1.1", "eth1", ["eth2"], source="10.0.1.10")
"""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

from mfc_dbus.bus.codec import Variant
from mfc_dbus.bus.errors import BusError
from mfc_dbus.bus.names import BUS
from mfc_dbus.client.call_options import numbers, strings, table_number
from mfc_dbus.client.changing_calls import ChangingCalls
from mfc_dbus.client.errors import ClientError
from mfc_dbus.client.remote import INTERACTIVE_TIMEOUT, LONG_TIMEOUT, TIMEOUT, Bus, Remote
from mfc_dbus.model import members
from mfc_dbus.model.findings import DEFAULT_SECONDS
from mfc_dbus.names import ANY_SOURCE, BUS_NAME, INTERFACE

if TYPE_CHECKING:
    import asyncio
    import socket

    from mfc_dbus.bus.connection import Signal
    from mfc_dbus.client.follower import Follower
    from mfc_dbus.client.info import (
        Event,
        FindingInfo,
        InterfaceInfo,
        MembershipInfo,
        PastChangeInfo,
        PermissionInfo,
        RouteInfo,
        ServiceEvent,
        Snapshot,
        StatisticsInfo,
        StreamInfo,
        TableInfo,
        UnroutedEvent,
    )
    from mfc_dbus.client.unit import UnitInfo
    from mfc_dbus.documents.entries import Report

MAX_STREAMS = 1000  # that the service tells of at once


class Client(ChangingCalls):
    """The service's methods and properties. Each call raises ClientError, also after a timeout."""

    def __init__(self, bus: Bus, *, interactive: bool = False) -> None:
        """interactive: the user may be asked for a password."""
        self._bus = bus
        self._remote = Remote(bus)
        self.interactive = interactive

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls,
        address: str | None = None,
        *,
        sock: "socket.socket | None" = None,
        interactive: bool = False,
    ) -> AsyncIterator[Self]:
        """Connect to the system bus, to that of an address, or to one at the far end of a socket.

        interactive: the user may be asked for a password. Raises ClientError.
        """
        from mfc_dbus.bus.connection import Connection

        with _connecting():
            timeout = _connecting_timeout(sock)
            connection = await Connection.open(address, sock=sock, timeout=timeout)
        try:
            yield cls(connection, interactive=interactive)
        finally:
            await connection.close()

    @classmethod
    @contextlib.contextmanager
    def open_blocking(
        cls,
        address: str | None = None,
        *,
        sock: "socket.socket | None" = None,
        interactive: bool = False,
    ) -> Iterator[Self]:
        """Connect as `open` does, for a program without an event loop: `finish` runs its calls.

        Only `changes` and `unrouted` need an event loop.
        """
        from mfc_dbus.bus.blocking import BlockingConnection

        with _connecting():
            timeout = _connecting_timeout(sock)
            connection = BlockingConnection.open(address, sock=sock, timeout=timeout)
        with contextlib.closing(connection):
            yield cls(connection, interactive=interactive)

    async def describe(self, *, group: str | None = None) -> "Report":
        """Return routes and memberships, all or those of a group prefix, with state and counters.

        What is too much for one message is asked for by parts.
        """
        from mfc_dbus.client.part import Part

        return await self._remote.describe(Part(group))

    async def routes(self) -> "list[RouteInfo]":
        return (await self.snapshot()).routes

    async def interfaces(self) -> "list[InterfaceInfo]":
        from mfc_dbus.client.info import InterfaceInfo, info

        return [info(InterfaceInfo, fields) for fields in await self._remote.get("Interfaces")]

    async def streams(
        self,
        *,
        group: str | None = None,
        source: str | None = None,
        iif: str | None = None,
        oif: str | None = None,
        table: int | None = None,
        learned: bool | None = None,
        silent: bool | None = None,
        comment: str | None = None,
        sort: str = "rate",
        limit: int = MAX_STREAMS,
        counters: bool = True,
    ) -> "tuple[list[StreamInfo], int]":
        """Return what the kernel forwards, at most 1,000 of it, and how much there is of it in all.

        group: or a prefix. source: what packets of this sender, or of a prefix, may use. iif, oif:
        or a pattern. learned: only streams of wider routes, or only what is no such. silent: only
        those with an oif by which nothing passes, or only the others. comment: a part of that of
        the route, in upper or lower case. sort: what comes first, "rate", "packets", "group" or
        "idle". Rates come from the second call on. counters: whether these are read too.
        """
        from mfc_dbus.client.info import StreamInfo, info

        chosen = strings(
            group=group, source=source, iif=iif, oif=oif, comment=comment, sort=sort
        ) | table_number(table)
        for name, value in (("learned", learned), ("silent", silent)):
            if value is not None:
                chosen[name] = Variant("b", value)
        chosen["limit"] = Variant("u", limit)
        if not counters:
            chosen["counters"] = Variant("b", False)
        streams, total = await self._remote.call("ListStreams", [chosen], timeout=LONG_TIMEOUT)
        return [info(StreamInfo, fields) for fields in streams], int(total)

    async def explain(
        self,
        group: str,
        *,
        source: str = ANY_SOURCE,
        iif: str | None = None,
        oif: str | None = None,
        table: int = 0,
        seconds: int | None = None,
    ) -> "list[FindingInfo]":
        """Return why a stream is forwarded or not, first what decides.

        iif, oif: only what arrives, or leaves, there. seconds: for which its packets are counted;
        0: not at all, and then nothing is returned where nothing is wrong to be seen.
        """
        from mfc_dbus.client.info import finding_info

        options = strings(iif=iif, oif=oif) | table_number(table or None)
        if seconds is not None:
            options["seconds"] = Variant("u", seconds)
        watched = DEFAULT_SECONDS if seconds is None else seconds
        found, *_ = await self._remote.call(
            "Explain", [source, group, options], timeout=TIMEOUT + watched
        )
        return [finding_info(fields) for fields in found]

    async def history(
        self, number: int | None = None, *, before: int | None = None, uid: int | None = None
    ) -> "tuple[list[PastChangeInfo], int]":
        """Return at most 100 changes, the last one first, and how many there are of these in all.

        number: of the only change to return, which has the documents of before and after then.
        before: only those with a smaller number. uid: only those of a user.
        """
        from mfc_dbus.client.info import PastChangeInfo, info

        chosen = numbers(number=number, before=before)
        if uid is not None:
            chosen["uid"] = Variant("u", uid)
        changes, total = await self._remote.call("ListChanges", [chosen])
        return [info(PastChangeInfo, fields) for fields in changes], int(total)

    async def tables(self) -> "list[TableInfo]":
        from mfc_dbus.client.info import TableInfo, info

        return [info(TableInfo, fields) for fields in await self._remote.get("Tables")]

    async def memberships(self) -> "list[MembershipInfo]":
        from mfc_dbus.client.info import MembershipInfo, info

        return [info(MembershipInfo, fields) for fields in await self._remote.get("Memberships")]

    async def ping(self, timeout: float) -> None:
        """Return when the service answers: at once, whatever else it does. timeout: seconds."""
        await self._remote.ping(timeout)

    async def statistics(self) -> "StatisticsInfo":
        """Return what the service has done since it started."""
        from mfc_dbus.client.info import StatisticsInfo, info

        (statistics,) = await self._remote.call("GetStatistics", [])
        return info(StatisticsInfo, statistics)

    async def permissions(self) -> "list[PermissionInfo]":
        """Return what the caller may do, of each action of polkit as a whole."""
        from mfc_dbus.client.info import PermissionInfo

        (permissions,) = await self._remote.call("GetPermissions", [])
        return [PermissionInfo(*each) for each in permissions.items()]

    async def check(self, member: str, arguments: Sequence[Any]) -> str:
        """Return whether the caller may make a call of the service now, which is not made.

        member, arguments: of the call, as the service's interface has them; options are a dict of
        `Variant` of mfc_dbus.bus.codec. Returns yes, auth (with a password) or no; raises what the
        call would be refused with for another reason.
        """
        method = members.METHODS[f"{INTERFACE}.{member}"]
        call = Variant(f"({method.arguments})", arguments)
        (permission,) = await self._remote.call("Check", [member, call])
        return str(permission)

    async def version(self) -> str:
        return str(await self._remote.get("Version"))

    async def generation(self) -> int:
        """Return how many signals of routes and memberships there were since it started."""
        return int(await self._remote.get("Generation"))

    async def unit(self) -> "UnitInfo | None":
        """Return systemd's view of the service; None where no systemd is on the bus."""
        from mfc_dbus.client.unit import read_unit

        return await read_unit(self._bus)

    async def changes(self) -> "AsyncGenerator[Event, None]":
        """Yield whether the service runs, then each change from there on, also over its restart.

        A change that was not seen, while the service was away or when the bus dropped signals for
        a slow reader, is found by comparing, and yielded like others. Raises ClientError when the
        bus has gone.
        """
        from mfc_dbus.client.info import ServiceEvent

        async with self.following() as (follower, signals):
            yield ServiceEvent(running=bool(follower.owner))
            while signal := await signals.get():
                for event in await follower.follow(signal):
                    yield event
        raise ClientError("Disconnected", "The bus has gone")

    @contextlib.asynccontextmanager
    async def following(
        self, *others: str
    ) -> "AsyncIterator[tuple[Follower, asyncio.Queue[Signal | None]]]":
        """Follow the service as `changes` does, for a program that needs what is known of it too.

        Yields a `Follower` that has read all, and the signals that it is to be given one by one;
        None comes when the bus has gone. others: signals that come in between, and that are none of
        its business.
        """
        from mfc_dbus.client.follower import CHANGES, Follower

        async with contextlib.AsyncExitStack() as stack:
            owner, signals = await self._remote.subscribe([*CHANGES, *others], stack)
            follower = Follower(self._remote, signals.qsize)
            await follower.start(owner)
            yield follower, signals

    async def unrouted(self) -> "AsyncGenerator[UnroutedEvent | ServiceEvent, None]":
        """Yield whether the service runs, then each stream that arrives and that no route covers.

        The service signals a stream at most once in 10 seconds, and under a flood not all streams.
        This goes on over its restart. Raises ClientError when the bus has gone.
        """
        from mfc_dbus.client.info import ServiceEvent, unrouted_event

        async with contextlib.AsyncExitStack() as stack:
            owner, signals = await self._remote.subscribe(["UnroutedTraffic"], stack)
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
        """Return the unique name of the running service, empty where it does not run."""
        return await self._remote.owner()

    async def bus_id(self) -> str:
        """Return what tells this run of the bus from others: unique names are unique within one."""
        return await self._remote.bus_id()

    async def snapshot(self) -> "Snapshot":
        """Return routes, memberships and their Generation: see `Remote.snapshot`."""
        return await self._remote.snapshot()


def _connecting_timeout(sock: "socket.socket | None") -> float:
    # At the far end of a socket somebody may have to type a password first.
    return TIMEOUT if sock is None else INTERACTIVE_TIMEOUT


@contextlib.contextmanager
def _connecting() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise ClientError("Timeout", "There was no answer from the bus") from error
    except (OSError, ValueError, BusError) as error:
        why = getattr(error, "strerror", None) or error
        raise ClientError("NoServer", f"Cannot connect to the bus: {why}") from error
