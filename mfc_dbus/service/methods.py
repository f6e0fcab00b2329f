"""The methods of our own interface: a call is parsed and validated, and becomes a request."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from msgspec import structs

from mfc_dbus.bus.backend import Body, Variant
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
from mfc_dbus.model.quoting import join, quote
from mfc_dbus.model.route import Route, RouteName, parse_route
from mfc_dbus.model.route_change import change_route, expiry
from mfc_dbus.service.access import Access
from mfc_dbus.service.describe import OPTIONS as _DESCRIBE_OPTIONS
from mfc_dbus.service.describe import Readers, describe, parse_filter
from mfc_dbus.service.explanations import OPTIONS as _EXPLAIN_OPTIONS
from mfc_dbus.service.explanations import Explanations
from mfc_dbus.service.explanations import describe as describe_finding
from mfc_dbus.service.explanations import parse_question as parse_why
from mfc_dbus.service.listed_streams import OPTIONS as _STREAMS_OPTIONS
from mfc_dbus.service.listed_streams import ListedStreams, parse_question
from mfc_dbus.service.past_changes import OPTIONS as _HISTORY_OPTIONS
from mfc_dbus.service.past_changes import list_changes

_ADD_OPTIONS = signatures(ADD_ROUTE)
_DELETE_OPTIONS = {"iif": "s", "table": "u"}
_CHANGE_OPTIONS = {**_DELETE_OPTIONS, **signatures(CHANGE_ROUTE)}
_FLUSH_OPTIONS = {"iif": "s", "group": "s", "table": "u"}
_UNDO_OPTIONS = {"number": "t"}
_JOIN_OPTIONS = signatures(JOIN_GROUP)
_APPLY_OPTIONS = {"merge": "b", "dry-run": "b", "wait": "b", "empty": "b"}


async def _nothing() -> Mapping[Action, Sequence[Question]]:
    return {}


class Request(NamedTuple):
    """A call that was parsed and validated.

    act: does what was asked for, when the caller is authorised, and returns the reply's body.
    questions: what polkit must say yes to first. more: returns what else it must say yes to for
    `act`, which asks that itself, since it takes long to find out.
    """

    act: Callable[[], Awaitable[Body]]
    questions: Sequence[Question] = ()
    more: Callable[[], Awaitable[Mapping[Action, Sequence[Question]]]] = _nothing


_RELOAD = Question({}, "have the multicast routing service read its configuration again")

# Parses and validates a call. Raises RequestError or BusError.
Prepare = Callable[[Call], Request]


def answer(read: Callable[[], Body], questions: Sequence[Question] = ()) -> Request:
    """Make a request whose answer is read at once."""

    async def act() -> Body:
        return read()

    return Request(act, questions)


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
        self._connection = connection
        self._access = access
        self._controller = controller
        self._reload = reload
        self._readers = Readers()
        self._history_readers = Readers()
        self._streams = ListedStreams(controller.view)
        self._explanations = Explanations(controller.observer)
        self.prepare: Mapping[str, Prepare] = {
            "AddRoute": self._add_route,
            "ChangeRoute": self._change_route,
            "DeleteRoute": self._delete_route,
            "FlushRoutes": self._flush_routes,
            "JoinGroup": self._join_group,
            "LeaveGroup": self._leave_group,
            "Apply": self._apply,
            "Describe": self._describe,
            "ListStreams": self._list_streams,
            "Explain": self._explain,
            "ListChanges": self._list_changes,
            "Undo": self._undo,
            "Reload": self._prepare_reload,
        }

    # Methods that change something

    def _add_route(self, call: Call) -> Request:
        source, group, iif, oifs, options = call.body
        given = _options(options, _ADD_OPTIONS)
        said = {"persistent": "timeout" not in given} | choose(given, ROUTE)
        route = parse_route(source, group, iif, oifs, **said)
        if given.get("timeout") == 0:
            raise InvalidArgs("A timeout of 0 seconds leaves no time")
        expiry(given, since_boot())
        replace, wait = given.get("replace", False), given.get("wait", False)
        touched = self._controller.check_add(route, replace=replace, wait=wait)

        async def act() -> Body:
            timed = structs.replace(route, expires=expiry(given, since_boot()))
            shown = None if await self._access.may_all(call.header) else touched
            cause = await self._cause(call, Act.ADD)
            await self._controller.add(timed, replace=replace, wait=wait, shown=shown, cause=cause)
            return ()

        return Request(act, touched.questions(route))

    def _change_route(self, call: Call) -> Request:
        source, group, options = call.body
        given = _options(options, _CHANGE_OPTIONS)
        name = _name(source, group, given)
        wait = given.get("wait", False)
        if not given.keys() - {*_DELETE_OPTIONS, "wait"}:
            raise InvalidArgs(f"There is nothing to change; there are {join(_CHANGE_OPTIONS)}")

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
        name = _name(source, group, _options(options, _DELETE_OPTIONS))
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
        given = _options(options, _FLUSH_OPTIONS)
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
        given = _options(options, _JOIN_OPTIONS)
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
        _options(options, {})
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
            dry_run = given.get("dry-run", False)
            joining = self._changes_memberships(document, given)
            if joining:
                await self._access.authorise(
                    call.header, Action.MANAGE_MEMBERSHIPS, [MANY_MEMBERSHIPS]
                )
            cause = await self._cause(call, Act.APPLY)
            try:
                with garbage.held_off():
                    counts = await self._controller.documents.apply(
                        document.routes,
                        document.memberships,
                        merge=given.get("merge", False),
                        wait=given.get("wait", False),
                        dry_run=dry_run,
                        joining=joining,
                        cause=cause,
                    )
            except RequestError as error:
                await let_go(document.routes)
                raise type(error)(of_entries(str(error), document.places)) from None
            if any(counts) and not dry_run:
                write(_applied(cause, *counts))
            return counts

        return Request(act, [BULK], more)

    def _changes_memberships(self, document: Document, options: Mapping[str, Any]) -> bool:
        """Return whether to apply a document takes the right to memberships too."""
        merge = options.get("merge", False)
        return self._controller.documents.changes_memberships(document.memberships, merge=merge)

    def _undo(self, call: Call) -> Request:
        (options,) = call.body
        number = _options(options, _UNDO_OPTIONS).get("number")
        header = call.header

        async def more() -> Mapping[Action, Sequence[Question]]:
            past = self._controller.history.find(number, await self._access.uid(header.sender))
            return _undo_questions(self._controller.undoing.ask(past))

        async def act() -> Body:
            author = await self._access.author(header.sender)
            past = self._controller.history.find(number, author.uid)
            asked_for = self._controller.undoing.ask(past)
            for action, questions in _undo_questions(asked_for).items():
                await self._access.authorise(header, action, questions)
            shown = None if await self._access.may_all(header) else asked_for
            cause = Cause(CauseKind.CALL, Act.UNDO, author, past.number)
            await self._controller.undoing.undo(past, cause, shown)
            return [past.number]

        return Request(act, more=more)

    def _prepare_reload(self, call: Call) -> Request:
        (options,) = call.body
        _options(options, {})

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

    # Methods that read

    def _describe(self, call: Call) -> Request:
        (options,) = call.body
        chosen = parse_filter(_options(options, _DESCRIBE_OPTIONS))

        async def act() -> Body:
            sender = call.header.sender
            async with self._readers.turn(sender, await self._access.known_uid(sender)):
                await self._connection.writable()
                return await describe(self._controller.view, chosen)

        return Request(act)

    def _list_changes(self, call: Call) -> Request:
        (options,) = call.body
        chosen = _options(options, _HISTORY_OPTIONS)

        async def act() -> Body:
            sender = call.header.sender
            uid = await self._access.known_uid(sender)
            async with self._history_readers.turn(sender, uid):
                await self._connection.writable()
                return await list_changes(self._controller.history, chosen)

        return Request(act)

    def _list_streams(self, call: Call) -> Request:
        (options,) = call.body
        question = parse_question(_options(options, _STREAMS_OPTIONS))

        async def act() -> Body:
            sender = call.header.sender
            uid = await self._access.known_uid(sender)
            return await self._streams.answer(question, sender, uid)

        return Request(act)

    def _explain(self, call: Call) -> Request:
        source, group, options = call.body
        question, seconds = parse_why(source, group, _options(options, _EXPLAIN_OPTIONS))
        self._controller.observer.check(question)

        async def act() -> Body:
            sender = call.header.sender
            uid = await self._access.known_uid(sender)
            async with self._explanations.place(sender, uid):
                found = await self._explanations.explain(question, seconds, uid)
            return [[describe_finding(each) for each in found]]

        return Request(act)


async def _read_document(call: Call) -> tuple[Document, dict[str, Any]]:
    """Read the arguments of Apply. Raises BusError, InvalidArgs."""
    text, options = call.read()
    given = _options(options, _APPLY_OPTIONS)
    with garbage.held_off():
        document = await aside(from_json, text)
    if document.empty and not (given.get("merge", False) or given.get("empty", False)):
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


def _options(options: Mapping[str, Variant], known: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of a call's options. Raises InvalidArgs.

    known: the signatures of all options that the method has.
    """
    for name, variant in options.items():
        if name not in known:
            others = f"; there are {join(known)}" if known else ""
            raise InvalidArgs(f"There is no option {quote(name)}{others}")
        if variant.signature != known[name]:
            raise InvalidArgs(
                f"Option {quote(name)} has type '{variant.signature}', and not '{known[name]}'"
            )
    return {name: variant.value for name, variant in options.items()}


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
