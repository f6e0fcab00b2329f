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
from mfc_dbus.control.membership_changes import MembershipChange
from mfc_dbus.control.rights import Question
from mfc_dbus.control.status_changes import Change
from mfc_dbus.documents.document import MAX_BYTES
from mfc_dbus.loop.events import Guard
from mfc_dbus.loop.slices import in_batches, in_slices
from mfc_dbus.model import members
from mfc_dbus.model.addresses import format_address
from mfc_dbus.model.cause import Cause
from mfc_dbus.model.errors import RequestError
from mfc_dbus.model.quoting import quote
from mfc_dbus.model.status import UnroutedStream
from mfc_dbus.names import INTERFACE, OBJECT_PATH
from mfc_dbus.service import logcontrol
from mfc_dbus.service.access import ROOT, Access
from mfc_dbus.service.causes import describe_cause
from mfc_dbus.service.encoded_routes import signal_bodies
from mfc_dbus.service.limits import Quota
from mfc_dbus.service.logcontrol import LogControl
from mfc_dbus.service.methods import Methods
from mfc_dbus.service.permissions import Permissions
from mfc_dbus.service.properties import Properties, describe_membership
from mfc_dbus.service.refusals import Refusals
from mfc_dbus.service.request import Prepare, Request, answer
from mfc_dbus.service.statistics import Statistics

log = logging.getLogger(__name__)

# Bytes: nearly twice as many as a route with 31 oifs. The worst 4 KiB take 30 ms to decode.
_MAX_BODY = 4 * 1024

# The bus lets a caller wait for as many replies. A call that waits here takes some 10 KiB.
_MAX_WAITING_OF_SENDER = 128
_MAX_WAITING_OF_USER = 256
_MAX_WAITING = 1024

_MACHINE_ID = Path("/etc/machine-id")
_DESCRIBED = {OBJECT_PATH: INTERFACE, logcontrol.OBJECT_PATH: logcontrol.INTERFACE}
_INTROSPECT = f"{INTROSPECTABLE}.Introspect"
# With its comments the answer would be twice as long, and anybody may ask for it.
_COMMENT = re.compile(r"\s*<!--.*?-->", re.DOTALL)
_SET = f"{PROPERTIES}.Set"


class _Object(Protocol):
    """An object at a path, with the properties of its interface."""

    @property
    def interface(self) -> str: ...
    def get(self, name: str) -> Body: ...
    def get_all(self) -> Body: ...
    def prepare_set(self, name: str, value: Variant, /) -> Callable[[], Body]: ...


class MulticastForwarding:
    """The object on the bus. The connection hands it calls, and the controller its changes."""

    def __init__(
        self,
        connection: Connection,
        access: Access,
        controller: Controller,
        reload: Callable[[Cause], Awaitable[None]],
    ) -> None:
        """reload: reads the configuration again."""
        self._connection = connection
        self._access = access
        self._controller = controller
        self._waiting = Quota("a long change")
        self._refusals = Refusals(access)
        self._statistics = Statistics()
        self._noting = Guard("the log of refused calls")
        self._properties = Properties(connection, controller.view)
        self._objects: Mapping[str, _Object] = {
            OBJECT_PATH: self._properties,
            logcontrol.OBJECT_PATH: LogControl(),
        }
        controller.status_changes.listener = self
        controller.membership_changes.listen(self.memberships_changed)
        controller.set_discoverer(self)
        methods = Methods(connection, access, controller, reload).prepare
        self.permissions = Permissions(
            access, methods, lambda: self._emit("PermissionsChanged", ())
        )
        ours = {
            **methods,
            **self.permissions.prepare,
            "GetStatistics": lambda _: answer(lambda: [self._statistics.read(controller.store)]),
        }
        self.prepare_call: Mapping[str, Prepare] = {
            **{f"{INTERFACE}.{name}": prepare for name, prepare in ours.items()},
            f"{PROPERTIES}.Get": self._get,
            f"{PROPERTIES}.GetAll": self._get_all,
            _SET: self._set,
            members.SET_LOG: self._set,
            _INTROSPECT: self._introspect,
            f"{PEER}.Ping": lambda _: answer(list),
            f"{PEER}.GetMachineId": lambda _: answer(_machine_id),
        }

    # From a message to a method, and back

    def refuse(self, header: Header) -> BusError | None:
        """Return the error that a call deserves by its header alone, None for a sound one."""
        name = self._method_name(header)
        method = members.METHODS.get(name)
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
        if header.signature != method.arguments:
            return BusError(
                INVALID_ARGS,
                f"{header.member} takes arguments of type '{method.arguments}', "
                f"and not {quote(header.signature)}",
            )
        return None

    def reads_late(self, header: Header) -> bool:
        name = self._method_name(header)
        return members.METHODS[name].late or name == members.CHECK

    async def handle(self, call: Call) -> None:
        """Answer a call, in the order that all calls have."""
        header = call.header
        name = self._method_name(header)
        method = members.METHODS[name]
        answered = self._statistics.begin(name)
        request = None
        try:
            if method.waits:
                await self._until_whole(header.sender)
            request = self.prepare_call[name](call)  # parse, validate
            if not method.by_part:
                await self._access.authorise(header, method.action, request.questions)
            body = await request.act()  # validate again, kernel, store, signal
            self._connection.reply(header, method.returns, body)
            answered(failed=False)
        except RequestError as error:
            self._connection.reply_error(header, error.bus_name, str(error))
            answered(failed=True)
            with self._noting:
                await self._refusals.note(header, name, error, request.questions if request else ())
        except BusError as error:
            self._connection.reply_error(header, error.name, error.message)
            answered(failed=True)
        except Exception:
            log.exception("%s failed", name)
            self._connection.reply_error(header, f"{ERROR}.Failed", "internal error")
            answered(failed=True)

    async def _until_whole(self, sender: str) -> None:
        """Wait until no long change is half done. Raises LimitExceeded."""
        if self._controller.is_whole:
            return
        with self._waiting.limited("this caller", sender, _MAX_WAITING_OF_SENDER):
            uid = await self._access.known_uid(sender)
            with ExitStack() as stack:
                if uid != ROOT:
                    of_user = self._waiting.of_user(uid, _MAX_WAITING_OF_USER, _MAX_WAITING)
                    stack.enter_context(of_user)
                await self._controller.until_whole()

    def changed(self, change: Change, cause: Cause) -> None:
        """Signal a change of few routes."""
        routes = self._properties.routes
        self._tell_cause(cause)
        for member, statuses, encode in (
            ("RoutesRemoved", change.removed, routes.remove),
            ("RoutesChanged", change.changed, routes.put),
            ("RoutesAdded", change.added, routes.put),
        ):
            if statuses:
                for body in signal_bodies([encode(status) for status in statuses]):
                    self._emit_counted(member, body)
        self._properties.changed("Routes", "Interfaces", "Tables")

    async def prepare(self, change: Change, cause: Cause) -> Callable[[], Awaitable[None]]:
        """Encode a change of many routes. Return what shows the change and signals it.

        That has `Routes` read as they are now in one step, and then sends the signals as fast as
        the bus takes them. Other callers are answered between two of them. Whoever reads routes
        then sees the whole change, and a Generation that counts the signals sent before the answer
        and none after it: the bus delivers both in the order in which they were sent. The reply to
        the change itself follows its last signal.
        """
        routes = self._properties.routes.copy()
        signals: list[tuple[str, Body]] = []
        for member, statuses, encode in (
            ("RoutesRemoved", change.removed, routes.remove),
            ("RoutesChanged", change.changed, routes.put),
            ("RoutesAdded", change.added, routes.put),
        ):
            encoded: list[bytes] = []
            async for batch in in_batches(statuses):
                encoded += map(encode, batch)
            signals += [(member, body) async for body in in_slices(signal_bodies(encoded))]

        async def tell() -> None:
            before, self._properties.routes = self._properties.routes, routes
            self._properties.changed("Routes", "Interfaces", "Tables")
            self._tell_cause(cause)
            for member, body in signals:
                await self._connection.writable()  # answers to others go in between
                self._emit_counted(member, body)
            await before.let_go()

        return tell

    async def read_anew(self) -> None:
        """Show all routes as they are, where a change of them was not shown."""
        await self._properties.read_anew()

    def memberships_changed(self, change: MembershipChange) -> None:
        """Signal that there are other memberships, or that one has another state."""
        self._tell_cause(change.cause)
        for member, statuses in (
            ("MembershipsRemoved", change.removed),
            ("MembershipsChanged", change.changed),
            ("MembershipsAdded", change.added),
        ):
            if statuses:
                self._emit_counted(member, [[describe_membership(status) for status in statuses]])
        self._properties.changed("Memberships")

    def _tell_cause(self, cause: Cause) -> None:
        """Signal who or what makes the change of which the next signals tell."""
        self._emit("ChangeCaused", describe_cause(cause))

    def tables_changed(self) -> None:
        """Signal that a table became ours, or is ours no longer."""
        self._properties.changed("Tables")

    def arrived(self, stream: UnroutedStream) -> None:
        """Signal that a stream arrives which no route covers."""
        body = [
            format_address(stream.source),
            format_address(stream.group),
            stream.iif,
            stream.table,
        ]
        self._emit("UnroutedTraffic", body)
        self._statistics.unrouted += 1

    def watched(self) -> None:
        """Signal that other interfaces have VIFs."""
        self._properties.changed("Interfaces", "Tables")

    def _emit_counted(self, member: str, body: Body) -> None:
        self._properties.generation += 1
        self._emit(member, body)

    def _emit(self, member: str, body: Body) -> None:
        signature = members.SIGNALS[f"{INTERFACE}.{member}"]
        self._connection.emit(OBJECT_PATH, INTERFACE, member, signature, body)

    def _method_name(self, header: Header) -> str:
        """Return the full name under which `model/members.py` has the method of a call."""
        name = f"{header.interface}.{header.member}"
        if not header.interface:
            # The specification lets callers leave it out.
            found = (each for each in members.METHODS if each.endswith(f".{header.member}"))
            name = next(found, header.member)
        if header.path == logcontrol.OBJECT_PATH and name == _SET:
            return members.SET_LOG
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
        question = Question({"property": name}, "set $(property) of the multicast routing service")
        return answer(write, [question])

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
    """Return the XML of the object at a path, or of the nodes that lead to one."""
    if path in _DESCRIBED:
        return contract(_DESCRIBED[path])
    base = path.rstrip("/") + "/"
    below = (each.removeprefix(base) for each in _DESCRIBED if each.startswith(base))
    children = sorted({name.partition("/")[0] for name in below})
    return "<node>" + "".join(f'<node name="{name}"/>' for name in children) + "</node>"


@functools.cache
def contract(interface: str) -> str:
    """Return the XML of one of our interfaces, without the comments of the installed file."""
    documented = files("mfc_dbus").joinpath(f"{interface}.xml").read_text()
    return _COMMENT.sub("", documented)


def _machine_id() -> Body:
    try:
        return [_MACHINE_ID.read_text().strip()]
    except OSError:
        raise BusError(f"{ERROR}.FileNotFound", f"This system has no {_MACHINE_ID}") from None
