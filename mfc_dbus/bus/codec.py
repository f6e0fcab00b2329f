"""Encodes and decodes bodies of messages in plain Python, for programs that run once.

Loading a D-Bus library (backend.py) takes longer than most commands run. A body of thousands of
values is better left to the library.

Source: D-Bus specification, "Marshaling".
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from mfc_dbus.bus.errors import BusError, DecodeError
from mfc_dbus.bus.frames import Frame, MessageType
from mfc_dbus.bus.names import INVALID_SIGNATURE

_NUMBERS = {
    "y": "B",
    "n": "h",
    "q": "H",
    "b": "I",
    "i": "i",
    "u": "I",
    "x": "q",
    "t": "Q",
    "d": "d",
}
_ALIGNMENTS = {name: struct.calcsize(f"={code}") for name, code in _NUMBERS.items()}
_ALIGNMENTS |= {"s": 4, "o": 4, "g": 1, "v": 1, "a": 4, "(": 8, "{": 8}
_BRACKETS = {"(": ")", "{": "}"}
_SHORT = 256  # bytes of an array that is remembered
_MAX_KNOWN = 1000  # arrays that are remembered, of each type

# Reads the value at an offset of a body, and returns it with the offset behind it.
_Read = Callable[[bytes, int], tuple[Any, int]]


class Variant(NamedTuple):
    """A value that carries its type."""

    signature: str
    value: Any


def encode(signature: str, body: Sequence[Any]) -> bytes:
    """Encode a body, little-endian; variants are `Variant`."""
    data = bytearray()
    for type_, value in zip(types(signature), body, strict=True):
        _write(data, type_, value)
    return bytes(data)


def decode(signature: str, body: bytes, order: str = "<") -> list[Any]:
    """Decode a body; order: its byte order, "<" or ">" as in struct. Raises DecodeError.

    Equal short arrays may be one object: do not change them.
    """
    values = []
    at = 0
    try:
        for type_ in types(signature):
            value, at = _reader(type_, order)(body, at)
            values.append(value)
    except (IndexError, KeyError, ValueError, RecursionError, struct.error) as error:
        raise DecodeError(str(error)) from error
    return values


def read_reply(
    frame: Frame,
    member: str,
    returns: str | None,
    decode: Callable[[str, bytes, str], list[Any]] = decode,
) -> list[Any]:
    """Decode a reply; returns: the signature that it must have.

    Raises BusError, also where the reply is an error.
    """
    header = frame.header
    if header.type == MessageType.METHOD_RETURN and returns not in (None, header.signature):
        raise BusError(INVALID_SIGNATURE, f"{member} returned '{header.signature}'")
    try:
        values = decode(header.signature, frame.body, header.order)
    except DecodeError as error:
        raise BusError(INVALID_SIGNATURE, f"{member} returned what cannot be read") from error
    if header.type == MessageType.ERROR:
        message = values[0] if values and isinstance(values[0], str) else ""
        raise BusError(header.error_name, message)
    return values


@lru_cache(maxsize=64)
def types(signature: str) -> tuple[str, ...]:
    """Split a signature into complete types. Raises IndexError where the last one is cut off."""
    return tuple(_split(signature))


def _split(signature: str) -> Iterator[str]:
    start = 0
    while start < len(signature):
        end = _end_of_type(signature, start)
        yield signature[start:end]
        start = end


def _end_of_type(signature: str, at: int) -> int:
    while signature[at] == "a":
        at += 1
    closing = _BRACKETS.get(signature[at])
    at += 1
    if closing:
        while signature[at] != closing:
            at = _end_of_type(signature, at)
        at += 1
    return at


def _write(data: bytearray, type_: str, value: Any) -> None:
    kind = type_[0]
    data += bytes(-len(data) % _ALIGNMENTS[kind])
    if kind in _NUMBERS:
        data += struct.pack(f"<{_NUMBERS[kind]}", value)
    elif kind in "sog":
        text = value.encode()
        data += struct.pack("<B" if kind == "g" else "<I", len(text)) + text + b"\0"
    elif kind == "v":
        signature, inner = value
        _write(data, "g", signature)
        _write(data, signature, inner)
    elif kind == "a":
        _write_array(data, type_[1:], value)
    else:
        for inner, each in zip(types(type_[1:-1]), value, strict=True):
            _write(data, inner, each)


def _write_array(data: bytearray, type_: str, values: Any) -> None:
    length_at = len(data)
    data += bytes(4)
    data += bytes(-len(data) % _ALIGNMENTS[type_[0]])
    start = len(data)
    for value in values.items() if type_[0] == "{" else values:
        _write(data, type_, value)
    struct.pack_into("<I", data, length_at, len(data) - start)


@lru_cache(maxsize=128)
def _reader(type_: str, order: str) -> _Read:
    """Make the function that reads values of a single type."""
    kind = type_[0]
    if kind in _NUMBERS:
        return _number_reader(kind, order)
    if kind in "so":
        return _text_reader("u", order)
    if kind == "g":
        return _text_reader("y", order)
    if kind == "v":
        return _variant_reader(order)
    if kind == "a":
        return _bytes_reader(order) if type_ == "ay" else _array_reader(type_[1:], order)
    if kind not in _BRACKETS:
        raise ValueError(f"There is no type '{kind}'")
    return _struct_reader([_reader(inner, order) for inner in types(type_[1:-1])])


def _number_reader(kind: str, order: str) -> _Read:
    number = struct.Struct(order + _NUMBERS[kind])
    unpack, size = number.unpack_from, number.size

    def read(data: bytes, at: int) -> tuple[Any, int]:
        at = at + size - 1 & -size  # as `align` does: a long answer has 100,000 times as many
        (value,) = unpack(data, at)
        return value, at + size

    def read_boolean(data: bytes, at: int) -> tuple[bool, int]:
        value, at = read(data, at)
        return bool(value), at

    return read_boolean if kind == "b" else read


def _text_reader(length_kind: str, order: str) -> _Read:
    number = struct.Struct(order + _NUMBERS[length_kind])
    unpack, size = number.unpack_from, number.size

    def read(data: bytes, at: int) -> tuple[str, int]:
        start = (at + size - 1 & -size) + size
        (length,) = unpack(data, start - size)
        end = start + length
        if data[end]:
            raise ValueError("A string does not end where it says")
        return data[start:end].decode(), end + 1

    return read


def _variant_reader(order: str) -> _Read:
    read_signature = _text_reader("y", order)

    def read(data: bytes, at: int) -> tuple[Variant, int]:
        signature, at = read_signature(data, at)
        (inner,) = types(signature)
        value, at = _reader(inner, order)(data, at)
        return Variant(signature, value), at

    return read


def _struct_reader(readers: Sequence[_Read]) -> _Read:
    def read(data: bytes, at: int) -> tuple[list[Any], int]:
        at = at + 7 & -8
        values = []
        for read_one in readers:
            value, at = read_one(data, at)
            values.append(value)
        return values, at

    return read


def _bytes_reader(order: str) -> _Read:
    read_length = _number_reader("u", order)

    def read(data: bytes, at: int) -> tuple[bytes, int]:
        length, at = read_length(data, at)
        if len(data) < at + length:
            raise ValueError("An array is longer than its message")
        return data[at : at + length], at + length

    return read


def _array_reader(type_: str, order: str) -> _Read:
    """Make a reader that remembers short arrays: those of options come in thousands, and alike."""
    read_length = _number_reader("u", order)
    read_one = _reader(type_, order)
    make = dict if type_[0] == "{" else list
    boundary = _ALIGNMENTS[type_[0]]
    known: dict[tuple[int, bytes] | None, Any] = {}

    def read(data: bytes, at: int) -> tuple[Any, int]:
        length, at = read_length(data, at)
        at = at + boundary - 1 & -boundary
        end = at + length
        key = (at % 8, data[at:end]) if length <= _SHORT else None
        if key in known:
            return known[key], end
        found = []
        while at < end:
            value, at = read_one(data, at)
            found.append(value)
        if at != end:
            raise ValueError("An array does not end where it says")
        values = make(found)
        if key is not None and len(known) < _MAX_KNOWN:
            known[key] = values
        return values, end

    return read
