"""A command on a terminal of its own, and what a person would see there."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

import pyte

_TIMEOUT = 20.0


class Terminal:
    """A terminal with a command on it, which is killed with the context."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        width: int = 80,
        height: int = 24,
        kind: str = "linux",
    ) -> None:
        """kind: what the command takes it for."""
        self._screen = pyte.Screen(width, height)
        self._stream = pyte.ByteStream(self._screen)
        self._ours, theirs = pty.openpty()
        self._set_size()
        self.before = termios.tcgetattr(theirs)
        self.process = subprocess.Popen(
            command,
            env={**environment, "TERM": kind},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        self._theirs = theirs

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)

    @property
    def settings(self) -> list[object]:
        """Those of the terminal, which a command should leave as they were."""
        return termios.tcgetattr(self._theirs)

    @property
    def lines(self) -> list[str]:
        """What it shows, without the spaces at the ends of lines."""
        return [line.rstrip() for line in self._screen.display]

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def resize(self, width: int, height: int) -> None:
        self._screen.resize(height, width)
        self._set_size()
        self.process.send_signal(signal.SIGWINCH)

    def until(self, condition: Callable[[list[str]], object]) -> list[str]:
        """Return the lines when a condition is true of them."""
        until = time.monotonic() + _TIMEOUT
        while not condition(self.lines):
            ready, _, _ = select.select([self._ours], [], [], max(until - time.monotonic(), 0))
            if not ready:
                raise TimeoutError("\n".join(self.lines))
            self._stream.feed(os.read(self._ours, 65536))
        return self.lines

    def end(self) -> int:
        """Wait until the command has ended, and return its status."""
        until = time.monotonic() + _TIMEOUT
        while self.process.poll() is None and time.monotonic() < until:
            ready, _, _ = select.select([self._ours], [], [], 0.05)
            if ready:
                self._stream.feed(os.read(self._ours, 65536))
        return self.process.wait(timeout=0)

    def _set_size(self) -> None:
        size = struct.pack("HHHH", self._screen.lines, self._screen.columns, 0, 0)
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, size)
