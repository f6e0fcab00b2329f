"""What becomes of an event where a script cannot be started as it should."""

import asyncio
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mfc_dbus.dispatcher import dispatch, processes
from mfc_dbus.dispatcher.backlog import Backlog
from mfc_dbus.dispatcher.comparison import Comparison
from mfc_dbus.dispatcher.dispatch import Directories, Dispatcher
from mfc_dbus.dispatcher.events import Event, Kind, Thing
from mfc_dbus.dispatcher.heard import Heard
from mfc_dbus.dispatcher.progress import Progress

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="scripts must belong to root")
UP = {"name": "up"}
EVENT = Event("interface-up", Kind.INTERFACE, UP, thing=Thing(Kind.INTERFACE, ("up",)), left=UP)


class Ground:
    """A dispatcher of one event, for a script that writes down that it ran."""

    def __init__(self, directory: Path, heard: Heard, progress: Progress) -> None:
        scripts = directory / "scripts.d"
        scripts.mkdir(mode=0o755)
        self._ran = directory / "ran"
        (scripts / "a").write_text(f"#!/bin/sh\necho >>{self._ran}\n")
        (scripts / "a").chmod(0o755)
        self.heard = heard
        self.dispatcher = Dispatcher(heard, progress, Directories([scripts]), timeout=2)

    def run(self, meanwhile: Callable[[Dispatcher], None] | None = None) -> None:
        async def run() -> None:
            backlog = Backlog(lambda: Comparison({}), lambda: Comparison({}))
            backlog.put(EVENT)
            backlog.close()
            if meanwhile:
                asyncio.get_running_loop().call_later(0.2, meanwhile, self.dispatcher)
            await self.dispatcher.run(backlog)

        asyncio.run(run())

    @property
    def ran(self) -> int:
        """How often the script did."""
        return len(self._ran.read_text().splitlines()) if self._ran.exists() else 0


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with closing(Heard(tmp_path)) as heard, Progress(tmp_path, heard.life) as progress:
        yield Ground(tmp_path, heard, progress)


@pytest.mark.parametrize("error", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE])
def test_a_start_that_fails_for_a_time_is_tried_again(
    error: int, ground: Ground, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [error, error]

    def start(*arguments: Any) -> processes.Child:
        if failures:
            raise OSError(failures.pop(), "fails")
        return processes.start(*arguments)

    monkeypatch.setattr(dispatch, "start", start)
    monkeypatch.setattr(dispatch, "_PAUSE", 0.01)
    ground.run()
    assert (ground.ran, ground.heard.number, caplog.text) == (1, 1, "")


def test_one_that_fails_for_long_is_told(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def start(*_: Any) -> processes.Child:
        raise OSError(errno.EAGAIN, "too little")

    monkeypatch.setattr(dispatch, "start", start)
    ground.run()
    assert (ground.ran, ground.heard.number) == (0, 1)
    assert "a cannot be started: too little" in caplog.text


def test_what_could_not_be_started_until_the_stop_is_to_be_run_after_it(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*_: Any) -> processes.Child:
        raise OSError(errno.EAGAIN, "too little")

    with monkeypatch.context() as patch:
        patch.setattr(dispatch, "start", start)
        ground.run(Dispatcher.stop)
    assert ground.heard.number == 0
    ground.dispatcher._stopping = False
    ground.run()
    assert ground.ran == 2  # the one that was under way, and that of the next run
    assert ground.heard.number == 2


def test_a_script_that_nobody_can_watch_does_not_run_on(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def pidfd_open(_: int) -> int:
        raise OSError(errno.EMFILE, "too many")

    monkeypatch.setattr(os, "pidfd_open", pidfd_open)
    ground.run()
    assert "a cannot be started: nobody could watch it: too many" in caplog.text
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
