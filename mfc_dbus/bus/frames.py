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
        return self.type == MessageType.METHOD_CALL and not self.flags & Flag.NO_REPLY_EXPECTED

    @property
    def interactive(self) -> bool:
        return bool(self.flags & Flag.ALLOW_INTERACTIVE_AUTHORIZATION)


_TYPES = frozenset(int(type_) for type_ in MessageType)
_ORDERS = {ord("l"): "<", ord("B"): ">"}
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


class Frame(NamedTuple):
    """A message: its header, and its body as it came."""

    header: Header
    body: bytes


class Framer:
    """Cuts a stream into messages, and lets bodies that nobody wants pass without keeping them.

    wanted: asked once for each message, by its header. What has more than 64 KiB of header
    fields, or a type of the future, is left out.
    """

    def __init__(self, wanted: Callable[[Header], bool]) -> None:
        self._wanted = wanted
        self._buffer = bytearray()
        self._skip = 0
        self._accepted: Header | None = None  # the message at the start of the buffer

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take in bytes, and yield the wanted messages that they complete. Raises ProtocolError."""
        self._buffer += data
        while True:
            skipped = min(self._skip, len(self._buffer))
            del self._buffer[:skipped]
            self._skip -= skipped
            if len(self._buffer) < _FIXED_SIZE:
                return
            fields_end, body_at, end = _extent(self._buffer)
            if self._accepted is None:
                if fields_end > MAX_FIELDS:
                    self._skip = end
                    continue
                if len(self._buffer) < body_at:
                    return
                header = read_header(self._buffer)
                if header.type not in _TYPES or not self._wanted(header):
                    self._skip = end
                    continue
                self._accepted = header
            if len(self._buffer) < end:
                return
            frame = Frame(self._accepted, bytes(self._buffer[body_at:end]))
            self._accepted = None
            self._skip = end
            yield frame


def read_header(data: bytes | bytearray) -> Header:
    """Read the header at the start of a message. Raises ProtocolError."""
    order = _ORDERS[data[0]]
    _, type_, flags, _, body_length, serial, fields_length = struct.unpack_from(
        f"{order}BBBBIII", data
    )
    fields: dict[str, Any] = {}
    at = _FIXED_SIZE
    end = at + fields_length
    try:
        while at < end:
            at = _align(at, 8)
            code = data[at]
            value, at = _read_variant(data, at + 1, order)
            if code in _FIELDS:
                fields[_FIELDS[code][0]] = value
    except (IndexError, UnicodeDecodeError, struct.error) as error:
        raise ProtocolError("the header fields cannot be read") from error
    if at != end:
        raise ProtocolError("the header fields are longer than they say")
    return Header(order, type_, flags, serial, body_length, **fields)


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


def _extent(data: bytearray) -> tuple[int, int, int]:
    """Where the header fields end, where the body begins, and where it ends."""
    order = _ORDERS.get(data[0])
    if order is None:
        raise ProtocolError(f"a message begins with byte {data[0]}, which is no byte order")
    version, body_length, _, fields_length = struct.unpack_from(f"{order}xxxBIII", data)
    fields_end = _FIXED_SIZE + fields_length
    body_at = _align(fields_end, 8)
    end = body_at + body_length
    if version != _VERSION or end > MAX_MESSAGE:
        raise ProtocolError(f"a message has version {version} and {end} bytes")
    return fields_end, body_at, end


def _read_variant(data: bytes | bytearray, at: int, order: str) -> tuple[Any, int]:
    """Read the value of a header field, and say where it ends."""
    signature = bytes(data[at : at + 3])
    at += 3
    if signature in (b"\1s\0", b"\1o\0"):
        length = struct.unpack_from(f"{order}I", data, at)[0]
        at += 4
        return str(data[at : at + length], "utf-8"), at + length + 1
    if signature == b"\1g\0":
        length = data[at]
        at += 1
        return str(data[at : at + length], "ascii"), at + length + 1
    if signature == b"\1u\0":
        return struct.unpack_from(f"{order}I", data, at)[0], at + 4
    raise ProtocolError("a header field has a type that none has")


def _align(at: int, boundary: int) -> int:
    return -(-at // boundary) * boundary
