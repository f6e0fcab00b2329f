"""The thread that works for the event loop."""

import _thread
import asyncio
import gc
import threading
import weakref

import pytest

from mfc_dbus.loop.worker import Worker, aside


def test_it_does_one_thing_after_the_other_in_a_thread_of_its_own() -> None:
    done: list[int] = []

    def note(number: int) -> str:
        done.append(number)
        return threading.current_thread().name

    async def give() -> list[str]:
        with Worker("clerk") as worker:
            return await asyncio.gather(*(worker.do(note, number) for number in range(100)))

    assert set(asyncio.run(give())) == {"clerk"}
    assert done == [*range(100)]


def test_no_thread_runs_before_there_is_work() -> None:
    before = threading.active_count()
    with Worker("clerk"):
        assert threading.active_count() == before


def test_where_no_thread_starts_the_work_is_done_all_the_same_and_a_later_one_in_a_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def give() -> None:
        with Worker("clerk") as worker:
            async with asyncio.timeout(10):
                with monkeypatch.context() as scarce:
                    refuse_threads(scarce)
                    for do in (worker.do, aside):
                        assert await do(threading.current_thread) is threading.current_thread()
                        with pytest.raises(ValueError, match="invalid literal"):
                            await do(int, "one")
                assert (await worker.do(threading.current_thread)).name == "clerk"
                assert await aside(threading.get_ident) != threading.get_ident()

    asyncio.run(give())


def refuse_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr(_thread, "start_new_thread", refuse)


def test_nobody_waits_until_a_new_thread_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Thread.start does, which may take long on a busy machine."""
    monkeypatch.setattr(threading.Event, "wait", lambda *_: pytest.fail("it waits"))

    async def give() -> None:
        assert await aside(len, "abc") == 3

    asyncio.run(give())


def test_what_has_a_thread_of_its_own_waits_for_nothing_else() -> None:
    served = threading.Event()

    async def give() -> None:
        waiting = aside(served.wait, 10)
        assert await aside(len, "abc") == 3
        served.set()
        assert await waiting

    asyncio.run(give())


def test_others_are_served_while_it_works() -> None:
    served = threading.Event()

    async def give() -> None:
        with Worker("clerk") as worker:
            waiting = worker.do(served.wait, 10)
            await asyncio.sleep(0)
            served.set()
            assert await waiting

    asyncio.run(give())


def test_an_error_is_for_the_one_who_waits_and_the_next_work_is_done() -> None:
    def fail() -> None:
        raise OSError("the disk is full")

    async def give() -> int:
        with Worker("clerk") as worker:
            with pytest.raises(OSError, match="the disk is full"):
                await worker.do(fail)
            return await worker.do(len, "abc")

    assert asyncio.run(give()) == 3


def test_whoever_does_not_wait_any_more_keeps_nobody_from_it() -> None:
    go_on = threading.Event()

    async def give() -> int:
        with Worker("clerk") as worker:
            worker.do(go_on.wait, 10).cancel()
            second = worker.do(len, "abc")
            go_on.set()
            return await second

    assert asyncio.run(give()) == 3


def test_its_end_waits_for_what_is_not_done_yet() -> None:
    go_on, done = threading.Event(), threading.Event()

    def work() -> None:
        go_on.wait(10)
        done.set()

    async def give() -> None:
        worker.do(work)

    with Worker("clerk") as worker:
        asyncio.run(give())  # the event loop ends first
        go_on.set()
    assert done.is_set()


class Held:
    """What work is done with."""


@pytest.mark.parametrize("scarce", [False, True])
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_nothing_of_work_that_is_done_is_kept_until_the_next(
    fails: bool, own: bool, scarce: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody looks for circles in what is exempt from that."""

    def work(_: Held) -> None:
        if fails:
            raise OSError("the disk is full")

    async def give() -> Held | None:
        with Worker("clerk") as worker:
            held = Held()
            left = weakref.ref(held)
            answer = aside(work, held) if own else worker.do(work, held)
            del held
            await asyncio.wait([answer])
            assert (answer.exception() is not None) == fails
            del answer
            await asyncio.sleep(0)
            for _ in range(1000):  # the thread lets go after it has answered
                if left() is None:
                    break
                await asyncio.sleep(0.001)
            return left()

    if scarce:
        refuse_threads(monkeypatch)
    gc.disable()
    try:
        assert asyncio.run(give()) is None
    finally:
        gc.enable()


@pytest.mark.parametrize("error", [StopIteration(), KeyboardInterrupt(), asyncio.CancelledError()])
def test_whatever_is_raised_is_answered(error: BaseException) -> None:
    def fail() -> None:
        raise error

    async def give() -> int:
        with Worker("clerk") as worker:
            with pytest.raises(RuntimeError, match=f"{type(error).__name__} was raised"):
                await asyncio.wait_for(worker.do(fail), 10)
            return await worker.do(len, "abc")

    assert asyncio.run(give()) == 3


@pytest.mark.parametrize("used", [False, True])
def test_who_has_ended_takes_no_more_work(used: bool) -> None:
    async def give() -> None:
        with Worker("clerk") as worker:
            if used:
                await worker.do(len, "abc")
        with pytest.raises(RuntimeError, match="clerk has ended"):
            await asyncio.wait_for(worker.do(len, "abc"), 10)

    before = threading.active_count()
    asyncio.run(give())
    assert threading.active_count() == before
