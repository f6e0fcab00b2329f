"""A client of the service, over a connection of its own."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, NamedTuple, Self

from lab.daemon import BUS_NAME
from mfc_dbus.bus.backend import Variant
from mfc_dbus.bus.connection import Connection, Signal
from mfc_dbus.bus.errors import BusError
from mfc_dbus.bus.frames import Header, MessageType
from mfc_dbus.bus.names import PROPERTIES

PATH = "/org/example/MulticastForwarding"
INTERFACE = BUS_NAME
OWN = f"{BUS_NAME}.Error"
STANDARD = "org.freedesktop.DBus.Error"
CHANGES_IN_FLIGHT = 50  # the service lets one caller wait with 64

_OPTIONS = {
    "ttls": "a{sy}",
    "replace": "b",
    "persistent": "b",
    "wait": "b",
    "timeout": "u",
    "comment": "s",
    "iif": "s",
    "group": "s",
    "exact": "b",
    "exact-source": "b",
    "source": "s",
    "state": "s",
    "merge": "b",
    "remove": "b",
    "dry-run": "b",
    "empty": "b",
    "table": "u",
    "hairpin": "b",
    "enabled": "b",
    "add-oifs": "as",
    "remove-oifs": "as",
    "to-iif": "s",
    "oif": "s",
    "learned": "b",
    "silent": "b",
    "counters": "b",
    "sort": "s",
    "limit": "u",
    "seconds": "u",
}
_TIMEOUT = 20.0


class Route(NamedTuple):
    """A route in AddRoute's own arguments."""

    source: str = "10.1.0.10"
    group: str = "239.1.2.3"
    iif: str = "eth1"
    oifs: Sequence[str] = ("eth2",)


class Membership(NamedTuple):
    """A membership in JoinGroup's own arguments."""

    group: str = "239.1.2.3"
    source: str = "*"
    interface: str = "eth1"


ROUTE = Route()
MEMBERSHIP = Membership()


class Caller(Connection):
    """Keeps the headers of all that arrives, in order, and the signals."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived: list[Header] = []
        self.signals: list[Signal] = []
        self._status_changes = asyncio.Event()

    @classmethod
    @contextlib.asynccontextmanager
    async def at(cls, address: str, uid: int = 0) -> AsyncIterator[Self]:
        """uid: whose connection the bus takes it for."""
        with acting_as(uid):
            caller = await cls.open(address)
        try:
            yield caller
        finally:
            await caller.close()

    async def ask(
        self,
        member: str,
        signature: str = "",
        body: Sequence[Any] = (),
        *,
        path: str = PATH,
        interface: str = INTERFACE,
        interactive: bool = False,
    ) -> list[Any]:
        """Call any method of the service."""
        return await self.call(
            BUS_NAME,
            path,
            interface,
            member,
            signature,
            body,
            timeout=_TIMEOUT,
            interactive=interactive,
        )

    async def add(self, route: Route = ROUTE, *, interactive: bool = False, **options: Any) -> None:
        body = [route.source, route.group, route.iif, list(route.oifs), _variants(options)]
        await self.ask("AddRoute", "sssasa{sv}", body, interactive=interactive)

    async def change(
        self, route: Route = ROUTE, *, interactive: bool = False, **changes: Any
    ) -> None:
        """Change a part of a route, of which source and group say which it is."""
        given = {name.replace("_", "-"): value for name, value in changes.items()}
        body = [route.source, route.group, _variants(given)]
        await self.ask("ChangeRoute", "ssa{sv}", body, interactive=interactive)

    async def delete(self, route: Route = ROUTE, **options: Any) -> None:
        await self.ask("DeleteRoute", "ssa{sv}", [route.source, route.group, _variants(options)])

    async def flush(self, **options: Any) -> int:
        (deleted,) = await self.ask("FlushRoutes", "a{sv}", [_variants(options)])
        return int(deleted)

    async def join(
        self, membership: Membership = MEMBERSHIP, *, interactive: bool = False, **options: Any
    ) -> None:
        body = [*membership, _variants(options)]
        await self.ask("JoinGroup", "sssa{sv}", body, interactive=interactive)

    async def leave(self, membership: Membership = MEMBERSHIP, **options: Any) -> None:
        await self.ask("LeaveGroup", "sssa{sv}", [*membership, _variants(options)])

    async def leave_all(self) -> None:
        for shown in await self.get("Memberships"):
            await self.leave(Membership(shown["group"], shown["source"], shown["interface"]))

    async def apply(self, document: Any, **options: Any) -> list[int]:
        """document: text, or what becomes one. What was added, changed and deleted."""
        text = document if isinstance(document, str) else json.dumps(document)
        given = {name.replace("_", "-"): value for name, value in options.items()}
        return await self.ask("Apply", "sa{sv}", [text, _variants(given)])

    async def describe(self, *, what: str = "route", **chosen: Any) -> list[dict[str, Any]]:
        """Describe the routes, or the memberships."""
        (text,) = await self.ask("Describe", "a{sv}", [_variants(chosen)])
        described: list[dict[str, Any]] = json.loads(text).get(what, [])
        return described

    async def streams(self, **options: Any) -> tuple[list[dict[str, Any]], int]:
        """What the kernel forwards, and how much there is of it."""
        streams, total = await self.ask("ListStreams", "a{sv}", [_variants(options)])
        return plain(streams), total

    async def learned(self, **options: Any) -> tuple[list[dict[str, Any]], int]:
        """The streams that were learned, and how many there are."""
        return await self.streams(learned=True, **options)

    async def permissions(self, *, interactive: bool = False) -> dict[str, str]:
        """The permission of each action, by the last word of its name."""
        (told,) = await self.ask("GetPermissions", interactive=interactive)
        return {action.rpartition(".")[2]: permission for action, permission in told.items()}

    async def check(
        self, member: str, signature: str, body: Sequence[Any], *, interactive: bool = False
    ) -> str:
        """The permission for a call."""
        arguments = [member, Variant(f"({signature})", list(body))]
        (permission,) = await self.ask("Check", "sv", arguments, interactive=interactive)
        return str(permission)

    async def explain(self, source: str, group: str, **options: Any) -> list[dict[str, Any]]:
        """What is found about a stream."""
        (found,) = await self.ask("Explain", "ssa{sv}", [source, group, _variants(options)])
        findings: list[dict[str, Any]] = plain(found)
        return findings

    async def reload(self, *, interactive: bool = False) -> None:
        await self.ask("Reload", "a{sv}", [{}], interactive=interactive)

    async def add_all(self, routes: Sequence[Route]) -> None:
        """Add many, some of them at once."""
        for start in range(0, len(routes), CHANGES_IN_FLIGHT):
            await asyncio.gather(*map(self.add, routes[start : start + CHANGES_IN_FLIGHT]))

    async def get(self, name: str) -> Any:
        """Read a property, with the variants in it as their values."""
        (value,) = await self.ask("Get", "ss", [INTERFACE, name], interface=PROPERTIES)
        return plain(value)

    async def ping(self) -> None:
        """Return when the service has taken in whatever this caller sent before."""
        await self.ask("Ping", interface="org.freedesktop.DBus.Peer")

    async def follow(self) -> None:
        """Keep the service's signals from now on."""
        await self.subscribe(f"type='signal',sender='{BUS_NAME}'", self._keep)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when the signals that came make a condition true."""
        async with asyncio.timeout(_TIMEOUT):
            while not condition():
                self._status_changes.clear()
                await self._status_changes.wait()

    def told(self, member: str) -> list[Any]:
        """The bodies of the signals of this name, with the variants in them as their values."""
        return [plain(signal.body) for signal in self.signals if signal.member == member]

    def _keep(self, signal: Signal) -> None:
        self.signals.append(signal)
        self._status_changes.set()

    def _admit(self, header: Header) -> bool:
        self.arrived.append(header)
        return header.type == MessageType.SIGNAL or super()._admit(header)


@contextlib.contextmanager
def acting_as(uid: int) -> Iterator[None]:
    """Let whoever looks at this process take it for another user's, for now."""
    before = os.geteuid()
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(before)


async def refused(call: Awaitable[Any], name: str, sentence: str = "") -> None:
    """Wait for a call that ends in this error, with a message that has this in it."""
    try:
        await call
    except BusError as error:
        if error.name != name or sentence not in error.message:
            raise
    else:
        raise AssertionError(f"the call succeeded; expected was {name}: {sentence}")


def plain(value: Any) -> Any:
    """A value without its variants."""
    if isinstance(value, Variant):
        return plain(value.value)
    if isinstance(value, list | tuple):  # dbus-fast makes tuples of structs
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def _variants(options: dict[str, Any]) -> dict[str, Variant]:
    return {name: Variant(_OPTIONS[name], value) for name, value in options.items()}
