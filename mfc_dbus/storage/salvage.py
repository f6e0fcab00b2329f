"""Reads the rows of a damaged SQLite database page by page, and skips damaged ones.

Each page is read by itself, whatever the trees above it say; the caller has to check the rows. The
format: https://www.sqlite.org/fileformat2.html
"""

import os
import struct
import sys
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

_HEADER = 100  # bytes of the first page
_SIZES = (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
_DEFAULT_SIZE = 4096
_INTERIOR, _LEAF = 0x02, 0x0A  # types of the pages of a table WITHOUT ROWID
_OTHERS = (0x05, 0x0D)  # types of the pages of other tables
_MAX_ROW = 1 << 16  # bytes; none of ours is longer
_BAD = (LookupError, struct.error, ValueError)
_INTEGERS = (0, 1, 2, 3, 4, 6, 8)  # bytes of an integer, by its serial type
_WAL_MAGIC = {0x377F0682: "little", 0x377F0683: "big"}
_WAL_HEADER, _FRAME_HEADER = 32, 24
_MAX_FRAMES = 1 << 16


def rows(path: Path) -> Iterator[Sequence[Any]]:
    """Yield what looks like a row of a table WITHOUT ROWID, with text as bytes. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = _page_size(_pread(fd, _HEADER, 0))
        newer = _logged(log_of(path), size)
        count = os.fstat(fd).st_size // size

        def page(number: int) -> bytes:
            return newer.get(number) or _pread(fd, size, (number - 1) * size)

        for number in range(1, max(count, *newer) + 1 if newer else count + 1):
            yield from _rows(page(number), _HEADER if number == 1 else 0, page)
    finally:
        os.close(fd)


class Frames(NamedTuple):
    """The numbers, from 1, of a log's frames that end a commit, be they valid or not."""

    commits: Sequence[int]

    def lost(self, valid: int) -> int:
        """Count the commits behind the valid frames. valid: how many frames SQLite accepts."""
        return sum(place > valid for place in self.commits)


def frames(path: Path) -> Frames:
    """Find the commits in a database's write-ahead log. Frames of an older log are left out.

    SQLite begins a log anew in the same file, so that older frames, with another salt, follow.
    """
    commits: list[int] = []
    with suppress(OSError), log_of(path).open("rb") as file:
        size = _FRAME_HEADER + _read_size(path)
        header = file.read(_WAL_HEADER)
        salts = header[16:24] if _is_header(header) else None
        whole = (os.fstat(file.fileno()).st_size - _WAL_HEADER) // size
        for place in range(1, min(whole, _MAX_FRAMES) + 1):
            file.seek(_WAL_HEADER + (place - 1) * size)
            frame = file.read(_FRAME_HEADER)
            salts = salts or frame[8:16]
            if frame[8:16] == salts and any(frame[4:8]):
                commits.append(place)
    return Frames(commits)


def log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _logged(path: Path, size: int) -> Mapping[int, bytes]:
    """Return by number the pages of all whole commits in a write-ahead log."""
    committed: dict[int, bytes] = {}
    pending: dict[int, bytes] = {}
    with suppress(OSError), path.open("rb") as file:
        header = file.read(_WAL_HEADER)
        if not _is_header(header):
            return committed
        order = _WAL_MAGIC[int.from_bytes(header[:4], "big")]
        sums = struct.unpack_from(">II", header, 24)
        while len(frame := file.read(_FRAME_HEADER + size)) == _FRAME_HEADER + size:
            sums = _add(_add(sums, frame[:8], order), frame[_FRAME_HEADER:], order)
            number, commit = struct.unpack_from(">II", frame)
            if frame[8:16] != header[16:24] or frame[16:24] != struct.pack(">II", *sums):
                break
            pending[number] = frame[_FRAME_HEADER:]
            if commit:
                committed |= pending
                pending.clear()
    return committed


def _is_header(header: bytes) -> bool:
    order = _WAL_MAGIC.get(int.from_bytes(header[:4], "big"))
    if order is None or len(header) < _WAL_HEADER:
        return False
    return struct.pack(">II", *_add((0, 0), header[:24], order)) == header[24:]


def _add(sums: tuple[int, ...], data: bytes, order: str) -> tuple[int, ...]:
    """Add data to the checksum of a write-ahead log."""
    words = array("I", data)
    if order != sys.byteorder:
        words.byteswap()
    one, two = sums
    for even, odd in zip(words[::2], words[1::2], strict=True):
        one = (one + even + two) & 0xFFFFFFFF
        two = (two + odd + one) & 0xFFFFFFFF
    return one, two


def _pread(fd: int, length: int, offset: int) -> bytes:
    try:
        return os.pread(fd, length, offset)
    except OSError:  # a bad sector: others may be readable
        return b""


def _read_size(path: Path) -> int:
    try:
        with path.open("rb") as file:
            return _page_size(file.read(_HEADER))
    except OSError:
        return _DEFAULT_SIZE


def _page_size(header: bytes) -> int:
    size = int.from_bytes(header[16:18], "big") if len(header) == _HEADER else 0
    size = 65536 if size == 1 else size
    return size if size in _SIZES else _DEFAULT_SIZE


def _rows(data: bytes, start: int, page: Callable[[int], bytes]) -> Iterator[Sequence[Any]]:
    """Yield the rows of a page. A page whose type is damaged is read as a leaf."""
    try:
        kind, count = data[start], int.from_bytes(data[start + 3 : start + 5], "big")
    except IndexError:
        return
    if kind in _OTHERS:
        return
    header, left_child = (12, 4) if kind == _INTERIOR else (8, 0)
    first = start + header
    for at in range(first, min(first + 2 * count, len(data) - 1), 2):
        try:
            yield _record(
                _payload(data, int.from_bytes(data[at : at + 2], "big") + left_child, page)
            )
        except _BAD:
            continue


def _payload(data: bytes, at: int, page: Callable[[int], bytes]) -> bytes:
    """Return the payload of a cell, with its part in overflow pages. Raises one of _BAD."""
    length, at = _varint(data, at)
    if length > _MAX_ROW:
        raise ValueError(length)
    usable = len(data)
    most, least = ((usable - 12) * part // 255 - 23 for part in (64, 32))
    if length <= most:
        return data[at : at + length]
    local = least + (length - least) % (usable - 4)
    local = local if local <= most else least
    payload = data[at : at + local]
    (following,) = struct.unpack_from(">I", data, at + local)
    while len(payload) < length:
        more = page(following)
        (following,) = struct.unpack_from(">I", more)
        payload += more[4 : 4 + length - len(payload)]
    return payload


def _record(payload: bytes) -> Sequence[Any]:
    length, at = _varint(payload, 0)
    body = length
    values: list[Any] = []
    while at < length:
        type_, at = _varint(payload, at)
        value: Any
        if type_ >= 12:
            size = (type_ - 12) // 2
            value = payload[body : body + size]
        elif type_ < len(_INTEGERS):
            size = _INTEGERS[type_]
            value = int.from_bytes(payload[body : body + size], "big", signed=True)
            value = None if type_ == 0 else value
        else:  # 8 and 9 are the integers 0 and 1; no row of ours has another
            size, value = 0, {8: 0, 9: 1}[type_]
        if body + size > len(payload):
            raise ValueError(type_)
        body += size
        values.append(value)
    return values


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of up to nine bytes, and the offset behind it."""
    value = 0
    for end in range(at, at + 8):
        value = value << 7 | data[end] & 0x7F
        if data[end] < 0x80:
            return value, end + 1
    return value << 8 | data[at + 8], at + 9
