"""The command line on a terminal of its own, as any user, in a child that is forked.

A program that is executed may live where only its owner can read: see privileges.py.
"""

import contextlib
import os
import pty
import signal
import sys
import termios
from collections.abc import Callable
from typing import Self

from lab.privileges import CAP_DAC_READ_SEARCH, become
from mfc_dbus.cli import main


class ForkedTerminal:
    """A function at a terminal of its own, in a child; `output` is what it showed in the end."""

    def __init__(self, function: Callable[[], int]) -> None:
        self.pid, self.fd = pty.fork()
        if not self.pid:
            status = 70
            try:
                status = function()
                sys.stdout.flush()
            finally:
                os._exit(status)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def read_until(self, text: str) -> str:
        """Wait until it has shown this; what it has shown since the last time."""
        shown = ""
        while text not in shown:
            shown += os.read(self.fd, 65536).decode()
        return shown

    def type(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def end(self) -> tuple[int, str]:
        """Wait for its end: the exit status, and what it showed."""
        shown = b""
        with contextlib.suppress(OSError):  # EIO: nobody has it open any more
            while data := os.read(self.fd, 65536):
                shown += data
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status), shown.decode().replace("\r\n", "\n")

    @property
    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self.fd)[3] & termios.ECHO)


def at_terminal(
    address: str, *words: str, uid: int = 0, path: str = "", waits: bool = False
) -> ForkedTerminal:
    """Run our command line. path: where other programs are found. waits: it begins with a line."""

    def run() -> int:
        # asyncio's, of the test that was forked
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if uid:
            become(uid, keep=(CAP_DAC_READ_SEARCH,))
        os.environ |= {"DBUS_SYSTEM_BUS_ADDRESS": address, "TERM": "xterm", "COLUMNS": "80"}
        os.environ["PATH"] = f"{path}:{os.environ['PATH']}"
        # pytest put others in their place.
        sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
        sys.stderr = os.fdopen(2, "w")
        if waits:
            sys.stdin.readline()
        return main(words)

    return ForkedTerminal(run)
