"""The D-Bus object: a message becomes a call on the controller, a change becomes a signal.

Every call goes the same way: parse, validate, authorise, validate again, kernel, signal, reply.
"""

import functools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from mfc_dbus.access import Access
from mfc_dbus.bus.backend import Variant
from mfc_dbus.bus.connection import (
    ERROR,
    INTROSPECTABLE,
    INVALID_ARGS,
    LIMITS_EXCEEDED,
    PEER,
    PROPERTIES,
    UNKNOWN_METHOD,
    Body,
    BusError,
    Call,
    Connection,
)
from mfc_dbus.bus.frames import Header
from mfc_dbus.controller import Change, Controller
from mfc_dbus.errors import AccessDenied, InvalidArgs, RequestError
from mfc_dbus.model import (
    Route,
    format_address,
    format_source,
    join,
    parse_group_prefix,
    parse_interface,
    parse_route,
    parse_stream,
    quote,
)
from mfc_dbus.names import INTERFACE, OBJECT_PATH
from mfc_dbus.properties import Properties
from mfc_dbus.wire import ROUTES, signal_bodies

log = logging.getLogger(__name__)

# Nearly twice what a route with 31 oifs takes. A stranger's worst 4 KiB take 30 ms to decode.
_MAX_BODY = 4 * 1024

_MACHINE_ID = Path("/etc/machine-id")
_INTROSPECT = f"{INTROSPECTABLE}.Introspect"
_ADD_OPTIONS = {"ttls": "a{sy}", "replace": "b", "comment": "s"}
_DELETE_OPTIONS = {"iif": "s"}
_FLUSH_OPTIONS = {"iif": "s", "group": "s"}


class Request(NamedTuple):
    """A call that was parsed and validated.

    act: what does it, once it is authorised, and gives the body of the reply.
    details: what polkit is told, once for each thing that the caller must be allowed to touch.
    """

    act: Callable[[], Body]
    details: Sequence[Mapping[str, str]] = ()


class Method(NamedTuple):
    """A method's signatures, and what parses and validates a call of it."""

    takes: str
    gives: str
    prepare: Callable[[Call], Request]


class MulticastForwarding:
    """The service; `refuse` and `handle` are how the connection reaches it."""

    def __init__(self, connection: Connection, access: Access, controller: Controller) -> None:
        self._connection = connection
        self._access = access
        self._controller = controller
        self._properties = Properties(connection, controller)
        self.methods = {
            f"{INTERFACE}.AddRoute": Method("sssasa{sv}", "", self._add_route),
            f"{INTERFACE}.DeleteRoute": Method("ssa{sv}", "", self._delete_route),
            f"{INTERFACE}.FlushRoutes": Method("a{sv}", "u", self._flush_routes),
            f"{PROPERTIES}.Get": Method("ss", "v", self._get),
            f"{PROPERTIES}.GetAll": Method("s", "a{sv}", self._get_all),
            f"{PROPERTIES}.Set": Method("ssv", "", self._set),
            _INTROSPECT: Method("", "s", self._introspect),
            f"{PEER}.Ping": Method("", "", lambda _: Request(list)),
            f"{PEER}.GetMachineId": Method("", "s", lambda _: Request(_machine_id)),
        }

    # From a message to a method, and back

    def refuse(self, header: Header) -> BusError | None:
        """Find what is wrong with a call that its header shows."""
        if header.body_length > _MAX_BODY:
            return BusError(
                LIMITS_EXCEEDED,
                f"A call with {header.body_length} bytes of arguments is above {_MAX_BODY}",
            )
        name = self._method_name(header)
        at_any_path = name == _INTROSPECT or name.startswith(f"{PEER}.")
        if header.path != OBJECT_PATH and not at_any_path:
            return BusError(f"{ERROR}.UnknownObject", f"There is no object {quote(header.path)}")
        method = self.methods.get(name)
        if method is None:
            return BusError(UNKNOWN_METHOD, f"There is no method {quote(name)}")
        if header.signature != method.takes:
            return BusError(
                INVALID_ARGS,
                f"{header.member} takes arguments of type '{method.takes}', "
                f"and not {quote(header.signature)}",
            )
        return None

    async def handle(self, call: Call) -> None:
        header = call.header
        name = self._method_name(header)
        method = self.methods[name]
        try:
            request = method.prepare(call)  # parse, validate
            await self._access.authorise(header, name, request.details)
            body = request.act()  # validate again, kernel, signal
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

    def tables_changed(self) -> None:
        """Tell everyone that a table was won."""
        self._properties.changed("Tables")

    def _tell(self, member: str, routes: list[bytes]) -> None:
        for body in signal_bodies(routes):
            self._properties.generation += 1
            self._connection.emit(OBJECT_PATH, INTERFACE, member, ROUTES, body)

    def _method_name(self, header: Header) -> str:
        if header.interface:
            return f"{header.interface}.{header.member}"
        # The specification lets callers leave the interface out.
        return next(
            (name for name in self.methods if name.endswith(f".{header.member}")), header.member
        )

    # The methods that change something

    def _add_route(self, call: Call) -> Request:
        source, group, iif, oifs, options = call.body
        given = _options(options, _ADD_OPTIONS)
        route = parse_route(source, group, iif, oifs, given.get("ttls"), given.get("comment", ""))
        replace = given.get("replace", False)
        present = self._controller.check_add(route, replace=replace)
        # A stream that moves to another iif is taken from its old one, which takes a right too.
        touched = [route] if present is None or present.iif == route.iif else [route, present]

        def act() -> Body:
            _check_same(self._controller.find(route.key), touched)
            self._controller.add(route, replace=replace)
            log.info("%s added %s from %s to %s", call.header.sender, route, iif, " ".join(oifs))
            return ()

        return Request(act, [_details(each) for each in touched])

    def _delete_route(self, call: Call) -> Request:
        source, group, options = call.body
        given = _options(options, _DELETE_OPTIONS)
        iif = parse_interface(given["iif"]) if "iif" in given else None
        stream = parse_stream(source, group)
        route = self._controller.check_delete(*stream, iif)

        def act() -> Body:
            _check_same(self._controller.check_delete(*stream, iif), [route])
            self._controller.delete(*stream, iif)
            log.info("%s deleted %s from %s", call.header.sender, route, route.iif)
            return ()

        return Request(act, [_details(route)])

    def _flush_routes(self, call: Call) -> Request:
        (options,) = call.body
        given = _options(options, _FLUSH_OPTIONS)
        iif = parse_interface(given["iif"]) if "iif" in given else None
        group = parse_group_prefix(given["group"]) if "group" in given else None

        def act() -> Body:
            deleted = self._controller.flush(group, iif)
            log.info("%s flushed %d routes", call.header.sender, deleted)
            return [deleted]

        return Request(act, [{"bulk": "true"}])

    # The methods of every object

    def _get(self, call: Call) -> Request:
        interface, name = call.body
        self._check_interface(interface)
        return Request(lambda: self._properties.get(name))

    def _get_all(self, call: Call) -> Request:
        (interface,) = call.body
        self._check_interface(interface)
        return Request(self._properties.get_all)

    def _set(self, call: Call) -> Request:
        interface, name, _ = call.body
        self._check_interface(interface)
        raise self._properties.read_only(name)

    def _check_interface(self, interface: str) -> None:
        if interface not in ("", INTERFACE):
            raise BusError(
                f"{ERROR}.UnknownInterface", f"There are no properties of {quote(interface)}"
            )

    def _introspect(self, call: Call) -> Request:
        xml = introspection(call.header.path)
        return Request(lambda: [xml])


def introspection(path: str) -> str:
    """Describe the object at a path, or the way to it."""
    if path == OBJECT_PATH:
        return contract()
    base = path.rstrip("/") + "/"
    if OBJECT_PATH.startswith(base):
        child = OBJECT_PATH.removeprefix(base).partition("/")[0]
        return f'<node><node name="{child}"/></node>'
    return "<node/>"


@functools.cache
def contract() -> str:
    """The D-Bus interface with its documentation, in XML."""
    return files("mfc_dbus").joinpath(f"{INTERFACE}.xml").read_text()


def _machine_id() -> Body:
    try:
        return [_MACHINE_ID.read_text().strip()]
    except OSError:
        raise BusError(f"{ERROR}.FileNotFound", f"This system has no {_MACHINE_ID}") from None


def _options(options: Mapping[str, Variant], known: Mapping[str, str]) -> dict[str, Any]:
    for name, variant in options.items():
        if name not in known:
            raise InvalidArgs(f"There is no option {quote(name)}; there are {join(known)}")
        if variant.signature != known[name]:
            raise InvalidArgs(
                f"Option {quote(name)} has type '{variant.signature}', and not '{known[name]}'"
            )
    return {name: variant.value for name, variant in options.items()}


def _details(route: Route) -> dict[str, str]:
    return {
        "source": format_source(route.source),
        "group": format_address(route.group),
        "iif": route.iif,
        "oifs": " ".join(oif.name for oif in route.oifs),
    }


def _check_same(now: Route | None, authorised: Iterable[Route]) -> None:
    """What polkit said holds for the iifs that it was told of; a route may have moved since."""
    if now is not None and now.iif not in {route.iif for route in authorised}:
        raise AccessDenied(f"Route {now} was moved to {quote(now.iif)} meanwhile: try again")
