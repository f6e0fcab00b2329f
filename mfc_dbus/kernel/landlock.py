"""Gives up running programs and using TCP. Only OSError is raised here. Source: landlock(7)."""

import errno
import functools
import os
import struct
from typing import Any

from cffi import FFI

FIRST_WITH_TCP = 4  # of Landlock's versions; Linux 6.7

# The same on every architecture that this could run on; the C library has no functions for them.
_SYS_LANDLOCK_CREATE_RULESET = 444
_SYS_LANDLOCK_RESTRICT_SELF = 446
_LANDLOCK_CREATE_RULESET_VERSION = 1
_LANDLOCK_ACCESS_FS_EXECUTE = 1
_LANDLOCK_ACCESS_NET_BIND_TCP = 1
_LANDLOCK_ACCESS_NET_CONNECT_TCP = 2

# struct landlock_ruleset_attr: handled_access_fs, and handled_access_net in later kernels
_FS = struct.Struct("@Q")
_FS_NET = struct.Struct("@QQ")


def give_up_programs_and_tcp() -> None:
    """Forbid this thread, and those that it starts, to execute a file and to bind or connect TCP.

    This is for good, and needs a thread that has no_new_privs. Libraries can still be loaded. A
    kernel before FIRST_WITH_TCP goes on allowing TCP; one without Landlock raises OSError.
    """
    if version() < FIRST_WITH_TCP:
        given_up = _FS.pack(_LANDLOCK_ACCESS_FS_EXECUTE)
    else:
        tcp = _LANDLOCK_ACCESS_NET_BIND_TCP | _LANDLOCK_ACCESS_NET_CONNECT_TCP
        given_up = _FS_NET.pack(_LANDLOCK_ACCESS_FS_EXECUTE, tcp)
    ruleset = _landlock(_SYS_LANDLOCK_CREATE_RULESET, given_up, len(given_up), 0)
    try:
        _landlock(_SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def version() -> int:
    """Return the version of Landlock that this kernel lets this process use, 0 for none."""
    try:
        return _landlock(_SYS_LANDLOCK_CREATE_RULESET, 0, 0, _LANDLOCK_CREATE_RULESET_VERSION)
    except OSError:
        return 0


@functools.cache
def _libc() -> tuple[Any, Any]:
    ffi = FFI()
    ffi.cdef("long syscall(long number, ...);")
    return ffi, ffi.dlopen(None)


def _landlock(number: int, *arguments: bytes | int) -> int:
    ffi, libc = _libc()
    passed = [
        ffi.cast("long", each) if isinstance(each, int) else ffi.from_buffer(each)
        for each in arguments
    ]
    result: int = libc.syscall(number, *passed)
    if result < 0:
        raise OSError(ffi.errno, errno.errorcode.get(ffi.errno, "unknown error"))
    return result
