"""Children with less than root's power. They are forked, not executed: Python itself may live in a
directory that only its owner can read, so import what a child needs before it is made.
"""

import ctypes
import os
import signal
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

CAP_DAC_READ_SEARCH = 2
CAP_NET_ADMIN = 12
CAP_NET_RAW = 13
NOBODY = 65534

_LINUX_CAPABILITY_VERSION_3 = 0x20080522
_PR_SET_KEEPCAPS = 8


class ChildError(Exception):
    """What went wrong in a child, as text."""


class Child:
    """A forked child that runs a function; `fileno` becomes readable when it has an answer."""

    def __init__(self, function: Callable[[], str]) -> None:
        reader, writer = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            _answer(function, writer)
        os.close(writer)
        self._pipe = os.fdopen(reader)

    def fileno(self) -> int:
        return self._pipe.fileno()

    def wait(self) -> str:
        """Return its answer; ChildError holds its traceback."""
        try:
            with self._pipe:
                answer = self._pipe.read()
        except BaseException:
            os.kill(self._pid, signal.SIGKILL)
            raise
        finally:
            _, status = os.waitpid(self._pid, 0)
        if status:
            raise ChildError(answer or f"wait status {status}")
        return answer

    def kill(self) -> None:
        """End it, where nobody waits for it."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._pipe.close()


def in_child(function: Callable[[], str]) -> str:
    """Run a function in a forked child and return its answer; ChildError holds its traceback."""
    return Child(function).wait()


def is_mapped(uid: int) -> bool:
    """Whether this user namespace has the user, so that one can become it."""
    lines = Path("/proc/self/uid_map").read_text().splitlines()
    fields = (map(int, line.split()) for line in lines)
    return any(first <= uid < first + count for first, _, count in fields)


def become(uid: int, keep: Iterable[int] = ()) -> None:
    """Be this user for good, in no other group, with no capability but those to keep."""
    _libc().prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    set_capabilities(keep)


def set_capabilities(capabilities: Iterable[int] = ()) -> None:
    """Have these capabilities, permitted and effective, and no other."""
    bits = sum(1 << capability for capability in capabilities)
    header = (ctypes.c_uint32 * 2)(_LINUX_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(bits, bits, 0, bits >> 32, bits >> 32, 0)
    if _libc().capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _answer(function: Callable[[], str], writer: int) -> None:
    """In the child: never returns, and runs no cleanup of the parent's."""
    status = 1
    try:
        try:
            answer = function()
            status = 0
        except BaseException:  # noqa: BLE001 - all of it is the parent's to see
            answer = traceback.format_exc()
        os.write(writer, answer.encode())
    finally:
        os._exit(status)
