"""Whatever a change or its commit raises is answered to who waits, and the next change is done."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Awaitable
from functools import partial
from typing import Any

import pytest
from lab.ground import Ground, run

from mfc_dbus.config.settings import Settings
from mfc_dbus.control.change_queue import ChangeQueue
from mfc_dbus.model.addresses import FAMILIES
from mfc_dbus.model.errors import NoSuchInterface, StoreError
from mfc_dbus.model.route import parse_route


class Odd(BaseException):
    """What is no Exception, as pytest's own failures are."""


async def nothing() -> None:
    """Commit."""


async def outcome(call: Awaitable[Any]) -> str:
    try:
        return str(await asyncio.wait_for(call, 10))
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it is the outcome
        return f"{type(error).__name__}: {error}"


ERRORS = [ValueError("bad"), StopIteration(), Odd(), GeneratorExit(), asyncio.CancelledError()]
ANSWERS = [
    "ValueError: bad",
    "RuntimeError: StopIteration was raised",
    "RuntimeError: Odd was raised",
    "RuntimeError: GeneratorExit was raised",
    "RuntimeError: CancelledError was raised",
]


@pytest.mark.parametrize(("error", "answer"), [*zip(ERRORS, ANSWERS, strict=True)])
def test_a_change_that_raises_is_answered_and_those_beside_it_are_done(
    error: BaseException, answer: str
) -> None:
    def fail() -> None:
        raise error

    async def test() -> list[str]:
        commits = ChangeQueue(nothing)
        calls = [commits.run(change) for change in (lambda: 1, fail, lambda: 3)]
        together = await asyncio.gather(*map(outcome, calls))
        return [*together, await outcome(commits.run(fail)), await outcome(commits.run(lambda: 4))]

    assert run(test()) == ["1", answer, "3", answer, "4"]


@pytest.mark.parametrize(
    "error", [error for error in ERRORS if not isinstance(error, StopIteration)]
)
def test_a_commit_that_raises_is_answered_to_all_whom_it_concerns(error: BaseException) -> None:
    failing = True

    async def commit() -> None:
        if failing:
            raise error

    async def test() -> list[str]:
        nonlocal failing
        commits = ChangeQueue(commit)
        failed = await asyncio.gather(*(outcome(commits.run(lambda: 1)) for _ in range(2)))
        failing = False
        return [*failed, await outcome(commits.run(lambda: 2))]

    answer = dict(zip(map(repr, ERRORS), ANSWERS, strict=True))[repr(error)]
    assert run(test()) == [answer, answer, "2"]


def test_whoever_waits_is_shown_that_each_change_before_it_goes_on() -> None:
    signs: list[str] = []

    async def commit() -> None:
        signs.append("commit")

    async def test() -> None:
        commits = ChangeQueue(commit, lambda: signs.append("sign"))
        changes = [partial(signs.append, name) for name in ("first", "second")]
        await asyncio.gather(*map(commits.run, changes))

    run(test())
    assert signs == ["first", "sign", "second", "sign", "commit", "sign"]


def test_a_change_of_many_routes_goes_on_with_each_of_its_parts() -> None:
    signs: list[int] = []
    routes = [parse_route("10.0.0.1", f"239.1.{n}.1", "eth0", ["eth1"]) for n in range(200)]
    ground = Ground(go_on=lambda: signs.append(len(ground.routes())))
    run(ground.controller.documents.configure(Settings(max_routes=1000)))
    signs.clear()
    ground.apply(*routes)
    assert {50, 100, 150, 200} <= {*signs}
    signs.clear()
    ground.keeper.broken = True
    with pytest.raises(StoreError):
        ground.apply()
    assert {0, 50, 100, 150, 200} <= {*signs}  # there and back


def test_nobody_waits_for_a_worker_that_was_cancelled() -> None:
    async def test() -> list[str]:
        commits = ChangeQueue(nothing)
        begun = asyncio.Event()

        async def endless() -> None:
            begun.set()
            await asyncio.Event().wait()

        calls = [asyncio.create_task(outcome(commits.run(each))) for each in (endless, endless)]
        await begun.wait()
        later = asyncio.create_task(outcome(commits.run(lambda: 1)))
        await asyncio.sleep(0)
        (worker,) = (task for task in asyncio.all_tasks() if "ChangeQueue._work" in repr(task))
        worker.cancel()
        answers = await asyncio.gather(*calls, later)
        return [*answers, await outcome(commits.run(lambda: 2))]

    assert run(test()) == [*["CancelledError: "] * 3, "2"]


class Held:
    """What a frame holds that an error has left."""


@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize("fails", ["change", "commit"])
def test_what_an_error_held_goes_with_it(fails: str, others: int) -> None:
    """Nobody looks for circles in what is exempt from that."""
    held: list[weakref.ref[Held]] = []

    async def fail() -> None:
        here = Held()
        held.append(weakref.ref(here))
        raise StoreError("the disk is full")

    async def test() -> list[object]:
        change, commit = (fail, nothing) if fails == "change" else (nothing, fail)
        commits = ChangeQueue(commit)
        changes = [change, *[nothing] * others]
        gc.disable()
        try:
            await asyncio.gather(*map(commits.run, changes), return_exceptions=True)
            await asyncio.sleep(0)
            return [each() for each in held]
        finally:
            gc.enable()

    left = run(test())
    assert len(left) >= 1
    assert {*left} == {None}


@pytest.mark.parametrize("fails", ["change", "commit"])
def test_a_large_change_that_is_refused_leaves_no_circle(fails: str) -> None:
    ground = Ground()
    ground.keeper.broken = fails == "commit"
    iifs = ["eth0"] * 50 + ["missing" if fails == "change" else "eth0"]

    async def test() -> int:
        gc.collect()
        gc.disable()
        try:
            routes = [
                parse_route("10.0.0.1", f"239.1.{n}.1", iif, ["eth1"]) for n, iif in enumerate(iifs)
            ]
            with pytest.raises(StoreError if fails == "commit" else NoSuchInterface):
                await ground.controller.documents.apply(routes)
            del routes
            await asyncio.sleep(0)
            return gc.collect()
        finally:
            gc.enable()

    assert run(test()) == 0


def add(ground: Ground, number: int) -> Awaitable[Any]:
    return ground.controller.add(parse_route("10.0.0.1", f"239.1.{number}.1", "eth0", ["eth1"]))


@pytest.mark.parametrize("many", [2, 20])
def test_changes_that_cannot_be_gathered_for_the_store_are_taken_back(
    many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise MemoryError

    ground = Ground()

    async def test() -> list[str]:
        with monkeypatch.context() as scarce:
            scarce.setattr("mfc_dbus.control.unstored._edits", fail)
            refused = await asyncio.gather(*(outcome(add(ground, n)) for n in range(many)))
            assert {*refused} == {"MemoryError: "}
            assert ground.controller.count == 0
            assert not ground.kernels[FAMILIES[0]].entries
        return await asyncio.gather(*(outcome(add(ground, n)) for n in range(many)))

    assert run(test()) == ["None"] * many
    assert len(ground.keeper.routes) == many


def test_many_changes_at_once_are_stored_where_no_thread_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    ground = Ground()

    async def test() -> list[str]:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        return await asyncio.gather(*(outcome(add(ground, n)) for n in range(20)))

    assert run(test()) == ["None"] * 20
    assert len(ground.keeper.routes) == 20
