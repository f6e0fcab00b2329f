"""Gives up all capabilities. Only OSError is raised here. Source: capabilities(7)."""

import errno
import functools
from contextlib import suppress
from pathlib import Path
from typing import Any

from cffi import FFI

_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_LINUX_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY = Path("/proc/sys/kernel/cap_last_cap")

_DECLARATIONS = """
struct cap_header { uint32_t version; int pid; };
struct cap_data { uint32_t effective; uint32_t permitted; uint32_t inheritable; };
int capset(struct cap_header *header, const struct cap_data *data);
int prctl(int option, unsigned long, unsigned long, unsigned long, unsigned long);
"""


def drop_all() -> None:
    """Empty this thread's capability sets for good; call it before a second thread starts.

    Without CAP_SETPCAP the bounding set stays as it is.
    """
    for capability in range(int(_LAST_CAPABILITY.read_text()) + 1):
        with suppress(PermissionError):
            _prctl(_PR_CAPBSET_DROP, capability)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    ffi, libc = _libc()
    header = ffi.new("struct cap_header *", {"version": _LINUX_CAPABILITY_VERSION_3})
    _check(libc.capset(header, ffi.new("struct cap_data[2]")))
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


@functools.cache
def _libc() -> tuple[Any, Any]:
    ffi = FFI()
    ffi.cdef(_DECLARATIONS)
    return ffi, ffi.dlopen(None)


def _prctl(option: int, argument: int) -> None:
    _check(_libc()[1].prctl(option, argument, 0, 0, 0))


def _check(result: int) -> None:
    if result < 0:
        number = _libc()[0].errno
        raise OSError(number, errno.errorcode.get(number, "unknown error"))
