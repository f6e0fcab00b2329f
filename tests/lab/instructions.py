"""Counts what the package does: in instructions of Python, which are the same each time."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import mfc_dbus

_PACKAGE = mfc_dbus.__path__[0]


class Count:
    instructions = 0


@contextmanager
def counted() -> Iterator[Count]:
    """Count the instructions of the package."""
    count = Count()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(_PACKAGE):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if event == "opcode":
            count.instructions += 1
        return trace

    before = sys.gettrace()
    gc.collect()  # what is left of others is none of ours
    gc.disable()
    sys.settrace(trace)
    try:
        yield count
    finally:
        sys.settrace(before)
        gc.enable()
