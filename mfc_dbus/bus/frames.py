"""D-Bus messages as bytes: cut out of the stream, and their headers read, before any decoding.

Source: D-Bus specification, "Message Format".
"""

import enum
import struct
from collections.abc import Callable, Iterator
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
    """What came is not D-Bus: nothing after it can be understood either."""


class Header(NamedTuple):
    """What a message says of itself; a field that it lacks is empty.

    order: its byte order, as struct writes it.
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
_UINT32 = {order: struct.Struct(f"{order}I") for order in _ORDERS.values()}
# Header fields by their codes on the wire, with their types. The one that is not here counts file
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
# The signatures of their values, as those begin.
_TEXTS = (b"\1s\0", b"\1o\0")
_SIGNATURE = b"\1g\0"
_NUMBER = b"\1u\0"


class Frame(NamedTuple):
    """A message: its header, and its body as it came."""

    header: Header
    body: bytes


class Framer:
    """Cuts a stream into messages, and lets bodies that nobody wants pass without keeping them.

    wanted: asked once for each message, by its header. What has more than 64 KiB of header
    fields, or fields that cannot be read, or a type of the future, is left out.
    """

    def __init__(self, wanted: Callable[[Header], bool]) -> None:
        self._wanted = wanted
        self._buffer = bytearray()
        self._skip = 0
        self._accepted: Header | None = None  # the message at the start of the buffer

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take in bytes, and yield the wanted messages that they complete. Raises ProtocolError."""
        buffer = self._buffer
        buffer += data
        at = min(self._skip, len(buffer))
        self._skip -= at
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
        del buffer[:at]


def read_header(data: bytes | bytearray) -> Header | None:
    """Read the header at the start of a message; None where its fields cannot be read.

    A sender may add fields of the future, of any type, and dbus-broker passes them on.
    """
    order = _ORDERS[data[0]]
    type_, flags, body_length, serial, length = _FIXED[order].unpack_from(data)
    read_uint32 = _UINT32[order].unpack_from
    fields: dict[int, Any] = {}
    at = _FIXED_SIZE
    end = at + length
    try:
        while at < end:
            at = _align(at, 8)
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


def write_header(header: Header) -> bytearray:
    """Write the header of a message, up to where its body begins."""
    order = header.order
    endianness = b"l" if order == "<" else b"B"
    data = bytearray(
        struct.pack(
            f"{order}cBBBIII",
            endianness,
            header.type,
            header.flags,
            _VERSION,
            header.body_length,
            header.serial,
            0,
        )
    )
    for code, (name, type_) in _FIELDS.items():
        value = getattr(header, name)
        if not value:
            continue
        data += bytes(-len(data) % 8) + bytes((code, 1)) + type_ + b"\0"
        if type_ == b"u":
            data += struct.pack(f"{order}I", value)
        else:
            text = value.encode()
            length = bytes((len(text),)) if type_ == b"g" else struct.pack(f"{order}I", len(text))
            data += length + text + b"\0"
    struct.pack_into(f"{order}I", data, 12, len(data) - _FIXED_SIZE)
    data += bytes(-len(data) % 8)
    return data


def _extent(data: bytearray, at: int) -> tuple[int, int, int]:
    """How far the message at this place goes: to the end of its fields, to its body, to its end."""
    order = _ORDERS.get(data[at])
    if order is None:
        raise ProtocolError(f"a message begins with byte {data[at]}, which is no byte order")
    version, body_length, fields_length = _SIZES[order].unpack_from(data, at)
    fields = _FIXED_SIZE + fields_length
    body = _align(fields, 8)
    end = body + body_length
    if version != _VERSION or end > MAX_MESSAGE:
        raise ProtocolError(f"a message has version {version} and {end} bytes")
    return fields, body, end


def _align(at: int, boundary: int) -> int:
    return -(-at // boundary) * boundary
