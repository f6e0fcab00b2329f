"""The methods of our own interface, those that change something: a call is parsed and validated,
and becomes a request.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from msgspec import structs

from mfc_dbus.bus.backend import Body
from mfc_dbus.bus.calls import Call
from mfc_dbus.bus.connection import Connection
from mfc_dbus.control.change_log import write
from mfc_dbus.control.controller import Controller
from mfc_dbus.control.rights import BULK, MANY_MEMBERSHIPS, Question, Touched, ask_for_membership
from mfc_dbus.control.undoing import UndoQuestions
from mfc_dbus.documents.document import Document, from_json
from mfc_dbus.documents.problem_lines import of_entries
from mfc_dbus.loop import garbage
from mfc_dbus.loop.slices import let_go
from mfc_dbus.loop.worker import aside
from mfc_dbus.model import journal
from mfc_dbus.model.addresses import format_source, parse_group_prefix, parse_stream
from mfc_dbus.model.boot_clock import since_boot
from mfc_dbus.model.cause import Act, Cause, CauseKind, asked
from mfc_dbus.model.errors import InvalidArgs, RequestError
from mfc_dbus.model.interfaces import parse_interface
from mfc_dbus.model.journal import Record
from mfc_dbus.model.members import Action
from mfc_dbus.model.membership import MembershipRange, parse_memberships
from mfc_dbus.model.options import (
    ADD_ROUTE,
    CHANGE_ROUTE,
    JOIN_GROUP,
    MEMBERSHIP,
    ROUTE,
    choose,
    signatures,
)
from mfc_dbus.model.quoting import join
from mfc_dbus.model.route import Route, RouteName, parse_route
from mfc_dbus.model.route_change import change_route, expiry
from mfc_dbus.service.access import Access
from mfc_dbus.service.queries import Queries
from mfc_dbus.service.request import Prepare, Request, read_options

_ADD_OPTIONS = signatures(ADD_ROUTE)
_DELETE_OPTIONS = {"iif": "s", "table": "u"}
_CHANGE_OPTIONS = {**_DELETE_OPTIONS, **signatures(CHANGE_ROUTE)}
_FLUSH_OPTIONS = {"iif": "s", "group": "s", "table": "u"}
_UNDO_OPTIONS = {"number": "t"}
_JOIN_OPTIONS = signatures(JOIN_GROUP)
_APPLY_OPTIONS = dict.fromkeys(("merge", "remove", "persistent", "dry-run", "wait", "empty"), "b")

_RELOAD = Question({}, "have the multicast routing service read its configuration again")


class Methods:
    """The behaviour of our own methods: by its name, what makes a request of a call."""

    def __init__(
        self,
        connection: Connection,
        access: Access,
        controller: Controller,
        reload: Callable[[Cause], Awaitable[None]],
    ) -> None:
        """reload: reads the configuration again, and has the controller go by it."""
        self._access = access
        self._controller = controller
        self._reload = reload
        self.prepare: Mapping[str, Prepare] = {
            "AddRoute": self._add_route,
            "ChangeRoute": self._change_route,
            "DeleteRoute": self._delete_route,
            "FlushRoutes": self._flush_routes,
            "JoinGroup": self._join_group,
            "LeaveGroup": self._leave_group,
            "Apply": self._apply,
            "Undo": self._undo,
            "Reload": self._prepare_reload,
            **Queries(connection, access, controller).prepare,
        }

    def _add_route(self, call: Call) -> Request:
        source, group, iif, oifs, options = call.body
        given = read_options(options, _ADD_OPTIONS)
        said = {"persistent": "timeout" not in given} | choose(given, ROUTE)
        route = parse_route(source, group, iif, oifs, **said)
        if given.get("timeout") == 0:
            raise InvalidArgs("A timeout of 0 seconds leaves no time")
        is_timed = expiry(given, since_boot()) != 0
        replace, wait = given.get("replace", False), given.get("wait", False)
        touched = Touched(None)
        # Of root nothing is asked, and the change finds whatever forbids it.
        if call.only_asks or not self._access.is_known_root(call.header.sender):
            touched = self._controller.check_add(route, replace=replace, wait=wait)

        async def act() -> Body:
            timed = route
            if is_timed:
                timed = structs.replace(route, expires=expiry(given, since_boot()))
            shown = None if await self._access.may_all(call.header) else touched
            cause = await self._cause(call, Act.ADD)
            await self._controller.add(timed, replace=replace, wait=wait, shown=shown, cause=cause)
            return ()

        return Request(act, touched.questions(route))

    def _change_route(self, call: Call) -> Request:
        source, group, options = call.body
        given = read_options(options, _CHANGE_OPTIONS)
        name = _name(source, group, given)
        wait = given.get("wait", False)
        changeable = [name for name in _CHANGE_OPTIONS if name not in (*_DELETE_OPTIONS, "wait")]
        if not given.keys() & {*changeable}:
            raise InvalidArgs(f"There is nothing to change; there are {join(changeable)}")

        def edit(route: Route) -> Route:
            return change_route(route, given, since_boot())

        new, touched = self._controller.check_change(name, edit, wait=wait)

        async def act() -> Body:
            shown = None if await self._access.may_all(call.header) else touched
            cause = await self._cause(call, Act.CHANGE)
            await self._controller.change(
                name, edit, wait=wait, interfaces=new.interfaces, shown=shown, cause=cause
            )
            return ()

        return Request(act, touched.questions(new))

    def _delete_route(self, call: Call) -> Request:
        source, group, options = call.body
        name = _name(source, group, read_options(options, _DELETE_OPTIONS))
        route = self._controller.check_delete(name)
        touched = Touched(route)

        async def act() -> Body:
            shown = None if await self._access.may_all(call.header) else touched
            cause = await self._cause(call, Act.DELETE)
            await self._controller.delete(name, shown=shown, cause=cause)
            return ()

        return Request(act, touched.questions(None))

    def _flush_routes(self, call: Call) -> Request:
        (options,) = call.body
        given = read_options(options, _FLUSH_OPTIONS)
        iif = parse_interface(given["iif"], pattern=True) if "iif" in given else None
        group = parse_group_prefix(given["group"]) if "group" in given else None

        async def act() -> Body:
            cause = await self._cause(call, Act.FLUSH)
            with garbage.held_off():
                deleted = await self._controller.flush(group, iif, given.get("table"), cause)
            if deleted:
                text = f"flushed {deleted} route{'' if deleted == 1 else 's'}"
                write(journal.summary(cause, text, deleted=deleted))
            return [deleted]

        return Request(act, [BULK])

    def _join_group(self, call: Call) -> Request:
        group, source, interface, options = call.body
        given = read_options(options, _JOIN_OPTIONS)
        wait = given.get("wait", False)
        range_ = parse_memberships(group, source, interface)
        wanted = range_.memberships(**choose(given, MEMBERSHIP))
        self._controller.joining.check_join(wanted, wait=wait)

        async def act() -> Body:
            cause = await self._cause(call, Act.JOIN)
            await self._controller.joining.join(wanted, wait=wait, cause=cause)
            return ()

        return Request(act, [_range_question("join", range_)])

    def _leave_group(self, call: Call) -> Request:
        group, source, interface, options = call.body
        read_options(options, {})
        range_ = parse_memberships(group, source, interface)
        found = self._controller.memberships.check_leave(range_)

        async def act() -> Body:
            shown = None if await self._access.may_all(call.header) else found
            await self._controller.joining.leave(range_, shown, await self._cause(call, Act.LEAVE))
            return ()

        return Request(act, [_range_question("leave", range_)])

    def _apply(self, call: Call) -> Request:
        async def more() -> Mapping[Action, Sequence[Question]]:
            document, given = await _read_document(call)
            joining = self._changes_memberships(document, given)
            await let_go(document.routes)
            return {Action.MANAGE_MEMBERSHIPS: [MANY_MEMBERSHIPS]} if joining else {}

        async def act() -> Body:
            # Megabytes are read for nobody who was not authorised.
            document, given = await _read_document(call)
            joining = self._changes_memberships(document, given)
            if joining:
                await self._access.authorise(
                    call.header, Action.MANAGE_MEMBERSHIPS, [MANY_MEMBERSHIPS]
                )
            cause = await self._cause(call, Act.APPLY)
            try:
                with garbage.held_off():
                    counts = await self._change_by(document, given, joining=joining, cause=cause)
            except RequestError as error:
                await let_go(document.routes)
                raise type(error)(of_entries(str(error), document.places)) from None
            if any(counts) and not given.get("dry-run", False):
                write(_applied(cause, *counts))
            return counts

        return Request(act, [BULK], more)

    def _changes_memberships(self, document: Document, options: Mapping[str, Any]) -> bool:
        """Return whether to apply a document takes the right to memberships too."""
        return self._controller.documents.changes_memberships(
            document.memberships,
            merge=options.get("merge", False),
            remove=options.get("remove", False),
            persistent=options.get("persistent", True),
        )

    async def _change_by(
        self, document: Document, options: Mapping[str, Any], *, joining: bool, cause: Cause
    ) -> Sequence[int]:
        """Have what a document says, or take it away; return how many were changed, as `apply`."""
        documents = self._controller.documents
        said: dict[str, Any] = {
            "dry_run": options.get("dry-run", False),
            "persistent": options.get("persistent", True),
            "joining": joining,
            "cause": cause,
        }
        if options.get("remove", False):
            return await documents.remove(document.routes, document.memberships, **said)
        said |= {name: options.get(name, False) for name in ("merge", "wait")}
        return await documents.apply(document.routes, document.memberships, **said)

    def _undo(self, call: Call) -> Request:
        (options,) = call.body
        number = read_options(options, _UNDO_OPTIONS).get("number")
        header = call.header

        async def more() -> Mapping[Action, Sequence[Question]]:
            past = self._controller.history.find(number, await self._access.uid(header.sender))
            return _undo_questions(await self._controller.undoing.ask(past))

        async def act() -> Body:
            author = await self._access.author(header.sender)
            past = self._controller.history.find(number, author.uid)
            asked_for = await self._controller.undoing.ask(past)
            for action, questions in _undo_questions(asked_for).items():
                await self._access.authorise(header, action, questions)
            shown = None if await self._access.may_all(header) else asked_for
            cause = Cause(CauseKind.CALL, Act.UNDO, author, past.number)
            await self._controller.undoing.undo(past, cause, shown)
            return [past.number]

        return Request(act, more=more)

    def _prepare_reload(self, call: Call) -> Request:
        (options,) = call.body
        read_options(options, {})

        async def act() -> Body:
            author = await self._access.author(call.header.sender)
            cause = Cause(CauseKind.RELOAD, Act.RELOAD, author)
            with garbage.held_off():
                await self._reload(cause)
            write(journal.summary(asked(Act.RELOAD, author), "had the configuration read again"))
            return ()

        return Request(act, [_RELOAD])

    async def _cause(self, call: Call, act: Act) -> Cause:
        """Name the cause of what a call changes. Raises AccessDenied where the bus does not know
        the caller.
        """
        return asked(act, await self._access.author(call.header.sender))


async def _read_document(call: Call) -> tuple[Document, dict[str, Any]]:
    """Read the arguments of Apply. Raises BusError, InvalidArgs."""
    text, options = call.read()
    given = read_options(options, _APPLY_OPTIONS)
    with garbage.held_off():
        document = await aside(from_json, text)
    if given.get("remove", False) and given.get("merge", False):
        raise InvalidArgs("'remove' and 'merge' contradict each other")
    if document.empty and not any(given.get(name, False) for name in ("merge", "empty", "remove")):
        # An export that failed, or a file that was not there, leaves such a document.
        raise InvalidArgs(
            "The document has no routes and no memberships, and would delete all there are: with "
            "option 'empty' it does"
        )
    return document, given


def _undo_questions(found: UndoQuestions) -> Mapping[Action, Sequence[Question]]:
    """Return what polkit is asked about an undo; where that is nothing, nobody but root may."""
    asked = {
        Action.MANAGE_ROUTES: found.routes,
        Action.MANAGE_MEMBERSHIPS: found.memberships,
    }
    return {action: questions for action, questions in asked.items() if questions} or asked


def _name(source: str, group: str, options: Mapping[str, Any]) -> RouteName:
    """Parse what says which route is meant."""
    iif = parse_interface(options["iif"], pattern=True) if "iif" in options else None
    return RouteName(*parse_stream(source, group), iif, options.get("table", 0))


def _applied(cause: Cause, added: int, changed: int, deleted: int) -> Record:
    text = f"applied a document: {added} added, {changed} changed, {deleted} deleted"
    return journal.summary(cause, text, added=added, changed=changed, deleted=deleted)


def _range_question(verb: str, range_: MembershipRange) -> Question:
    """Ask polkit for memberships. verb: what is done with them."""
    source, group = format_source(range_.sources), str(range_.groups)
    return ask_for_membership(verb, source, group, range_.interface)
