"""The D-Bus object: a message becomes a call on the controller, a change becomes a signal.

Every call goes the same way: parse, validate, authorise, validate again, kernel,
store, signal, reply.
"""

import functools
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path
from typing import Protocol

from mfc_dbus.bus.backend import Body, Variant
from mfc_dbus.bus.calls import Call
from mfc_dbus.bus.connection import Connection
from mfc_dbus.bus.errors import BusError
from mfc_dbus.bus.frames import Header
from mfc_dbus.bus.names import (
    ERROR,
    INTROSPECTABLE,
    INVALID_ARGS,
    LIMITS_EXCEEDED,
    PEER,
    PROPERTIES,
    UNKNOWN_METHOD,
)
from mfc_dbus.control.controller import Controller
from mfc_dbus.control.status_changes import Change
from mfc_dbus.documents.document import MAX_BYTES
from mfc_dbus.loop.slices import in_slices
from mfc_dbus.model.addresses import format_address
from mfc_dbus.model.errors import RequestError
from mfc_dbus.model.quoting import quote
from mfc_dbus.names import INTERFACE, OBJECT_PATH
from mfc_dbus.service import logcontrol
from mfc_dbus.service.access import ROOT, SET_LOG, Access
from mfc_dbus.service.encoded_routes import ROUTES, signal_bodies
from mfc_dbus.service.limits import Waiting
from mfc_dbus.service.logcontrol import LogControl
from mfc_dbus.service.methods import Method, Methods, Request, answer
from mfc_dbus.service.properties import Properties
from mfc_dbus.streams.unrouted import Stream

log = logging.getLogger(__name__)

# Nearly twice what a route with 31 oifs takes. A stranger's worst 4 KiB take 30 ms to decode.
_MAX_BODY = 4 * 1024

# As many replies as the bus lets a caller wait for. A call takes some 10 KiB here.
_MAX_WAITING_OF_SENDER = 128
_MAX_WAITING_OF_USER = 256
_MAX_WAITING = 1024

_MACHINE_ID = Path("/etc/machine-id")
_DESCRIBED = {OBJECT_PATH: INTERFACE, logcontrol.OBJECT_PATH: logcontrol.INTERFACE}
_INTROSPECT = f"{INTROSPECTABLE}.Introspect"
# Documented it is more than twice as long, and anybody may ask for it.
_COMMENT = re.compile(r"\s*<!--.*?-->", re.DOTALL)
_SET = f"{PROPERTIES}.Set"


class _Object(Protocol):
    """Something with properties."""

    @property
    def interface(self) -> str: ...
    def get(self, name: str) -> Body: ...
    def get_all(self) -> Body: ...
    def prepare_set(self, name: str, value: Variant, /) -> Callable[[], Body]: ...


class MulticastForwarding:
    """The service; `refuse` and `handle` are how the connection reaches it."""

    def __init__(
        self,
        connection: Connection,
        access: Access,
        controller: Controller,
        reload: Callable[[], Awaitable[None]],
    ) -> None:
        """reload: reads the configuration again."""
        self._connection = connection
        self._access = access
        self._controller = controller
        self._waiting = Waiting("a long change")
        self._properties = Properties(connection, controller)
        self._objects: Mapping[str, _Object] = {
            OBJECT_PATH: self._properties,
            logcontrol.OBJECT_PATH: LogControl(),
        }
        controller.listen(self.changed, self.prepare)
        controller.memberships.listen(self.memberships_changed)
        controller.discover(self)
        ours = Methods(connection, access, controller, reload)
        self.methods = ours.table | {
            f"{PROPERTIES}.Get": Method("ss", "v", self._get),
            f"{PROPERTIES}.GetAll": Method("s", "a{sv}", self._get_all),
            _SET: Method("ssv", "", self._set),
            SET_LOG: Method("ssv", "", self._set),
            _INTROSPECT: Method("", "s", self._introspect),
            f"{PEER}.Ping": Method("", "", lambda _: answer(list)),
            f"{PEER}.GetMachineId": Method("", "s", lambda _: answer(_machine_id)),
        }

    # From a message to a method, and back

    def refuse(self, header: Header) -> BusError | None:
        """Find what is wrong with a call that its header shows."""
        name = self._method_name(header)
        method = self.methods.get(name)
        limit = MAX_BYTES if method is not None and method.late else _MAX_BODY
        if header.body_length > limit:
            return BusError(
                LIMITS_EXCEEDED,
                f"A call with {header.body_length} bytes of arguments is above {limit}",
            )
        at_any_path = name == _INTROSPECT or name.startswith(f"{PEER}.")
        if header.path not in self._objects and not at_any_path:
            return BusError(f"{ERROR}.UnknownObject", f"There is no object {quote(header.path)}")
        ours = header.path == OBJECT_PATH or not name.startswith(f"{INTERFACE}.")
        if method is None or not ours:
            return BusError(UNKNOWN_METHOD, f"There is no method {quote(name)}")
        if header.signature != method.takes:
            return BusError(
                INVALID_ARGS,
                f"{header.member} takes arguments of type '{method.takes}', "
                f"and not {quote(header.signature)}",
            )
        return None

    def reads_late(self, header: Header) -> bool:
        return self.methods[self._method_name(header)].late

    async def handle(self, call: Call) -> None:
        header = call.header
        name = self._method_name(header)
        method = self.methods[name]
        try:
            if method.looks:
                await self._settled(header.sender)
            request = method.prepare(call)  # parse, validate
            await self._access.authorise(header, name, request.details)
            body = await request.act()  # validate again, kernel, store, signal
            self._connection.reply(header, method.gives, body)
        except RequestError as error:
            self._connection.reply_error(header, error.bus_name, str(error))
        except BusError as error:
            self._connection.reply_error(header, error.name, error.message)
        except Exception:
            log.exception("%s failed", name)
            self._connection.reply_error(header, f"{ERROR}.Failed", "internal error")

    async def _settled(self, sender: str) -> None:
        """Wait until no long change is half done. Raises LimitExceeded."""
        if self._controller.settled:
            return
        limited = self._waiting.limited
        with limited("this caller", sender, _MAX_WAITING_OF_SENDER):
            uid = await self._access.known_uid(sender)
            with ExitStack() as stack:
                if uid != ROOT:
                    stack.enter_context(limited("this user", f"uid {uid}", _MAX_WAITING_OF_USER))
                    stack.enter_context(limited("all users", "all", _MAX_WAITING))
                await self._controller.settle()

    def changed(self, change: Change) -> None:
        """Tell everyone of a change of the routes."""
        kept = self._properties.routes
        self._tell("RoutesRemoved", [kept.remove(route) for route in change.removed])
        self._tell("RoutesChanged", [kept.put(route) for route in change.changed])
        self._tell("RoutesAdded", [kept.put(route) for route in change.added])
        self._properties.changed("Routes", "Interfaces", "Tables")

    async def prepare(self, change: Change) -> Callable[[], Awaitable[None]]:
        """Encode a change of many routes. What was made has them read as they are now in one step,
        and then tells everyone of it, as fast as the bus takes it.
        """
        routes = self._properties.routes.copy()
        signals: list[tuple[str, bytes]] = []
        for member, statuses, encode in (
            ("RoutesRemoved", change.removed, routes.remove),
            ("RoutesChanged", change.changed, routes.put),
            ("RoutesAdded", change.added, routes.put),
        ):
            encoded = [encode(status) async for status in in_slices(statuses)]
            signals += [(member, body) async for body in in_slices(signal_bodies(encoded))]

        async def tell() -> None:
            self._properties.routes = routes
            self._properties.changed("Routes", "Interfaces", "Tables")
            for member, body in signals:
                await self._connection.writable()  # answers to others go in between
                self._emit(member, body)

        return tell

    def memberships_changed(self) -> None:
        """Tell everyone that there are other memberships, or that one has another state."""
        self._properties.changed("Memberships")

    def tables_changed(self) -> None:
        """Tell everyone that a table was won."""
        self._properties.changed("Tables")

    def arrived(self, stream: Stream) -> None:
        """Tell everyone of a stream that no route covers."""
        body = [
            format_address(stream.source),
            format_address(stream.group),
            stream.iif,
            stream.table,
        ]
        self._connection.emit(OBJECT_PATH, INTERFACE, "UnroutedTraffic", "sssu", body)

    def watched(self) -> None:
        """Tell everyone that other interfaces have VIFs."""
        self._properties.changed("Interfaces", "Tables")

    def _tell(self, member: str, routes: list[bytes]) -> None:
        for body in signal_bodies(routes):
            self._emit(member, body)

    def _emit(self, member: str, body: bytes) -> None:
        self._properties.generation += 1
        self._connection.emit(OBJECT_PATH, INTERFACE, member, ROUTES, body)

    def _method_name(self, header: Header) -> str:
        name = f"{header.interface}.{header.member}"
        if not header.interface:
            # The specification lets callers leave it out.
            found = (each for each in self.methods if each.endswith(f".{header.member}"))
            name = next(found, header.member)
        if header.path == logcontrol.OBJECT_PATH and name == _SET:
            return SET_LOG
        return name

    # The methods of every object

    def _get(self, call: Call) -> Request:
        interface, name = call.body
        target = self._object(call, interface)
        return answer(lambda: target.get(name))

    def _get_all(self, call: Call) -> Request:
        (interface,) = call.body
        return answer(self._object(call, interface).get_all)

    def _set(self, call: Call) -> Request:
        interface, name, value = call.body
        write = self._object(call, interface).prepare_set(name, value)
        return answer(write, [{"property": name}])

    def _object(self, call: Call, interface: str) -> _Object:
        found = self._objects[call.header.path]
        if interface not in ("", found.interface):
            raise BusError(
                f"{ERROR}.UnknownInterface", f"There are no properties of {quote(interface)}"
            )
        return found

    def _introspect(self, call: Call) -> Request:
        xml = introspection(call.header.path)
        return answer(lambda: [xml])


def introspection(path: str) -> str:
    """Describe the object at a path, or the way to it."""
    if path in _DESCRIBED:
        return contract(_DESCRIBED[path])
    base = path.rstrip("/") + "/"
    below = (each.removeprefix(base) for each in _DESCRIBED if each.startswith(base))
    children = sorted({name.partition("/")[0] for name in below})
    return "<node>" + "".join(f'<node name="{name}"/>' for name in children) + "</node>"


@functools.cache
def contract(interface: str) -> str:
    """Describe one of our interfaces in XML. Its documentation is in the file that is installed."""
    documented = files("mfc_dbus").joinpath(f"{interface}.xml").read_text()
    return _COMMENT.sub("", documented)


def _machine_id() -> Body:
    try:
        return [_MACHINE_ID.read_text().strip()]
    except OSError:
        raise BusError(f"{ERROR}.FileNotFound", f"This system has no {_MACHINE_ID}") from None
