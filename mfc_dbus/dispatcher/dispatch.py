"""Runs the scripts for one event after the other, and keeps what they have heard."""

import asyncio
import contextlib
import errno
import hashlib
import json
import logging
import os
import subprocess
import time
from collections.abc import Collection, Coroutine, Iterable, Sequence
from pathlib import Path

from mfc_dbus.dispatcher import environment
from mfc_dbus.dispatcher.backlog import Backlog
from mfc_dbus.dispatcher.events import Event
from mfc_dbus.dispatcher.heard import Heard
from mfc_dbus.dispatcher.processes import Cgroup, Child, RunningScript, delegated, start
from mfc_dbus.dispatcher.progress import Progress
from mfc_dbus.dispatcher.scripts import Found, Refused, Script, find

log = logging.getLogger(__name__)

_MOST_UNWAITED = 16  # scripts that are not waited for and run at one time
_MOST_UNWRITTEN = 1000  # events that no script has heard
_LOOK = 1.0  # seconds between two looks for scripts, while there is none
_PASSING = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
_PAUSE = 0.5  # seconds until a start is tried again
_PREFIX = "script-"  # of cgroups
_DIGITS = 16


class Directories:
    """The scripts that there are, and a line in the log for each change of what is refused."""

    def __init__(self, directories: Iterable[Path]) -> None:
        self._directories = [*directories]
        self._found = Found((), ())
        self._refused: Collection[Refused] = ()
        self._looked = 0.0

    def scripts(self) -> Sequence[Script]:
        now = time.monotonic()
        if self._found.scripts or now - self._looked >= _LOOK or not self._looked:
            self._found, self._looked = find(self._directories), now
            for each in self._found.refused:
                if each not in self._refused:
                    log.warning("%s is not run: %s", environment.clean(str(each.path)), each.reason)
            self._refused = self._found.refused
        return self._found.scripts


class Dispatcher:
    """Takes events from the backlog. timeout: seconds for each script."""

    def __init__(
        self, heard: Heard, progress: Progress, directories: Directories, timeout: float
    ) -> None:
        self._heard = heard
        self._progress = progress
        self._directories = directories
        self._timeout = timeout
        self._cgroup = delegated()
        self._stopping = False
        self._unwaited: set[asyncio.Task[None]] = set()
        self._unwritten = 0
        self._running: set[RunningScript] = set()

    def wants_streams(self) -> bool:
        """Return whether there is anybody to hear of learned streams."""
        return bool(self._directories.scripts())

    async def run(self, backlog: Backlog) -> None:
        """Dispatch until `stop` is called, or the backlog has ended."""
        try:
            await self._resume()
            while not self._stopping:
                event = backlog.next(self._heard)
                if event is not None:
                    await self._dispatch(event)
                    continue
                self._heard.commit()
                if not await backlog.wait():
                    break
            if self._unwaited:
                await asyncio.wait(self._unwaited)
        finally:
            self._heard.commit()

    def stop(self) -> None:
        """Let the scripts that run end, and start no more. The backlog must be closed."""
        self._stopping = True

    def kill(self) -> None:
        """End the scripts that run."""
        self.stop()
        for each in self._running:
            each.kill()

    async def _resume(self) -> None:
        """Go on with the event that an earlier process was at, when it ended."""
        under_way = self._progress.read()
        if under_way is None or under_way.number <= self._heard.number:
            return
        number, event, started = under_way
        scripts = self._directories.scripts()
        for name, process in started.items():
            cgroup = self._cgroup_of(name, number)
            running = RunningScript.of(process, cgroup)
            if running is None:
                continue
            log.info("Waiting for %s, which was started before", name)
            script = next((each for each in scripts if each.name == name), None)
            if script is None or script.waits:
                await self._see_to(running, name, event)
            else:
                self._keep(self._see_to(running, name, event))
        rest = [each for each in scripts if each.name not in started]
        if await self._run_scripts(event, number, rest):
            self._finish(event, number, was_heard=True)

    async def _dispatch(self, event: Event) -> None:
        scripts = self._directories.scripts()
        number = self._heard.number + 1
        if not event.time:
            event = event._replace(time=time.time_ns() // 1000)
        if scripts:
            self._progress.begin(event, number)
            if not await self._run_scripts(event, number, scripts):
                return
        else:
            await asyncio.sleep(0)
        self._finish(event, number, was_heard=bool(scripts))

    def _finish(self, event: Event, number: int, *, was_heard: bool) -> None:
        self._heard.finish(event, number)
        self._unwritten += 1
        if was_heard or self._unwritten >= _MOST_UNWRITTEN:
            self._heard.commit()
            self._unwritten = 0

    async def _run_scripts(self, event: Event, number: int, scripts: Sequence[Script]) -> bool:
        """Run scripts, first those that nobody waits for. Return whether all have run: those that
        are left when we are to stop run after our next start.
        """
        if self._cgroup:
            for left in self._cgroup.glob(f"{_PREFIX}*"):
                Cgroup(left).remove()
        for script in sorted(scripts, key=lambda script: script.waits):
            while not script.waits and len(self._unwaited) >= _MOST_UNWAITED:
                await asyncio.wait(self._unwaited, return_when=asyncio.FIRST_COMPLETED)
            if self._stopping:
                return False
            child = await self._start(script, event, number)
            if child is None:
                if self._stopping:
                    return False
                continue
            if script.waits:
                await self._see_to(child, script.name, event)
            else:
                self._keep(self._see_to(child, script.name, event))
        return True

    async def _start(self, script: Script, event: Event, number: int) -> Child | None:
        """Start a script, or log why it cannot be started.

        While the machine lacks processes, memory or files it is tried again, as long as a script
        may run.
        """
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                return start(
                    [str(script.path), *environment.arguments(event)],
                    environment.environment(event),
                    json.dumps(event.to_json()).encode() + b"\n",
                    script.name,
                    self._progress.starting(script.name),
                    self._cgroup_of(script.name, number),
                )
            except (OSError, subprocess.SubprocessError) as error:
                passes = isinstance(error, OSError) and error.errno in _PASSING
                if not passes or self._stopping or time.monotonic() >= deadline:
                    why = getattr(error, "strerror", None) or error
                    log.warning("%s cannot be started: %s", script.name, why)
                    return None
            await asyncio.sleep(_PAUSE)

    async def _see_to(self, running: RunningScript, name: str, event: Event) -> None:
        """Wait for the end of a script, and log what went wrong."""
        self._running.add(running)
        with contextlib.closing(running):
            in_time = await running.wait(self._timeout)
            status = running.status()
        self._running.discard(running)
        about = " ".join(environment.arguments(event))
        if not in_time:
            log.warning("%s took more than %g s and was ended: %s", name, self._timeout, about)
        elif status:
            log.warning("%s failed with status %d: %s", name, status, about)

    def _keep(self, waiting: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(waiting)
        self._unwaited.add(task)
        task.add_done_callback(self._unwaited.discard)

    def _cgroup_of(self, name: str, number: int) -> Cgroup | None:
        if self._cgroup is None:
            return None
        # A name may be as long as that of a cgroup, and has no room beside the number.
        digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:_DIGITS]
        return Cgroup(self._cgroup / f"{_PREFIX}{number}-{digest}")
