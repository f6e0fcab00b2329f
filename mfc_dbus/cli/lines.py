"""Lines of a file, pipe or terminal, as they come and without holding up the event loop."""

import asyncio
import os
from collections.abc import AsyncIterator

_CHUNK = 64 * 1024


async def lines(fd: int, limit: int) -> AsyncIterator[bytes | None]:
    """Yield each line without its end, or None for one that is longer than the limit."""
    buffer = bytearray()
    too_long = False
    while chunk := await _read(fd):
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


async def _read(fd: int) -> bytes:
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    try:
        loop.add_reader(fd, readable.set)
    except PermissionError:  # epoll takes no regular file: that is always readable
        await asyncio.sleep(0)  # it may have no end, and others need their turns
        return os.read(fd, _CHUNK)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(fd)
    return os.read(fd, _CHUNK)
