"""What callers have changed is kept, and undone where nobody has changed the same since."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from lab.ground import Ground, run
from lab.parts import in_small_parts
from msgspec.structs import replace

from mfc_dbus.control.history import History, RecordedChange
from mfc_dbus.control.rights import BULK, MANY_MEMBERSHIPS
from mfc_dbus.control.undoing import Reversal
from mfc_dbus.model import history as limits
from mfc_dbus.model.addresses import parse_stream
from mfc_dbus.model.boot_clock import since_boot
from mfc_dbus.model.cause import Act, Author, Cause, CauseKind, asked
from mfc_dbus.model.desired import Edit
from mfc_dbus.model.errors import AccessDenied, ChangedSince, NoSuchChange, StoreError
from mfc_dbus.model.history import PastChange
from mfc_dbus.model.membership import parse_membership, parse_memberships
from mfc_dbus.model.route import Route, RouteName, parse_route
from mfc_dbus.model.route_change import change_route
from mfc_dbus.service.past_changes import list_changes

ALICE, BOB = Author(1000, "alice", ":1.7", 1), Author(1001, "bob", ":1.8", 2)
STREAM = ("10.0.0.1", "239.1.1.1")


class Callers(Ground):
    """Changes that somebody makes."""

    def add_as(self, author: Author, group: str = STREAM[1], **options: Any) -> Route:
        replace = options.pop("replace", False)
        route = parse_route(STREAM[0], group, "eth0", ["eth1"], **options)
        run(self.controller.add(route, replace=replace, cause=asked(Act.ADD, author)))
        return route

    def delete_as(self, author: Author, group: str = STREAM[1]) -> None:
        name = RouteName(*parse_stream(STREAM[0], group))
        run(self.controller.delete(name, cause=asked(Act.DELETE, author)))

    def change_as(self, author: Author, source: str, group: str, **changes: Any) -> None:
        given = {name.replace("_", "-"): value for name, value in changes.items()}
        run(
            self.controller.change(
                RouteName(*parse_stream(source, group)),
                lambda route: change_route(route, given, since_boot()),
                cause=asked(Act.CHANGE, author),
            )
        )

    def undo_as(self, author: Author, number: int | None = None) -> PastChange:
        past = self.controller.history.find(number, author.uid)
        cause = Cause(CauseKind.CALL, Act.UNDO, author, past.number)
        run(self.controller.undoing.undo(past, cause))
        return past

    @property
    def history(self) -> list[PastChange]:
        return [*self.controller.history]

    @property
    def routes_now(self) -> set[Route]:
        return {route for table in self.controller.tables.values() for route in table.routes}


@pytest.fixture
def ground() -> Callers:
    return Callers()


def test_each_change_of_a_caller_is_in_the_history_with_its_author(ground: Callers) -> None:
    route = ground.add_as(ALICE)
    ground.delete_as(BOB)
    deleted, added = ground.history
    assert (added.number, added.uid, added.user, added.act) == (1, 1000, "alice", "add")
    assert added.edits == [Edit(None, route)]
    assert (deleted.number, deleted.user, deleted.act) == (2, "bob", "delete")
    assert (deleted.added, deleted.changed, deleted.deleted) == (0, 0, 1)
    assert deleted.when >= added.when > 1_700_000_000_000_000
    assert ground.keeper.history == [added, deleted], "it is stored in the same commit"


def test_what_nobody_asked_for_is_not_in_the_history(ground: Callers) -> None:
    ground.add(*STREAM)
    ground.links.turn("eth1", up=False)
    ground.controller.follow()
    route = parse_route("*", "239.1.1.2", "eth0", ["eth1"])
    run(ground.controller.documents.configure(ground.controller._current.now, [route]))
    assert ground.history == []


def test_what_changes_nothing_or_fails_is_not_in_the_history(ground: Callers) -> None:
    ground.add_as(ALICE)
    ground.add_as(ALICE, replace=True)
    ground.keeper.broken = True
    with pytest.raises(StoreError):
        ground.add_as(ALICE, "239.1.1.2")
    with pytest.raises(StoreError):
        ground.undo_as(ALICE)
    assert len(ground.history) == 1
    ground.keeper.broken = False
    ground.add_as(ALICE, "239.1.1.2")
    assert [past.number for past in ground.history] == [2, 1]


def test_changes_that_are_stored_together_are_each_their_authors(ground: Callers) -> None:
    async def both() -> None:
        one, other = (
            parse_route(STREAM[0], f"239.1.1.{number}", "eth0", ["eth1"]) for number in (1, 2)
        )
        membership = parse_membership("239.1.1.1", "*", "eth0")
        await asyncio.gather(
            ground.controller.add(one, cause=asked(Act.ADD, ALICE)),
            ground.controller.add(other, cause=asked(Act.ADD, ALICE)),
            ground.controller.joining.join([membership], cause=asked(Act.JOIN, BOB)),
        )

    run(both())
    assert [(past.user, len(past.edits)) for past in ground.history] == [
        ("bob", 1),
        ("alice", 1),
        ("alice", 1),
    ]


@pytest.mark.parametrize("undone", ["add", "delete", "change", "move", "disable", "join", "leave"])
def test_an_undo_brings_back_what_was(undone: str, ground: Callers) -> None:
    membership = parse_membership("239.1.1.1", "*", "eth0")
    wide = parse_route("*", "239.2.0.0/16", "eth0", ["eth1"])
    run(ground.controller.add(wide))
    if undone not in ("add", "join"):
        ground.add(*STREAM)
        run(ground.controller.joining.join([membership]))
    routes, memberships = ground.routes_now, [*ground.controller.memberships]
    entries = ground.kernels[wide.table_id.family].entries
    match undone:
        case "add":
            ground.add_as(ALICE)
        case "delete":
            ground.delete_as(ALICE)
        case "change":
            ground.change_as(ALICE, *STREAM, add_oifs=["eth2"], comment="x")
        case "disable":
            ground.change_as(ALICE, *STREAM, enabled=False)
        case "move":
            ground.change_as(ALICE, "*", "239.2.0.0/16", to_iif="eth3")
        case "join":
            run(ground.controller.joining.join([membership], cause=asked(Act.JOIN, ALICE)))
        case "leave":
            range_ = parse_memberships("239.1.1.1", "*", "eth0")
            run(ground.controller.joining.leave(range_, cause=asked(Act.LEAVE, ALICE)))
    assert (ground.routes_now, [*ground.controller.memberships]) != (routes, memberships)
    ground.undo_as(ALICE)
    assert (ground.routes_now, [*ground.controller.memberships]) == (routes, memberships)
    assert ground.kernels[wide.table_id.family].entries == entries
    undo, past = ground.history
    assert (undo.act, undo.undoes) == ("undo", past.number)


def test_undone_again_it_is_the_change_before_and_an_undo_is_undone_by_its_number(
    ground: Callers,
) -> None:
    ground.add_as(ALICE, "239.1.1.1")
    ground.add_as(BOB, "239.1.1.9")
    ground.add_as(ALICE, "239.1.1.2")
    assert ground.undo_as(ALICE).number == 3
    assert ground.undo_as(ALICE).number == 1
    with pytest.raises(NoSuchChange, match="no change of yours"):
        ground.undo_as(ALICE)
    assert {str(route.group) for route in ground.routes_now} == {"239.1.1.9"}
    ground.undo_as(ALICE, 5)
    assert {str(route.group) for route in ground.routes_now} == {"239.1.1.9", "239.1.1.1"}
    with pytest.raises(NoSuchChange, match="no change 77"):
        ground.undo_as(ALICE, 77)


def test_what_an_undone_undo_brought_back_can_be_undone_again(ground: Callers) -> None:
    ground.add_as(ALICE)
    for number in (2, 4):
        assert ground.undo_as(ALICE).number == 1
        assert ground.controller.history.undone_by() == {1: number} | ({2: 3} if number > 2 else {})
        ground.undo_as(ALICE, number)
    assert {str(route.group) for route in ground.routes_now} == {STREAM[1]}
    assert ground.controller.history.undone_by() == {2: 3, 4: 5}


def test_what_has_changed_since_is_not_overwritten(ground: Callers) -> None:
    ground.add_as(ALICE)
    ground.change_as(BOB, *STREAM, comment="mine")
    before = ground.routes_now
    with pytest.raises(ChangedSince, match=r"Route \(10.0.0.1, 239.1.1.1\) was changed since"):
        ground.undo_as(ALICE)
    assert ground.routes_now == before
    ground.undo_as(BOB)
    ground.undo_as(ALICE)
    assert ground.routes_now == set()


def test_a_change_of_several_is_undone_whole_or_not_at_all(ground: Callers) -> None:
    routes = [parse_route(STREAM[0], f"239.1.1.{n}", "eth0", ["eth1"]) for n in range(1, 100)]
    cause = asked(Act.APPLY, ALICE)
    run(ground.controller.documents.apply([*routes], merge=True, cause=cause))
    ground.change_as(BOB, STREAM[0], "239.1.1.50", comment="mine")
    with pytest.raises(ChangedSince):
        ground.undo_as(ALICE)
    assert len(ground.routes_now) == 99
    ground.undo_as(BOB)
    ground.undo_as(ALICE)
    assert ground.routes_now == set()
    ground.undo_as(ALICE, 4)
    assert ground.routes_now == {*routes}


def test_what_is_undone_already_is_told_with_the_number_of_its_undo(ground: Callers) -> None:
    ground.add_as(ALICE)
    ground.undo_as(BOB, 1)
    with pytest.raises(ChangedSince, match=r"^Change 1 is undone already, by change 2$"):
        ground.undo_as(ALICE, 1)
    ground.undo_as(BOB, 2)
    with pytest.raises(ChangedSince, match=r"^Change 2 is undone already, by change 3$"):
        ground.undo_as(ALICE, 2)
    ground.change_as(BOB, *STREAM, comment="mine")
    with pytest.raises(ChangedSince, match="was changed since change 1"):
        ground.undo_as(ALICE, 1)


def test_others_are_served_while_it_is_checked_whether_much_can_be_undone(ground: Callers) -> None:
    routes = [parse_route(STREAM[0], f"239.1.1.{n}", "eth0", ["eth1"]) for n in range(100)]
    run(ground.controller.documents.apply([*routes], cause=asked(Act.APPLY, ALICE)))
    past = ground.history[0]

    async def scenario() -> int:
        turns = 0
        checking = asyncio.create_task(ground.controller.undoing.check(past))
        while not checking.done():
            turns += 1
            await asyncio.sleep(0)
        assert len(checking.result().questions.routes) == 1
        return turns

    with in_small_parts():
        assert run(scenario()) > 100


def test_others_are_served_while_a_large_change_is_described(ground: Callers) -> None:
    routes = [parse_route(STREAM[0], f"239.1.1.{n}", "eth0", ["eth1"]) for n in range(100)]
    run(ground.controller.documents.apply([*routes], cause=asked(Act.APPLY, ALICE)))

    async def scenario() -> int:
        turns = 0
        asking = asyncio.create_task(list_changes(ground.controller.history, {"number": 1}))
        while not asking.done():
            turns += 1
            await asyncio.sleep(0)
        described, total = asking.result()
        assert (len(described), total) == (1, 1)
        assert described[0]["after"].value.count("239.1.1.") == 100
        return turns

    with in_small_parts():
        assert run(scenario()) > 100


def test_a_route_whose_time_has_run_out_is_not_brought_back(ground: Callers) -> None:
    now = since_boot()
    route = parse_route(*STREAM, "eth0", ["eth1"], persistent=False)
    run(ground.controller.add(replace(route, expires=now + 10**12)))
    ground.delete_as(ALICE)
    (past,) = ground.history
    undoing = ground.controller.undoing
    run(undoing.check(past))
    undoing._now = lambda: now + 10**12
    with pytest.raises(ChangedSince, match="has run out since"):
        run(undoing.check(past))


def test_an_interface_that_has_gone_need_not_be_there(ground: Callers) -> None:
    ground.add(*STREAM)
    ground.delete_as(ALICE)
    ground.links.remove("eth1")
    ground.undo_as(ALICE)
    (route,) = ground.routes_now
    assert str(route) == "(10.0.0.1, 239.1.1.1)"


def test_polkit_is_asked_as_for_the_calls_that_do_the_same(ground: Callers) -> None:
    wide = parse_route("*", "239.1.0.0/16", "eth0", ["eth2"])
    run(ground.controller.add(wide))
    route = ground.add(*STREAM)
    ground.delete_as(ALICE)
    (past,) = ground.history
    planned = run(ground.controller.undoing.check(past))
    shown = ground.controller.check_add(route, replace=False)
    assert [*planned.questions.routes] == shown.questions(route)
    assert len(planned.questions.routes) == 2
    assert planned.questions.memberships == []


def test_of_many_polkit_is_asked_at_once(ground: Callers) -> None:
    routes = [parse_route(STREAM[0], f"239.1.1.{n}", "eth0", ["eth1"]) for n in range(3)]
    cause = asked(Act.APPLY, ALICE)
    run(ground.controller.documents.apply([*routes], cause=cause))
    (past,) = ground.history
    assert run(ground.controller.undoing.check(past)).questions.routes == [BULK]


def test_what_takes_long_to_check_is_not_checked_before_polkit_was_asked(
    ground: Callers, monkeypatch: pytest.MonkeyPatch
) -> None:
    routes = [parse_route(STREAM[0], f"239.1.1.{n}", "eth0", ["eth1"]) for n in range(3)]
    memberships = parse_memberships("239.2.0.0/27", "*", "eth1").memberships()
    controller = ground.controller
    run(controller.documents.apply([*routes], cause=asked(Act.APPLY, ALICE)))
    run(controller.joining.join(memberships, cause=asked(Act.JOIN, ALICE)))
    ground.add_as(ALICE, "239.3.3.3")
    checked: list[int] = []
    check = controller.undoing.check

    async def note(past: PastChange) -> Reversal:
        checked.append(past.number)
        return await check(past)

    monkeypatch.setattr(controller.undoing, "check", note)
    one, many_memberships, many_routes = ground.history
    assert run(controller.undoing.ask(many_routes)) == ([BULK], [])
    assert run(controller.undoing.ask(many_memberships)) == ([], [MANY_MEMBERSHIPS])
    assert not checked
    assert len(run(controller.undoing.ask(one)).routes) == 1
    assert checked == [one.number]
    ground.undo_as(ALICE, many_routes.number)
    with pytest.raises(ChangedSince):
        ground.undo_as(ALICE, many_routes.number)


def test_what_is_another_than_polkit_was_asked_about_is_not_done(ground: Callers) -> None:
    ground.add(*STREAM)
    ground.delete_as(ALICE)
    (past,) = ground.history
    shown = run(ground.controller.undoing.ask(past))
    ground.add("*", "239.1.0.0/16", oifs="eth3")
    cause = Cause(CauseKind.CALL, Act.UNDO, ALICE, past.number)
    with pytest.raises(AccessDenied, match="try again"):
        run(ground.controller.undoing.undo(past, cause, shown))
    assert len(ground.routes_now) == 1


def test_of_a_change_of_very_many_only_the_numbers_are_kept(
    ground: Callers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mfc_dbus.control.history.MAX_EDITS_OF_CHANGE", 20)
    routes = [parse_route(STREAM[0], f"239.1.1.{n}", "eth0", ["eth1"]) for n in range(21)]
    run(ground.controller.documents.apply([*routes], cause=asked(Act.APPLY, ALICE)))
    (past,) = ground.history
    assert (past.added, past.edits, past.is_kept) == (21, (), False)
    with pytest.raises(ChangedSince, match="of its 21 routes and memberships"):
        ground.undo_as(ALICE)


# The history by itself


def changes(count: int, edits: int = 1) -> Sequence[RecordedChange]:
    routes = [parse_route("*", f"239.1.{n >> 8}.{n & 255}", "eth0", []) for n in range(edits)]
    return [
        RecordedChange(asked(Act.ADD, ALICE), {route.key: Edit(None, route) for route in routes})
        for _ in range(count)
    ]


def grown(history: History, *asked_for: RecordedChange) -> None:
    for each in asked_for:
        update = history.compose([each])
        assert update
        history.add(update)
        assert min(past.number for past in history) == update.oldest


def test_there_are_no_more_changes_than_the_limit() -> None:
    history = History()
    grown(history, *changes(limits.MAX_CHANGES + 10))
    assert len(history) == limits.MAX_CHANGES
    assert [past.number for past in history][-1] == 11


def test_there_are_no_more_edits_than_the_limit() -> None:
    history = History()
    grown(history, *changes(30, limits.MAX_EDITS_OF_CHANGE))
    assert sum(len(past.edits) for past in history) == limits.MAX_EDITS


def test_numbers_go_on_after_a_start() -> None:
    before, after = History(), History()
    grown(before, *changes(5))
    after.begin(reversed([*before]))
    assert [*after] == [*before]
    grown(after, *changes(1))
    assert next(iter(after)).number == 6
