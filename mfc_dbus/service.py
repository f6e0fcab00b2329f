"""The D-Bus object: a message becomes a call on the controller, a change becomes a signal.

Every call goes the same way: parse, validate, authorise, validate again, kernel,
store, signal, reply.
"""

import asyncio
import dataclasses
import functools
import logging
import struct
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from mfc_dbus import logcontrol
from mfc_dbus.access import APPLY_MEMBERSHIPS, SET_LOG, Access
from mfc_dbus.addresses import (
    format_address,
    format_source,
    parse_group_prefix,
    parse_stream,
)
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
from mfc_dbus.controller import Controller
from mfc_dbus.describe import OPTIONS as _DESCRIBE_OPTIONS
from mfc_dbus.describe import Readers, describe, parse_filter
from mfc_dbus.document import MAX_BYTES, from_json
from mfc_dbus.errors import InvalidArgs, RequestError
from mfc_dbus.logcontrol import LogControl
from mfc_dbus.model import (
    MembershipRange,
    Route,
    parse_interface,
    parse_memberships,
    parse_route,
)
from mfc_dbus.names import INTERFACE, OBJECT_PATH
from mfc_dbus.news import Change
from mfc_dbus.properties import Properties
from mfc_dbus.quoting import join, quote
from mfc_dbus.streams import list_streams
from mfc_dbus.unrouted import Stream
from mfc_dbus.wire import ROUTES, signal_bodies

log = logging.getLogger(__name__)

# Nearly twice what a route with 31 oifs takes. A stranger's worst 4 KiB take 30 ms to decode.
_MAX_BODY = 4 * 1024

_MACHINE_ID = Path("/etc/machine-id")
_DESCRIBED = {OBJECT_PATH: INTERFACE, logcontrol.OBJECT_PATH: logcontrol.INTERFACE}
_INTROSPECT = f"{INTROSPECTABLE}.Introspect"
_SET = f"{PROPERTIES}.Set"
_ADD_OPTIONS = {
    "ttls": "a{sy}",
    "replace": "b",
    "persistent": "b",
    "wait": "b",
    "timeout": "u",
    "table": "u",
    "comment": "s",
}
_DELETE_OPTIONS = {"iif": "s", "table": "u"}
_FLUSH_OPTIONS = {"iif": "s", "group": "s", "table": "u"}
_LEARNED_OPTIONS = {"iif": "s", "group": "s", "table": "u"}
_JOIN_OPTIONS = {"persistent": "b", "wait": "b", "comment": "s"}
_APPLY_OPTIONS = {"merge": "b", "dry-run": "b", "wait": "b"}


class Request(NamedTuple):
    """A call that was parsed and validated.

    act: what does it, once it is authorised, and gives the body of the reply.
    details: what polkit is told, once for each thing that the caller must be allowed to touch.
    """

    act: Callable[[], Awaitable[Body]]
    details: Sequence[Mapping[str, str]] = ()


class Method(NamedTuple):
    """A method's signatures, and what parses and validates a call of it.

    late: it reads its arguments when the caller is authorised, and they may be large.
    """

    takes: str
    gives: str
    prepare: Callable[[Call], Request]
    late: bool = False


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
        self._reload = reload
        self._connection = connection
        self._access = access
        self._controller = controller
        self._properties = Properties(connection, controller)
        self._readers = Readers()
        self._objects: Mapping[str, _Object] = {
            OBJECT_PATH: self._properties,
            logcontrol.OBJECT_PATH: LogControl(),
        }
        controller.listen(self.changed)
        controller.memberships.listen(self.memberships_changed)
        controller.discover(self)
        self.methods = {
            f"{INTERFACE}.AddRoute": Method("sssasa{sv}", "", self._add_route),
            f"{INTERFACE}.DeleteRoute": Method("ssa{sv}", "", self._delete_route),
            f"{INTERFACE}.FlushRoutes": Method("a{sv}", "u", self._flush_routes),
            f"{INTERFACE}.JoinGroup": Method("sssa{sv}", "", self._join_group),
            f"{INTERFACE}.LeaveGroup": Method("sssa{sv}", "", self._leave_group),
            f"{INTERFACE}.Apply": Method("sa{sv}", "uuu", self._apply, late=True),
            f"{INTERFACE}.Describe": Method("a{sv}", "s", self._describe),
            f"{INTERFACE}.ListLearned": Method("a{sv}", "aa{sv}u", self._list_learned),
            f"{INTERFACE}.Reload": Method("a{sv}", "", self._prepare_reload),
            f"{PROPERTIES}.Get": Method("ss", "v", self._get),
            f"{PROPERTIES}.GetAll": Method("s", "a{sv}", self._get_all),
            _SET: Method("ssv", "", self._set),
            SET_LOG: Method("ssv", "", self._set),
            _INTROSPECT: Method("", "s", self._introspect),
            f"{PEER}.Ping": Method("", "", lambda _: _answer(list)),
            f"{PEER}.GetMachineId": Method("", "s", lambda _: _answer(_machine_id)),
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

    def changed(self, change: Change) -> None:
        """Tell everyone of a change of the routes."""
        kept = self._properties.routes
        self._tell("RoutesRemoved", [kept.remove(route) for route in change.removed])
        self._tell("RoutesChanged", [kept.put(route) for route in change.changed])
        self._tell("RoutesAdded", [kept.put(route) for route in change.added])
        self._properties.changed("Routes", "Interfaces", "Tables")

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

    # The methods that change something

    def _add_route(self, call: Call) -> Request:
        source, group, iif, oifs, options = call.body
        given = _options(options, _ADD_OPTIONS)
        comment, table = given.get("comment", ""), given.get("table", 0)
        route = dataclasses.replace(
            parse_route(source, group, iif, oifs, given.get("ttls"), comment, table),
            persistent=given.get("persistent", "timeout" not in given),
        )
        timeout = _timeout(given)
        replace, wait = given.get("replace", False), given.get("wait", False)
        present = self._controller.check_add(route, replace=replace, wait=wait)
        # A stream that moves to another iif is taken from its old one, which takes a right too.
        touched = [route] if present is None or present.iif == route.iif else [route, present]
        iifs = {each.iif for each in touched}

        async def act() -> Body:
            expires = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + timeout if timeout else 0
            timed = dataclasses.replace(route, expires=expires)
            await self._controller.add(timed, replace=replace, wait=wait, touching=iifs)
            log.info(
                "%s added %s from %s to %s",
                call.header.sender,
                route,
                iif,
                " ".join(oifs) or "nowhere",
            )
            return ()

        return Request(act, [_details(each) for each in touched])

    def _delete_route(self, call: Call) -> Request:
        source, group, options = call.body
        given = _options(options, _DELETE_OPTIONS)
        iif = parse_interface(given["iif"], pattern=True) if "iif" in given else None
        asked = (*parse_stream(source, group), iif, given.get("table", 0))
        route = self._controller.check_delete(*asked)

        async def act() -> Body:
            await self._controller.delete(*asked, touching={route.iif})
            log.info("%s deleted %s from %s", call.header.sender, route, route.iif)
            return ()

        return Request(act, [_details(route)])

    def _flush_routes(self, call: Call) -> Request:
        (options,) = call.body
        given = _options(options, _FLUSH_OPTIONS)
        iif = parse_interface(given["iif"], pattern=True) if "iif" in given else None
        group = parse_group_prefix(given["group"]) if "group" in given else None

        async def act() -> Body:
            deleted = await self._controller.flush(group, iif, given.get("table"))
            log.info("%s flushed %d routes", call.header.sender, deleted)
            return [deleted]

        return Request(act, [{"bulk": "true"}])

    def _join_group(self, call: Call) -> Request:
        group, source, interface, options = call.body
        given = _options(options, _JOIN_OPTIONS)
        comment, wait = given.get("comment", ""), given.get("wait", False)
        range_ = parse_memberships(group, source, interface, comment)
        wanted = range_.memberships(comment, persistent=given.get("persistent", True))
        self._controller.check_join(wanted, wait=wait)

        async def act() -> Body:
            await self._controller.join(wanted, wait=wait)
            log.info("%s joined %s", call.header.sender, range_)
            return ()

        return Request(act, [_range_details(range_)])

    def _leave_group(self, call: Call) -> Request:
        group, source, interface, options = call.body
        _options(options, {})
        range_ = parse_memberships(group, source, interface)
        self._controller.memberships.check_leave(range_)

        async def act() -> Body:
            await self._controller.leave(range_)
            log.info("%s left %s", call.header.sender, range_)
            return ()

        return Request(act, [_range_details(range_)])

    def _apply(self, call: Call) -> Request:
        async def act() -> Body:
            # Megabytes are read for nobody who was not authorised.
            text, options = call.read()
            given = _options(options, _APPLY_OPTIONS)
            document = await asyncio.to_thread(from_json, text)
            dry_run, merge = given.get("dry-run", False), given.get("merge", False)
            joining = self._controller.changes_memberships(document.memberships, merge=merge)
            if joining:
                await self._access.authorise(call.header, APPLY_MEMBERSHIPS, details)
            applied = await self._controller.apply(
                document.routes,
                document.memberships,
                merge=merge,
                wait=given.get("wait", False),
                dry_run=dry_run,
                joining=joining,
            )
            if not dry_run:
                log.info(
                    "%s added %d, changed %d, deleted %d routes and memberships",
                    call.header.sender,
                    *applied.counts,
                )
            return applied.counts

        details = [{"bulk": "true"}]
        return Request(act, details)

    def _prepare_reload(self, call: Call) -> Request:
        (options,) = call.body
        _options(options, {})

        async def act() -> Body:
            await self._reload()
            log.info("%s had the configuration read again", call.header.sender)
            return ()

        return Request(act, [{}])

    # The methods that read

    def _describe(self, call: Call) -> Request:
        (options,) = call.body
        chosen = parse_filter(_options(options, _DESCRIBE_OPTIONS))

        async def act() -> Body:
            async with self._readers.turn(call.header.sender):
                await self._connection.writable()
                text = await describe(self._controller, chosen)
            return struct.pack("<I", len(text)) + text + b"\0"

        return Request(act)

    def _list_learned(self, call: Call) -> Request:
        (options,) = call.body
        given = _options(options, _LEARNED_OPTIONS)
        iif = parse_interface(given["iif"]) if "iif" in given else None
        group = parse_group_prefix(given["group"]) if "group" in given else None
        table = given.get("table")
        return _answer(lambda: list_streams(self._controller, group, iif, table))

    # The methods of every object

    def _get(self, call: Call) -> Request:
        interface, name = call.body
        target = self._object(call, interface)
        return _answer(lambda: target.get(name))

    def _get_all(self, call: Call) -> Request:
        (interface,) = call.body
        return _answer(self._object(call, interface).get_all)

    def _set(self, call: Call) -> Request:
        interface, name, value = call.body
        write = self._object(call, interface).prepare_set(name, value)
        return _answer(write, [{"property": name}])

    def _object(self, call: Call, interface: str) -> _Object:
        found = self._objects[call.header.path]
        if interface not in ("", found.interface):
            raise BusError(
                f"{ERROR}.UnknownInterface", f"There are no properties of {quote(interface)}"
            )
        return found

    def _introspect(self, call: Call) -> Request:
        xml = introspection(call.header.path)
        return _answer(lambda: [xml])


def introspection(path: str) -> str:
    """Describe the object at a path, or the way to it."""
    if path in _DESCRIBED:
        return contract(_DESCRIBED[path])
    base = path.rstrip("/") + "/"
    below = (each.removeprefix(base) for each in _DESCRIBED if each.startswith(base))
    children = sorted({name.partition("/")[0] for name in below})
    return "<node>" + "".join(f'<node name="{name}"/>' for name in children) + "</node>"


def _answer(read: Callable[[], Body], details: Sequence[Mapping[str, str]] = ()) -> Request:
    """Ask for something that needs no waiting."""

    async def act() -> Body:
        return read()

    return Request(act, details)


@functools.cache
def contract(interface: str) -> str:
    """Describe one of our interfaces with its documentation, in XML."""
    return files("mfc_dbus").joinpath(f"{interface}.xml").read_text()


def _machine_id() -> Body:
    try:
        return [_MACHINE_ID.read_text().strip()]
    except OSError:
        raise BusError(f"{ERROR}.FileNotFound", f"This system has no {_MACHINE_ID}") from None


def _options(options: Mapping[str, Variant], known: Mapping[str, str]) -> dict[str, Any]:
    for name, variant in options.items():
        if name not in known:
            others = f"; there are {join(known)}" if known else ""
            raise InvalidArgs(f"There is no option {quote(name)}{others}")
        if variant.signature != known[name]:
            raise InvalidArgs(
                f"Option {quote(name)} has type '{variant.signature}', and not '{known[name]}'"
            )
    return {name: variant.value for name, variant in options.items()}


def _timeout(options: Mapping[str, Any]) -> int:
    """How long the route is to live, in nanoseconds; 0 is for ever."""
    if "timeout" not in options:
        return 0
    if options.get("persistent"):
        raise InvalidArgs("A route with a timeout is never persistent")
    if options["timeout"] == 0:
        raise InvalidArgs("A timeout of 0 seconds leaves no time")
    return int(options["timeout"]) * 1_000_000_000


def _details(route: Route) -> dict[str, str]:
    return {
        "source": format_source(route.source),
        "group": str(route.group),
        "iif": route.iif,
        "oifs": " ".join(oif.name for oif in route.oifs),
        "table": str(route.table),
    }


def _range_details(range_: MembershipRange) -> dict[str, str]:
    return {
        "source": format_source(range_.sources),
        "group": str(range_.groups),
        "iif": range_.interface,
    }
