"""The service from the far side of the bus: its calls, properties and signals, as they come.

Whatever fails is a ClientError.
"""

import asyncio
import contextlib
import ipaddress
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from mfc_dbus.bus.backend import Variant
from mfc_dbus.bus.connection import Connection, Signal
from mfc_dbus.bus.errors import BusError, ConnectionLost
from mfc_dbus.bus.names import BUS, ERROR, PROPERTIES
from mfc_dbus.client.info import ClientError, RouteInfo, bad_reply, described_route, route_info
from mfc_dbus.names import BUS_NAME, INTERFACE, OBJECT_PATH

if TYPE_CHECKING:
    from mfc_dbus.documents.document import Report

TIMEOUT = 30.0
INTERACTIVE_TIMEOUT = 300.0  # somebody types a password meanwhile
LONG_TIMEOUT = 300.0  # 100,000 routes take a slow machine a minute

_NOT_RUNNING = f"The service {BUS_NAME} is not running: 'systemctl start mfc-dbus' starts it"
# What a call meets that comes when the service has gone, or that it goes under.
GONE = {
    "ServiceUnknown": _NOT_RUNNING,
    "NameHasNoOwner": _NOT_RUNNING,
    "NoReply": f"The service {BUS_NAME} has gone before it answered",
}
_SIGNATURES = {
    "Routes": "a(sssasa{sv})",
    "Interfaces": "aa{sv}",
    "Tables": "aa{sv}",
    "Memberships": "aa{sv}",
    "Version": "s",
    "Generation": "t",
}


class Remote:
    """The service, over a connection to the bus."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def call(
        self,
        member: str,
        signature: str,
        body: Sequence[Any],
        *,
        interface: str = INTERFACE,
        returns: str,
        interactive: bool = False,
        timeout: float = TIMEOUT,
    ) -> list[Any]:
        """Call a method of the service if it runs: a call would undo `systemctl stop` else.

        interactive: the user may be asked for a password.
        """
        timeout = max(timeout, INTERACTIVE_TIMEOUT if interactive else 0)
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
                activate=False,
                returns=returns,
            )

    async def get(self, name: str) -> Any:
        """Read a property."""
        body = [INTERFACE, name]
        (value,) = await self.call("Get", "ss", body, interface=PROPERTIES, returns="v")
        return _value(name, value)

    async def snapshot(self) -> tuple[list[RouteInfo], int]:
        """Get the routes and the Generation that they are of, in one message.

        If they are too many for that, some may be of a later one, and signals tell of them again.
        """
        body = [INTERFACE]
        (properties,) = await self.call("GetAll", "s", body, interface=PROPERTIES, returns="a{sv}")
        with bad_reply():
            generation = _value("Generation", properties["Generation"])
            if "Routes" in properties:
                fields = _value("Routes", properties["Routes"])
                return [route_info(each) for each in fields], generation
        return [described_route(each) for each in (await self.describe()).route], generation

    async def describe(self, *, group: str | None = None) -> "Report":
        """Get what is described of all, or of a group prefix.

        In one message; what is too much for one is asked for by halves of the groups.
        """
        from mfc_dbus.documents.document import Report

        try:
            return await self._describe(group)
        except ClientError as error:
            halves = _halves(group) if error.name == "LimitExceeded" else []
            if not halves:
                raise
        whole = Report()
        if group is not None:  # its own routes are in neither half
            whole = await self._describe(group, exact=Variant("b", True))
        for half in halves:
            part = await self.describe(group=half)
            whole.route += part.route
            whole.membership += part.membership
        return whole

    async def _describe(self, group: str | None, **options: Variant) -> "Report":
        from mfc_dbus.documents.document import read_report

        chosen = options if group is None else {"group": Variant("s", group), **options}
        (text,) = await self.call("Describe", "a{sv}", [chosen], returns="s", timeout=LONG_TIMEOUT)
        with bad_reply():
            return read_report(text)

    async def owner(self) -> str:
        """Get the unique name of the service that runs; empty where none does."""
        try:
            with _client_errors():
                (owner,) = await self._connection.call_bus("GetNameOwner", "s", [BUS_NAME])
        except ClientError as error:
            if error.name in GONE:
                return ""
            raise
        return str(owner)

    async def subscribe(
        self, members: Sequence[str], stack: contextlib.AsyncExitStack
    ) -> "asyncio.Queue[Signal | None]":
        """Queue these signals, that the service comes or goes, and None for the end of the bus.

        stack: until when.
        """
        signals: asyncio.Queue[Signal | None] = asyncio.Queue()

        def of_bus(signal: Signal) -> None:
            # The bus also tells each connection which names it acquired, unasked.
            if signal.sender == BUS and signal.member == "NameOwnerChanged":
                signals.put_nowait(signal)

        def of_service(member: str, signal: Signal) -> None:
            if signal.sender != BUS and signal.member == member:
                signals.put_nowait(signal)

        async def end() -> None:
            await self._connection.wait_closed()
            signals.put_nowait(None)

        stack.callback(asyncio.create_task(end()).cancel)
        ours = f"type='signal',sender='{BUS_NAME}',path='{OBJECT_PATH}'"
        rules: dict[str, Callable[[Signal], None]] = {
            f"type='signal',sender='{BUS}',member='NameOwnerChanged',arg0='{BUS_NAME}'": of_bus
        }
        for member in members:
            rules[f"{ours},member='{member}'"] = partial(of_service, member)
        for rule, handler in rules.items():
            stack.callback(self._connection.unsubscribe, rule, handler)
            with _client_errors():
                await self._connection.subscribe(rule, handler)
        return signals


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
def _client_errors(timeout: float = TIMEOUT) -> Iterator[None]:
    try:
        yield
    except BusError as error:
        name = error.name.removeprefix(f"{INTERFACE}.Error.").removeprefix(f"{ERROR}.")
        raise ClientError(name, GONE.get(name) or error.message or name) from error
    except ConnectionLost as error:
        raise ClientError("Disconnected", "The bus has gone") from error
    except TimeoutError as error:
        raise ClientError("Timeout", f"There was no answer in {timeout:.0f} seconds") from error
