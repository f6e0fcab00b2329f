"""Reads requests of a file, pipe, terminal or socket as they come."""

import json
import os
import select
from collections.abc import Iterator

_CHUNK = 64 * 1024
_DECODER = json.JSONDecoder()


def requests(fd: int, limit: int) -> Iterator[tuple[int, bytes | None]]:
    """Yield each request and the number of its line, or None for a line longer than the limit.

    A line is a request, unless it is blank. So is a JSON object, whatever follows it on its line:
    a program that waits for the answer may never end the line.
    """
    buffer = bytearray()
    number = 1
    too_long = ended = False
    while not ended:
        chunk = _read(fd)
        ended = not chunk
        buffer += chunk or b"\n"
        while (end := buffer.find(b"\n")) >= 0 or b"}" in buffer:
            line = buffer[:end] if end >= 0 else buffer
            too_long = too_long or len(line) > limit
            if not too_long and (length := _object(line)):
                yield number, bytes(buffer[:length])
                del buffer[:length]
                continue
            if end < 0:
                break
            if too_long or line.strip():
                yield number, None if too_long else bytes(line)
            del buffer[: end + 1]
            number += 1
            too_long = False
        if len(buffer) > limit:
            buffer.clear()
            too_long = True


def _object(line: bytearray) -> int:
    """Return the length of the JSON object that the line begins with, in bytes; 0 without one."""
    try:
        text = line.decode()
        start = len(text) - len(text.lstrip(" \t\r"))
        if not text.startswith("{", start):
            return 0
        _, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return 0
    return len(text[:end].encode())


def _read(fd: int) -> bytes:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.poll()  # else a fifo seems to be at its end until somebody has opened it for writing
    return os.read(fd, _CHUNK)
