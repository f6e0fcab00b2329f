"""The methods of our own interface: a call is parsed and validated, and becomes a request."""

import asyncio
import dataclasses
import logging
import struct
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from mfc_dbus.bus.backend import Body, Variant
from mfc_dbus.bus.calls import Call
from mfc_dbus.bus.connection import Connection
from mfc_dbus.control.controller import Controller
from mfc_dbus.control.rights import BULK, Touched
from mfc_dbus.documents.document import from_json
from mfc_dbus.documents.problem_lines import of_entries
from mfc_dbus.loop import garbage
from mfc_dbus.model.addresses import format_source, parse_group_prefix, parse_stream
from mfc_dbus.model.errors import InvalidArgs, RequestError
from mfc_dbus.model.quoting import join, quote
from mfc_dbus.model.route import MembershipRange, parse_interface, parse_memberships, parse_route
from mfc_dbus.names import INTERFACE
from mfc_dbus.service.access import APPLY_MEMBERSHIPS, Access
from mfc_dbus.service.describe import OPTIONS as _DESCRIBE_OPTIONS
from mfc_dbus.service.describe import Readers, describe, parse_filter
from mfc_dbus.service.limits import OneByOne
from mfc_dbus.service.listed_streams import list_streams

log = logging.getLogger(__name__)

_ADD_OPTIONS = {
    "ttls": "a{sy}",
    "replace": "b",
    "persistent": "b",
    "wait": "b",
    "timeout": "u",
    "table": "u",
    "comment": "s",
    "hairpin": "b",
}
_DELETE_OPTIONS = {"iif": "s", "table": "u"}
_FLUSH_OPTIONS = {"iif": "s", "group": "s", "table": "u"}
_LEARNED_OPTIONS = {"iif": "s", "group": "s", "table": "u"}
_JOIN_OPTIONS = {"persistent": "b", "wait": "b", "comment": "s"}
_APPLY_OPTIONS = {"merge": "b", "dry-run": "b", "wait": "b", "empty": "b"}


class Request(NamedTuple):
    """A call that was parsed and validated.

    act: what does it, once it is authorised, and gives the body of the reply.
    details: what polkit is told, once for each thing that the caller must be allowed to touch.
    """

    act: Callable[[], Awaitable[Body]]
    details: Sequence[Mapping[str, str]] = ()


class Method(NamedTuple):
    """A method's signatures, and what parses and validates a call of it.

    late: the method reads its arguments when the caller is authorised, and they may be large.
    looks: the method looks at what is desired, which a long change that is half done would show
        half, and not only at what was told: so a call waits until the change is whole.
    """

    takes: str
    gives: str
    prepare: Callable[[Call], Request]
    late: bool = False
    looks: bool = False


def answer(read: Callable[[], Body], details: Sequence[Mapping[str, str]] = ()) -> Request:
    """Ask for something that needs no waiting."""

    async def act() -> Body:
        return read()

    return Request(act, details)


class Methods:
    """By their names on the bus: what they take and give, and what makes requests of calls."""

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
        self._reload = reload
        self._readers = Readers()
        self._listing = OneByOne()
        self.table = {
            f"{INTERFACE}.AddRoute": Method("sssasa{sv}", "", self._add_route, looks=True),
            f"{INTERFACE}.DeleteRoute": Method("ssa{sv}", "", self._delete_route, looks=True),
            f"{INTERFACE}.FlushRoutes": Method("a{sv}", "u", self._flush_routes),
            f"{INTERFACE}.JoinGroup": Method("sssa{sv}", "", self._join_group, looks=True),
            f"{INTERFACE}.LeaveGroup": Method("sssa{sv}", "", self._leave_group, looks=True),
            f"{INTERFACE}.Apply": Method("sa{sv}", "uuu", self._apply, late=True),
            f"{INTERFACE}.Describe": Method("a{sv}", "s", self._describe),
            f"{INTERFACE}.ListLearned": Method("a{sv}", "aa{sv}u", self._list_learned, looks=True),
            f"{INTERFACE}.Reload": Method("a{sv}", "", self._prepare_reload),
        }

    # Those that change something

    def _add_route(self, call: Call) -> Request:
        source, group, iif, oifs, options = call.body
        given = _options(options, _ADD_OPTIONS)
        comment, table = given.get("comment", ""), given.get("table", 0)
        hairpin = given.get("hairpin", False)
        route = dataclasses.replace(
            parse_route(
                source, group, iif, oifs, given.get("ttls"), comment, table, hairpin=hairpin
            ),
            persistent=given.get("persistent", "timeout" not in given),
        )
        timeout = _timeout(given)
        replace, wait = given.get("replace", False), given.get("wait", False)
        touched = self._controller.check_add(route, replace=replace, wait=wait)

        async def act() -> Body:
            expires = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + timeout if timeout else 0
            timed = dataclasses.replace(route, expires=expires)
            shown = None if await self._access.may_all(call.header) else touched
            await self._controller.add(timed, replace=replace, wait=wait, shown=shown)
            log.info(
                "%s added %s from %s to %s",
                call.header.sender,
                route,
                iif,
                " ".join(oifs) or "nowhere",
            )
            return ()

        return Request(act, touched.questions(route))

    def _delete_route(self, call: Call) -> Request:
        source, group, options = call.body
        given = _options(options, _DELETE_OPTIONS)
        iif = parse_interface(given["iif"], pattern=True) if "iif" in given else None
        asked = (*parse_stream(source, group), iif, given.get("table", 0))
        route = self._controller.check_delete(*asked)
        touched = Touched(route)

        async def act() -> Body:
            shown = None if await self._access.may_all(call.header) else touched
            await self._controller.delete(*asked, shown=shown)
            log.info("%s deleted %s from %s", call.header.sender, route, route.iif)
            return ()

        return Request(act, touched.questions(None))

    def _flush_routes(self, call: Call) -> Request:
        (options,) = call.body
        given = _options(options, _FLUSH_OPTIONS)
        iif = parse_interface(given["iif"], pattern=True) if "iif" in given else None
        group = parse_group_prefix(given["group"]) if "group" in given else None

        async def act() -> Body:
            with garbage.held_off():
                deleted = await self._controller.flush(group, iif, given.get("table"))
            log.info("%s flushed %d routes", call.header.sender, deleted)
            return [deleted]

        return Request(act, [BULK])

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
        found = self._controller.memberships.check_leave(range_)

        async def act() -> Body:
            shown = None if await self._access.may_all(call.header) else found
            await self._controller.leave(range_, shown)
            log.info("%s left %s", call.header.sender, range_)
            return ()

        return Request(act, [_range_details(range_)])

    def _apply(self, call: Call) -> Request:
        async def act() -> Body:
            # Megabytes are read for nobody who was not authorised.
            text, options = call.read()
            given = _options(options, _APPLY_OPTIONS)
            with garbage.held_off():
                document = await asyncio.to_thread(from_json, text)
            dry_run, merge = given.get("dry-run", False), given.get("merge", False)
            if document.empty and not (merge or given.get("empty", False)):
                # It is what remains of an export or a file that was not there.
                raise InvalidArgs(
                    "The document has no routes and no memberships, and would delete all there "
                    "are: with option 'empty' it does"
                )
            joining = self._controller.changes_memberships(document.memberships, merge=merge)
            if joining:
                await self._access.authorise(call.header, APPLY_MEMBERSHIPS, details)
            try:
                with garbage.held_off():
                    applied = await self._controller.apply(
                        document.routes,
                        document.memberships,
                        merge=merge,
                        wait=given.get("wait", False),
                        dry_run=dry_run,
                        joining=joining,
                    )
            except RequestError as error:
                raise type(error)(of_entries(str(error), document.places)) from None
            if not dry_run:
                log.info(
                    "%s added %d, changed %d, deleted %d routes and memberships",
                    call.header.sender,
                    *applied.counts,
                )
            return applied.counts

        details = [BULK]
        return Request(act, details)

    def _prepare_reload(self, call: Call) -> Request:
        (options,) = call.body
        _options(options, {})

        async def act() -> Body:
            with garbage.held_off():
                await self._reload()
            log.info("%s had the configuration read again", call.header.sender)
            return ()

        return Request(act, [{}])

    # Those that read

    def _describe(self, call: Call) -> Request:
        (options,) = call.body
        chosen = parse_filter(_options(options, _DESCRIBE_OPTIONS))

        async def act() -> Body:
            sender = call.header.sender
            async with self._readers.turn(sender, await self._access.known_uid(sender)):
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

        async def act() -> Body:
            async with self._listing.turn(await self._access.known_uid(call.header.sender)):
                return await list_streams(self._controller, group, iif, table)

        return Request(act)


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


def _range_details(range_: MembershipRange) -> dict[str, str]:
    return {
        "source": format_source(range_.sources),
        "group": str(range_.groups),
        "iif": range_.interface,
    }
