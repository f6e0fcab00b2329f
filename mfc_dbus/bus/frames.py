"""D-Bus messages as bytes: cuts a stream into messages, and reads and writes their headers.

Source: D-Bus specification, "Message Format".
"""

import enum
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

MAX_FIELDS = 64 * 1024  # bytes of header fields; a message with more is left out
MAX_MESSAGE = 128 * 1024 * 1024

_VERSION = 1
_FIXED_SIZE = 16


class MessageType(enum.IntEnum):
    METHOD_CALL = 1
    METHOD_RETURN = 2
    ERROR = 3
    SIGNAL = 4


class Flag(enum.IntFlag):
    NO_REPLY_EXPECTED = 1
    NO_AUTO_START = 2
    ALLOW_INTERACTIVE_AUTHORIZATION = 4


_NO_REPLY_EXPECTED = int(Flag.NO_REPLY_EXPECTED)  # enum's own arithmetic is slow
_INTERACTIVE = int(Flag.ALLOW_INTERACTIVE_AUTHORIZATION)


class ProtocolError(Exception):
    """The bytes are not D-Bus: nothing after them can be understood either."""


class Header(NamedTuple):
    """The header of a message; a field that it lacks is empty, or 0.

    order: its byte order, "<" or ">" as in struct.
    """

    order: str
    type: int
    flags: int
    serial: int
    body_length: int
    path: str = ""
    interface: str = ""
    member: str = ""
    error_name: str = ""
    reply_serial: int = 0
    destination: str = ""
    sender: str = ""
    signature: str = ""

    @property
    def expects_reply(self) -> bool:
        return self.type == MessageType.METHOD_CALL and not self.flags & _NO_REPLY_EXPECTED

    @property
    def interactive(self) -> bool:
        return bool(self.flags & _INTERACTIVE)


_TYPES = frozenset(int(type_) for type_ in MessageType)
_ORDERS = {ord("l"): "<", ord("B"): ">"}
_FIXED = {order: struct.Struct(f"{order}xBBxIII") for order in _ORDERS.values()}
_SIZES = {order: struct.Struct(f"{order}xxxBI4xI") for order in _ORDERS.values()}
_WRITTEN = {order: struct.Struct(f"{order}cBBBIII") for order in _ORDERS.values()}
_LETTERS = {order: bytes((letter,)) for letter, order in _ORDERS.items()}
_UINT32 = {order: struct.Struct(f"{order}I") for order in _ORDERS.values()}
# Header fields by their codes on the wire, with their types. The missing code 9 counts file
# descriptors, which no connection of ours takes.
_FIELDS = {
    1: ("path", b"o"),
    2: ("interface", b"s"),
    3: ("member", b"s"),
    4: ("error_name", b"s"),
    5: ("reply_serial", b"u"),
    6: ("destination", b"s"),
    7: ("sender", b"s"),
    8: ("signature", b"g"),
}
_EMPTY = [(code, 0 if type_ == b"u" else "") for code, (_, type_) in _FIELDS.items()]
# Each value is a variant, which begins with its signature: length, type, NUL.
_TEXTS = (b"\1s\0", b"\1o\0")
_SIGNATURE = b"\1g\0"
_NUMBER = b"\1u\0"


class Frame(NamedTuple):
    """A message: its header, and its body as it came."""

    header: Header
    body: bytes


class Framer:
    """Cuts a stream into messages, and skips unwanted ones without keeping their bodies.

    wanted: is called once for each message, with its header, and once more for one at which it has
    raised. A message with more than 64 KiB of header fields, with unreadable fields or of an
    unknown type is skipped unasked.
    """

    def __init__(self, wanted: Callable[[Header], bool]) -> None:
        self._wanted = wanted
        self._buffer = bytearray()
        self._skip = 0
        self._accepted: Header | None = None  # the message at the start of the buffer

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take in bytes, and yield the wanted messages that they complete.

        Raises ProtocolError, and what `wanted` raises: the next call goes on with that message.
        """
        buffer = self._buffer
        buffer += data
        at = min(self._skip, len(buffer))
        self._skip -= at
        try:
            while len(buffer) - at >= _FIXED_SIZE:
                fields, body, end = _extent(buffer, at)
                if self._accepted is None:
                    if fields <= MAX_FIELDS:
                        if len(buffer) < at + body:
                            break
                        header = read_header(bytes(buffer[at : at + body]))
                        if header and header.type in _TYPES and self._wanted(header):
                            self._accepted = header
                    if self._accepted is None:
                        self._skip = max(at + end - len(buffer), 0)
                        at = min(at + end, len(buffer))
                        continue
                if len(buffer) < at + end:
                    break
                frame = Frame(self._accepted, bytes(buffer[at + body : at + end]))
                self._accepted = None
                at += end
                yield frame
        finally:
            del buffer[:at]


def read_header(data: bytes | bytearray) -> Header | None:
    """Read the header at the start of a message. Return None where its fields cannot be read.

    That is no broken bus: a sender may add fields of any type, and dbus-broker passes them on.
    """
    order = _ORDERS[data[0]]
    type_, flags, body_length, serial, length = _FIXED[order].unpack_from(data)
    read_uint32 = _UINT32[order].unpack_from
    fields: dict[int, Any] = {}
    at = _FIXED_SIZE
    end = at + length
    try:
        while at < end:
            at = align(at, 8)
            code = data[at]
            kind = data[at + 1 : at + 4]
            at += 4
            if kind in _TEXTS:
                (length,) = read_uint32(data, at)
                at += 4
                fields[code] = data[at : at + length].decode()
                at += length + 1
            elif kind == _SIGNATURE:
                length = data[at]
                at += 1
                fields[code] = data[at : at + length].decode()
                at += length + 1
            elif kind == _NUMBER:
                (fields[code],) = read_uint32(data, at)
                at += 4
            else:
                return None
    except (IndexError, UnicodeDecodeError, struct.error):
        return None
    if at != end:
        return None
    named = [fields.get(code, empty) for code, empty in _EMPTY]
    return Header(order, type_, flags, serial, body_length, *named)


def call_flags(*, interactive: bool, activate: bool) -> int:
    """Make the flags of a call.

    interactive: the user may be asked for a password. activate: the bus may start the service.
    """
    return (Flag.ALLOW_INTERACTIVE_AUTHORIZATION if interactive else 0) | (
        0 if activate else Flag.NO_AUTO_START
    )


def write_header(header: Header) -> bytes:
    """Write the header of a message, up to where its body begins."""
    order, type_, flags, serial, body_length = header[:5]
    # A reply has a number that no other has; signals have the same fields again and again.
    write_fields = _write_fields if header.reply_serial else _write_known_fields
    fields, padding = write_fields(order, header[5:])
    length = len(fields) - padding
    letter = _LETTERS[order]
    fixed = _WRITTEN[order].pack(letter, type_, flags, _VERSION, body_length, serial, length)
    return fixed + fields


def _write_fields(order: str, values: Sequence[str | int]) -> tuple[bytes, int]:
    """Write the fields of a header; and say how many bytes behind the last one pad it."""
    written = []
    padding = 0
    for code, value in enumerate(values, 1):
        if not value:
            continue
        if isinstance(value, str):
            field, padding = _write_text(order, code, value)
            written.append(field)
        else:
            written.append(bytes((code, *_NUMBER)) + _UINT32[order].pack(value))
            padding = 0
    return b"".join(written), padding


_write_known_fields = lru_cache(maxsize=64)(_write_fields)


@lru_cache(maxsize=1024)
def _write_text(order: str, code: int, text: str) -> tuple[bytes, int]:
    """Write a header field, which many messages have; and say how many bytes of it are padding."""
    _, type_ = _FIELDS[code]
    data = text.encode()
    length = bytes((len(data),)) if type_ == b"g" else _UINT32[order].pack(len(data))
    field = bytes((code, 1)) + type_ + b"\0" + length + data + b"\0"
    padding = -len(field) % 8
    return field + bytes(padding), padding


def _extent(data: bytearray, at: int) -> tuple[int, int, int]:
    """Return how long the message at `at` is: up to the end of its fields, up to its body, in all.

    Raises ProtocolError.
    """
    order = _ORDERS.get(data[at])
    if order is None:
        raise ProtocolError(f"a message begins with byte {data[at]}, which is no byte order")
    version, body_length, fields_length = _SIZES[order].unpack_from(data, at)
    fields = _FIXED_SIZE + fields_length
    body = align(fields, 8)
    end = body + body_length
    if version != _VERSION or end > MAX_MESSAGE:
        raise ProtocolError(f"a message has version {version} and {end} bytes")
    return fields, body, end


def align(at: int, boundary: int) -> int:
    """Return the next multiple of the boundary, a power of 2, from `at` on."""
    return at + boundary - 1 & -boundary
