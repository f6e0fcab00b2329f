"""What the event loop calls may fail: it is logged, and neither ends nor occupies the loop."""

import asyncio
import itertools
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import closing

import pytest
from lab.ground import run

from mfc_dbus.daemon import main
from mfc_dbus.daemon.sdnotify import ServiceManager
from mfc_dbus.loop import slices
from mfc_dbus.loop.events import Guard, Pulse, Readers


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with closing(ours), closing(theirs):
        yield ours, theirs


async def turns(count: int) -> None:
    """Let the loop look at its file descriptors so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


def test_an_error_is_logged_whole_and_once_in_a_row(caplog: pytest.LogCaptureFixture) -> None:
    guard = Guard("the work")
    for error in (ValueError("a"), ValueError("a"), KeyError("b"), None, KeyError("b")):
        with guard:
            if error:
                raise error
        assert guard.failed == bool(error)
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [
        ValueError,
        KeyError,
        KeyError,
    ]
    assert {record.message for record in caplog.records} == {"Internal error: the work goes on"}


def test_a_cancellation_is_no_error() -> None:
    with pytest.raises(asyncio.CancelledError), Guard("the work"):
        raise asyncio.CancelledError


class Watchdog(ServiceManager):
    """Hears of a pulse, by a clock of its own."""

    def __init__(self) -> None:
        super().__init__({"WATCHDOG_USEC": "3000"})
        self.now = 0.0
        self.pulse = Pulse(10, lambda: self.now)
        self._told: list[str] = []

    def notify(self, *assignments: str, fds: Sequence[int] = ()) -> None:
        self._told.extend(assignments)

    def hears(self, seconds: float) -> bool:
        """Whether it hears something when so many seconds have passed."""

        async def live() -> None:
            living = asyncio.create_task(main.live(self, self.pulse))
            await turns(10)
            living.cancel()

        self.now += seconds
        self._told.clear()
        run(live())
        return bool(self._told)


def test_the_watchdog_hears_nothing_more_when_a_step_of_the_upkeep_does_not_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watchdog = Watchdog()
    assert watchdog.hears(9)
    assert not caplog.text
    watchdog.pulse.go_on()  # as changes do that it does not wait for
    assert not watchdog.hears(2)
    assert "The upkeep stands still" in caplog.text
    watchdog.pulse.beat()
    assert watchdog.hears(0)


def test_a_step_that_waits_for_its_turn_does_not_end_while_nothing_before_it_goes_on() -> None:
    watchdog = Watchdog()
    with watchdog.pulse.queued():
        for _ in range(3):
            assert watchdog.hears(9)
            watchdog.pulse.go_on()
        assert not watchdog.hears(11)


def test_a_reader_that_raises_hears_what_comes_later(
    pair: tuple[socket.socket, socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = pair
    heard: list[bytes] = []

    def read() -> None:
        heard.append(ours.recv(16))
        if heard[-1] == b"bad":
            raise OSError("unforeseen")

    async def test() -> None:
        readers = Readers(asyncio.get_running_loop())
        readers.add(ours.fileno(), "the test", read)
        async with asyncio.timeout(10):
            for number, message in enumerate((b"bad", b"good")):
                theirs.send(message)
                while len(heard) == number:
                    await turns(1)
        readers.close()

    run(test())
    assert heard == [b"bad", b"good"]
    assert "unforeseen" in caplog.text


def test_one_that_stays_in_error_is_left_alone_until_the_next_retry() -> None:
    reading, writing = os.pipe()
    os.close(writing)  # from now on it is always ready
    calls: list[None] = []

    async def test() -> list[int]:
        readers = Readers(asyncio.get_running_loop())
        readers.add(reading, "the test", lambda: calls.append(None))
        counts = []
        async with asyncio.timeout(10):
            for tries in (1, 2):
                while len(calls) < 3 * tries:
                    await turns(1)
                await turns(20)
                counts.append(len(calls))
                readers.retry()
        readers.remove(reading)
        readers.retry()
        await turns(20)
        return [*counts, len(calls)]

    first, retried, last = run(test())
    os.close(reading)
    assert (first, retried) == (3, 6)
    assert last == 7  # with the second retry


@pytest.mark.parametrize("removed", [False, True])
def test_others_are_served_between_the_long_readings_of_one_that_always_has_more(
    removed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "_PAUSE", 0.05)  # for several turns, also on a busy machine
    reading, writing = os.pipe()
    os.write(writing, b"more")
    served = 0
    served_before: list[int] = []  # each reading

    def read() -> None:
        served_before.append(served)
        until = time.monotonic() + 0.002
        while time.monotonic() < until:
            pass

    async def test() -> None:
        nonlocal served
        readers = Readers(asyncio.get_running_loop())
        readers.add(reading, "the test", read)
        while len(served_before) < 5:
            await asyncio.sleep(0)
            served += 1
            if removed and served_before:
                readers.remove(reading)
                await asyncio.sleep(0.1)
                break
        readers.close()

    run(test())
    os.close(reading)
    os.close(writing)
    assert len(served_before) == (1 if removed else 5)
    assert all(after - before > 2 for before, after in itertools.pairwise(served_before))


def test_one_that_was_left_alone_may_be_removed_by_another_when_they_are_tried_again() -> None:
    pipes = [os.pipe() for _ in range(2)]
    for _, writing in pipes:
        os.close(writing)
    calls: list[int] = []

    async def test() -> None:
        readers = Readers(asyncio.get_running_loop())
        first, second = (reading for reading, _ in pipes)

        def read(fd: int, other: int) -> None:
            calls.append(fd)
            if len(calls) > 6:
                readers.remove(other)

        readers.add(first, "the first", lambda: read(first, second))
        readers.add(second, "the second", lambda: read(second, first))
        async with asyncio.timeout(10):
            while len(calls) < 6:
                await turns(1)
        await turns(20)
        readers.retry()
        readers.close()

    run(test())
    for reading, _ in pipes:
        os.close(reading)
    assert len(calls) == 7
