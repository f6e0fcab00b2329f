"""Has the C library give memory back that was freed. Source: mallopt(3)."""

from contextlib import suppress
from typing import Any

from cffi import FFI

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGE = 128 * 1024  # bytes; glibc's own, which it raises to 32 MiB as large blocks are freed
_TOP = 1024 * 1024  # bytes


def bound() -> None:
    """From now on keep no large block that was freed, and little at the end of the heap.

    The tables and documents of 100,000 routes are megabytes each. In the heap the small blocks
    between them would keep what they leave.
    """
    ffi = FFI()
    ffi.cdef("int mallopt(int param, int value);")
    with suppress(AttributeError):  # musl has no mallopt
        libc: Any = ffi.dlopen(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE)
        libc.mallopt(_M_TRIM_THRESHOLD, _TOP)
