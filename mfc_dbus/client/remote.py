"""The service as seen over the bus: its methods, properties and signals.

Every failure is raised as ClientError.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

from mfc_dbus.bus.codec import Variant, encode
from mfc_dbus.bus.errors import BusError, ConnectionLost
from mfc_dbus.bus.names import BUS, ERROR, PEER, PROPERTIES
from mfc_dbus.client.errors import ClientError, bad_reply
from mfc_dbus.client.part import ALL, Part, describe
from mfc_dbus.model import members
from mfc_dbus.names import BUS_NAME, INTERFACE, OBJECT_PATH

if TYPE_CHECKING:
    import asyncio

    from mfc_dbus.bus.connection import Connection, Signal
    from mfc_dbus.client.info import Snapshot
    from mfc_dbus.documents.entries import Report

TIMEOUT = 30.0
INTERACTIVE_TIMEOUT = 300.0  # somebody types a password meanwhile
LONG_TIMEOUT = 300.0  # 100,000 routes take a slow machine a minute

_NOT_RUNNING = f"The service {BUS_NAME} is not running: 'systemctl start mfc-dbus' starts it"
# Errors of a call that comes when the service has gone, or that it does not live to answer.
GONE = {
    "ServiceUnknown": _NOT_RUNNING,
    "NameHasNoOwner": _NOT_RUNNING,
    "NoReply": f"The service {BUS_NAME} has gone before it answered",
}


class Bus(Protocol):
    """A connection to the bus, with an event loop or without."""

    async def call(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: Sequence[Any] | bytes = (),
        *,
        timeout: float,
        interactive: bool = False,
        activate: bool = True,
        returns: str | None = None,
    ) -> list[Any]: ...
    async def call_bus(
        self, member: str, signature: str = "", body: Sequence[Any] = ()
    ) -> list[Any]: ...


class Remote:
    """The service, over a connection to the bus."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def call(
        self,
        member: str,
        body: Sequence[Any],
        *,
        interface: str = INTERFACE,
        interactive: bool = False,
        timeout: float = TIMEOUT,
    ) -> list[Any]:
        """Call a method of the service if it runs; starting it would undo `systemctl stop`.

        interactive: the user may be asked for a password.
        """
        method = members.METHODS[f"{interface}.{member}"]
        timeout = max(timeout, INTERACTIVE_TIMEOUT if interactive else 0)
        with client_errors(timeout):
            return await self._bus.call(
                BUS_NAME,
                OBJECT_PATH,
                interface,
                member,
                method.arguments,
                encode(method.arguments, body),
                timeout=timeout,
                interactive=interactive,
                activate=False,
                returns=method.returns,
            )

    async def ping(self, timeout: float) -> None:
        """Return when the service answers; it does so at once, whatever else it does."""
        with client_errors(timeout):
            await self._bus.call(
                BUS_NAME, OBJECT_PATH, PEER, "Ping", timeout=timeout, activate=False, returns=""
            )

    async def get(self, name: str) -> Any:
        """Read a property."""
        body = [INTERFACE, name]
        (value,) = await self.call("Get", body, interface=PROPERTIES)
        return _value(name, value)

    async def snapshot(self) -> "Snapshot":
        """Return the routes, the memberships and the Generation of that moment.

        Of more than one message has room for, some may be newer; the signals of that follow.
        """
        from mfc_dbus.client import info

        body = [INTERFACE]
        (properties,) = await self.call("GetAll", body, interface=PROPERTIES, timeout=LONG_TIMEOUT)
        with bad_reply():
            generation = _value("Generation", properties["Generation"])
            if "Routes" in properties and "Memberships" in properties:
                routes = map(info.route_info, _value("Routes", properties["Routes"]))
                memberships = [
                    info.info(info.MembershipInfo, fields)
                    for fields in _value("Memberships", properties["Memberships"])
                ]
                return info.Snapshot(list(routes), memberships, generation)
        report = await self.describe()
        return info.Snapshot(
            list(map(info.described_route, report.route)),
            list(map(info.described_membership, report.membership)),
            generation,
        )

    async def describe(self, whole: Part = ALL) -> "Report":
        """Return the answer of Describe. What is too much for one message is asked for by parts."""
        return await describe(self._describe, whole)

    async def _describe(self, part: Part) -> "Report":
        from mfc_dbus.documents.entries import read_report

        chosen = {
            name: Variant("s" if isinstance(value, str) else "b", value)
            for name, value in part.options().items()
        }
        (text,) = await self.call("Describe", [chosen], timeout=LONG_TIMEOUT)
        with bad_reply():
            return read_report(text)

    async def owner(self) -> str:
        """Return the unique name of the running service, empty where it does not run."""
        try:
            with client_errors():
                (owner,) = await self._bus.call_bus("GetNameOwner", "s", [BUS_NAME])
        except ClientError as error:
            if error.name in GONE:
                return ""
            raise
        return str(owner)

    async def bus_id(self) -> str:
        """Return what tells this run of the bus from others: unique names are unique within one."""
        with client_errors():
            (id_,) = await self._bus.call_bus("GetId")
        return str(id_)

    async def subscribe(
        self, members: Sequence[str], stack: contextlib.AsyncExitStack
    ) -> "tuple[str, asyncio.Queue[Signal | None]]":
        """Return `owner`, and a queue of these signals and of those when it comes or goes.

        When the bus has gone, None comes. stack: ends it. The connection must have an event loop.
        """
        import asyncio

        from mfc_dbus.bus.connection import Signal

        connection = cast("Connection", self._bus)
        signals: asyncio.Queue[Signal | None] = asyncio.Queue()

        told = False

        def of_bus(signal: Signal) -> None:
            nonlocal told
            # The bus also tells each connection which names it acquired, unasked.
            if signal.sender == BUS and signal.member == "NameOwnerChanged":
                name, _, owner = signal.body
                if name == BUS_NAME:
                    connection.heard, told = owner, True
                signals.put_nowait(signal)

        def of_service(member: str, signal: Signal) -> None:
            if signal.sender != BUS and signal.member == member:
                signals.put_nowait(signal)

        async def end() -> None:
            await connection.wait_closed()
            signals.put_nowait(None)

        stack.callback(asyncio.create_task(end()).cancel)
        ours = f"type='signal',sender='{BUS_NAME}',path='{OBJECT_PATH}'"
        rules: dict[str, Callable[[Signal], None]] = {
            f"type='signal',sender='{BUS}',member='NameOwnerChanged',arg0='{BUS_NAME}'": of_bus
        }
        for member in members:
            rules[f"{ours},member='{member}'"] = partial(of_service, member)
        for rule, handler in rules.items():
            stack.callback(connection.unsubscribe, rule, handler)
            with client_errors():
                await connection.subscribe(rule, handler)
        owner = await self.owner()
        if not told:  # else the bus has told of this owner, or of a later one
            connection.heard = owner
        return owner, signals


def _value(name: str, variant: Any) -> Any:
    if variant.signature != members.PROPERTIES[name].signature:
        raise ClientError("BadReply", f"Property {name} has type '{variant.signature}'")
    return variant.value


@contextlib.contextmanager
def client_errors(timeout: float = TIMEOUT) -> Iterator[None]:
    try:
        yield
    except BusError as error:
        name = error.name.removeprefix(f"{INTERFACE}.Error.").removeprefix(f"{ERROR}.")
        raise ClientError(name, GONE.get(name) or error.message or name) from error
    except ConnectionLost as error:
        raise ClientError("Disconnected", "The bus has gone") from error
    except TimeoutError as error:
        raise ClientError("Timeout", f"There was no answer in {timeout:.0f} seconds") from error
