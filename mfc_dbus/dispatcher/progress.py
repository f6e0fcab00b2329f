"""Which scripts have been started for the event that is under way, kept over kill -9.

A script notes that it is started itself, between fork and exec: so this is on disk before its first
instruction, and it is not there where the script was never started. A script that was started is
not started again for that event. Where the disk refuses the note, it may be. A boot ends what was
under way: what has changed then is found by the comparison.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, Self

import msgspec

from mfc_dbus.dispatcher.events import Event

log = logging.getLogger(__name__)

_FILE = "under-way"
_START_TIME = 19  # of the fields of /proc/PID/stat that follow the name; proc(5) counts 22


class Process(NamedTuple):
    """A process, which may have ended. start: when it began, in the kernel's terms."""

    pid: int
    start: str

    @property
    def is_alive(self) -> bool:
        return _start_time(self.pid) == self.start


class UnderWay(NamedTuple):
    """An event, its number, and the processes of the scripts that were started for it."""

    number: int
    event: Event
    started: Mapping[str, Process]


class Progress:
    """The note of the event that is under way."""

    def __init__(self, directory: Path, life: str) -> None:
        """life: see `Heard`; what was under way in another one is over. Raises OSError."""
        self._life = life
        self._path = directory / _FILE
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(self._path, flags, 0o600)
        self._failed = False
        self._begun = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def read(self) -> UnderWay | None:
        """Return what was under way, if it can be read."""
        with contextlib.suppress(OSError, ValueError, msgspec.DecodeError):
            data = self._path.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]
            os.ftruncate(self._fd, len(whole))
            head, *lines = whole.splitlines()
            life, number, event = msgspec.json.decode(head, type=tuple[str, int, Event])
            if life != self._life:
                return None
            started = [msgspec.json.decode(line, type=tuple[str, int, str]) for line in lines]
            self._begun = True
            return UnderWay(
                number, event, {name: Process(pid, start) for name, pid, start in started}
            )
        return None

    def begin(self, event: Event, number: int) -> None:
        """Note that an event is under way."""
        self._begun = False
        try:
            os.ftruncate(self._fd, 0)
            _write(self._fd, msgspec.json.encode((self._life, number, event)) + b"\n")
        except OSError as error:
            if not self._failed:
                log.error("What is under way cannot be noted: %s: %s", self._path, error)
            self._failed = True
        else:
            self._failed = False
            self._begun = True

    def starting(self, name: str) -> Callable[[], None]:
        """Return what the process of a script calls before it becomes the script."""

        def note() -> None:
            if self._begun:
                pid = os.getpid()
                with contextlib.suppress(OSError):
                    _write(self._fd, msgspec.json.encode((name, pid, _start_time(pid))) + b"\n")

        return note


def _write(fd: int, data: bytes) -> None:
    if os.write(fd, data) != len(data):
        raise OSError("the disk is full")
    os.fdatasync(fd)


def _start_time(pid: int) -> str:
    """Return when a process began, or nothing where there is none, or only its remains."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in ("Z", "X") else fields[_START_TIME]
