"""What the event loop calls may fail: it is logged, and neither ends nor occupies the loop."""

import asyncio
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing

import pytest
from lab.ground import run

from mfc_dbus.daemon import main as daemon
from mfc_dbus.daemon.sdnotify import ServiceManager
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

    def tell(self, *assignments: str, fds: Sequence[int] = ()) -> None:
        self._told.extend(assignments)

    def hears(self, seconds: float) -> bool:
        """Whether it hears something when so many seconds have passed."""

        async def live() -> None:
            living = asyncio.create_task(daemon.live(self, self.pulse))
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
        for message in (b"bad", b"good"):
            theirs.send(message)
            await turns(3)
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
        for _ in range(3):
            await turns(20)
            counts.append(len(calls))
        readers.retry()
        await turns(20)
        counts.append(len(calls))
        readers.remove(reading)
        readers.retry()
        await turns(20)
        return [*counts, len(calls)]

    first, *same, retried, last = run(test())
    os.close(reading)
    assert 0 < first < 10
    assert same == [first, first]
    assert first < retried < 2 * first + 2
    assert last == retried
