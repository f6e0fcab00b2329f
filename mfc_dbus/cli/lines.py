"""Reads lines of a file, pipe or terminal as they come."""

import os
import select
from collections.abc import Iterator

_CHUNK = 64 * 1024


def lines(fd: int, limit: int) -> Iterator[bytes | None]:
    """Yield each line without its end, or None for one that is longer than the limit."""
    buffer = bytearray()
    too_long = False
    while chunk := _read(fd):
        buffer += chunk
        while (end := buffer.find(b"\n")) >= 0:
            yield None if too_long or end > limit else bytes(buffer[:end])
            del buffer[: end + 1]
            too_long = False
        if len(buffer) > limit:
            buffer.clear()
            too_long = True
    if buffer or too_long:
        yield None if too_long else bytes(buffer)


def _read(fd: int) -> bytes:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.poll()  # else a fifo seems to be at its end until somebody has opened it for writing
    return os.read(fd, _CHUNK)
