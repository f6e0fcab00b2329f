"""Undoes a change of the history, whole or not at all, where nobody has changed the same since."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from mfc_dbus.control.bulk_changes import BulkChanges
from mfc_dbus.control.changes import Changes
from mfc_dbus.control.history import History
from mfc_dbus.control.preconditions import Preconditions
from mfc_dbus.control.rights import (
    BULK,
    MANY_MEMBERSHIPS,
    Question,
    Touched,
    ask_for_membership,
    touched,
)
from mfc_dbus.loop.slices import in_slices
from mfc_dbus.memberships.memberships import Memberships
from mfc_dbus.model.addresses import format_address, format_source, source_prefix
from mfc_dbus.model.boot_clock import since_boot
from mfc_dbus.model.cause import Cause
from mfc_dbus.model.desired import Desired, Edit
from mfc_dbus.model.difference import Difference, Replacement, T
from mfc_dbus.model.errors import AccessDenied, ChangedSince
from mfc_dbus.model.history import MAX_EDITS_OF_CHANGE, PastChange
from mfc_dbus.model.membership import Membership
from mfc_dbus.model.route import Route, TableId
from mfc_dbus.routing.table import Table, find_table

_MOST_ASKED = 2  # routes for each of which polkit is asked: to move one is to delete and to add it
_MOST_ASKED_MEMBERSHIPS = 16

Questions = Sequence[Question]


class UndoQuestions(NamedTuple):
    """What polkit has to say yes to, so that a change is undone."""

    routes: Questions
    memberships: Questions


class Reversal(NamedTuple):
    """What undoes a change, and what polkit has to say yes to."""

    changes: Changes
    questions: UndoQuestions


class Undoing:
    """Undoes changes. The controller's promises hold here too."""

    def __init__(
        self,
        tables: Mapping[TableId, Table],
        memberships: Memberships,
        preconditions: Preconditions,
        bulk: BulkChanges,
        history: History,
        now: Callable[[], int] = since_boot,
    ) -> None:
        """now: returns nanoseconds since boot."""
        self._tables = tables
        self._memberships = memberships
        self._preconditions = preconditions
        self._bulk = bulk
        self._history = history
        self._now = now

    async def ask(self, past: PastChange) -> UndoQuestions:
        """Return what polkit is asked before a change is undone. Raises ChangedSince, InvalidArgs.

        Where that is little, it is checked as well, so that nobody types a password for nothing. To
        check much takes long, and is done for nobody who was not authorised.
        """
        routes, memberships = _back(past)
        if len(routes) <= _MOST_ASKED and len(memberships) <= _MOST_ASKED_MEMBERSHIPS:
            return (await self.check(past)).questions
        return self._ask(routes, memberships)

    async def check(self, past: PastChange) -> Reversal:
        """Return what undoes a change. Others are served in between, and may change the same where
        the turn of this change has not come. Raises ChangedSince, InvalidArgs.
        """
        routes, memberships = _back(past)
        async for edit in in_slices([*routes, *memberships]):
            self._check_present(past, edit)
        by_table = {
            id_: _difference([each for each in routes if _table(each) == id_], Route)
            for id_ in dict.fromkeys(map(_table, routes))
        }
        for id_ in by_table:
            find_table(self._tables, id_)
        back = Changes(by_table, _difference(memberships, Membership))
        return Reversal(back, self._ask(routes, memberships))

    async def undo(
        self, past: PastChange, cause: Cause, shown: UndoQuestions | None = None
    ) -> None:
        """Undo a change. Interfaces that have gone meanwhile need not be there.

        shown: what polkit said yes to, None for all. Raises ChangedSince, AccessDenied where it
        would be asked something else by now, and what forbids the change.
        """

        async def plan() -> tuple[Changes, Sequence[Membership]]:
            back, questions = await self.check(past)
            if shown is not None and questions != shown:
                raise AccessDenied(f"What change {past.number} was about was changed: try again")
            self._preconditions.count(back)
            return back, back.memberships.deleted

        left = await self._bulk.run(plan, cause)
        self._memberships.check_left(left)

    def _check_present(self, past: PastChange, edit: Edit) -> None:
        """Raise ChangedSince where that is not there which the change has left."""
        left, before = edit
        if self._find(left or before) != left:
            if undo := self._history.undone_by().get(past.number):
                raise ChangedSince(f"Change {past.number} is undone already, by change {undo}")
            noun = "Route" if isinstance(left or before, Route) else "Membership"
            raise ChangedSince(
                f"{noun} {left or before} was changed since change {past.number}, which is not "
                "undone"
            )
        if isinstance(before, Route) and before.expires and before.expires <= self._now():
            raise ChangedSince(
                f"The time of route {before} has run out since change {past.number}, which is not "
                "undone"
            )

    def _find(self, like: Desired | None) -> Desired | None:
        if isinstance(like, Route):
            table = self._tables.get(like.table_id)
            return table.routes.get(like.key) if table else None
        assert like is not None
        return self._memberships.desired(like.key)

    def _ask(self, routes: Sequence[Edit], memberships: Sequence[Edit]) -> UndoQuestions:
        return UndoQuestions(self._ask_for_routes(routes), _ask_for_memberships(memberships))

    def _ask_for_routes(self, edits: Sequence[Edit]) -> Questions:
        """Ask for each of few routes as the call would that does the same, for many as Apply."""
        if len(edits) > _MOST_ASKED:
            return [BULK]
        asked: list[Question] = []
        for old, new in edits:
            if isinstance(new, Route):
                old_one = old if isinstance(old, Route) else None
                routes = find_table(self._tables, new.table_id).routes
                asked += touched(routes, new, old_one).questions(new)
            elif isinstance(old, Route):
                asked += Touched(old).questions(None)
        return [each for index, each in enumerate(asked) if each not in asked[:index]]


def _back(past: PastChange) -> tuple[list[Edit], list[Edit]]:
    """Return the edits that undo a change: of routes, and of memberships. Raises ChangedSince."""
    if not past.is_kept:
        many = past.added + past.changed + past.deleted
        raise ChangedSince(
            f"Change {past.number} cannot be undone: of its {many} routes and memberships the "
            f"history has only the number, as of all changes of more than {MAX_EDITS_OF_CHANGE}. "
            "A document of before, as apply --backup and export write it, brings them back"
        )
    back = [Edit(new, old) for old, new in past.edits]
    routes = [edit for edit in back if isinstance(edit.old or edit.new, Route)]
    memberships = [edit for edit in back if not isinstance(edit.old or edit.new, Route)]
    return routes, memberships


def _ask_for_memberships(edits: Sequence[Edit]) -> Questions:
    if len(edits) > _MOST_ASKED_MEMBERSHIPS:
        return [MANY_MEMBERSHIPS]
    asked = []
    for old, new in edits:
        membership = new or old
        if isinstance(membership, Membership):
            source = format_source(source_prefix(membership.source))
            group = format_address(membership.group)
            verb = "leave" if new is None else "join"
            asked.append(ask_for_membership(verb, source, group, membership.interface))
    return asked


def _table(edit: Edit) -> TableId:
    route = edit.old or edit.new
    assert isinstance(route, Route)
    return route.table_id


def _difference(edits: Sequence[Edit], kind: type[T]) -> Difference[T]:
    """Return what these edits add, change and delete, which are all of one kind."""
    return Difference(
        [new for old, new in edits if old is None and isinstance(new, kind)],
        [
            Replacement(old, new)
            for old, new in edits
            if isinstance(old, kind) and isinstance(new, kind)
        ],
        [old for old, new in edits if new is None and isinstance(old, kind)],
    )
