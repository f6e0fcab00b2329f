"""Finds variants of types that no option has, before a body is decoded.

Callers choose the types of variants, and 4 KiB of nested ones take a library 30 ms to decode.
"""

import re
import struct
from functools import lru_cache
from typing import NamedTuple

from mfc_dbus.bus.frames import align

_BASIC = "ybnqiuxtdsog"
_SIMPLE = frozenset({*_BASIC, "as", "a{sy}"})
_SIZES = {"y": 1, "n": 2, "q": 2, "b": 4, "i": 4, "u": 4, "x": 8, "t": 8, "d": 8}
_DICT = "a{sv}"
_ARGUMENT = re.compile(rf"a\{{sv\}}|as|[v{_BASIC}]")


class Strange(NamedTuple):
    """A variant of a type that is not simple; `name` is its option's, empty for an argument."""

    name: str
    type: str


def strange(signature: str, body: bytes, order: str) -> Strange | None:
    """Find the first variant among the arguments or options whose type is not simple.

    Returns None also for a signature with other types than `_ARGUMENT` knows. Raises ValueError for
    a body that is too short.
    """
    at = 0
    try:
        for type_ in _arguments(signature):
            if type_ == "v":
                at, found = _variant(body, at, order)
                if found not in _SIMPLE:
                    return Strange("", found)
            elif type_ == _DICT:
                start, end = _array(type_, body, at, order)
                at = start
                while at < end:
                    key = align(at, 8)
                    value = _skip("s", body, key, order)
                    at, found = _variant(body, value, order)
                    if found not in _SIMPLE:
                        name = body[key + 4 : value - 1].decode(errors="replace")
                        return Strange(name, found)
            else:
                at = _skip(type_, body, at, order)
    except (IndexError, struct.error) as error:
        raise ValueError("the body is too short") from error
    return None


@lru_cache
def _arguments(signature: str) -> list[str]:
    types = _ARGUMENT.findall(signature)
    return types if "".join(types) == signature else []


def _variant(body: bytes, at: int, order: str) -> tuple[int, str]:
    """Return the offset behind a variant, if its type is simple, and its signature."""
    start = at + 1
    end = start + body[at]
    signature = body[start:end].decode("ascii", "replace")
    return _skip(signature, body, end + 1, order) if signature in _SIMPLE else end, signature


def _skip(type_: str, body: bytes, at: int, order: str) -> int:
    """Return the offset behind a value of a simple type."""
    size = _SIZES.get(type_)
    if size:
        return align(at, size) + size
    if type_ == "g":
        return at + body[at] + 2
    if type_ in "so":
        at = align(at, 4)
        return at + 5 + int(struct.unpack_from(f"{order}I", body, at)[0])
    return _array(type_, body, at, order)[1]


def _array(type_: str, body: bytes, at: int, order: str) -> tuple[int, int]:
    """Return the offset of an array's first item, and the offset behind the array."""
    at = align(at, 4)
    start = at + 4
    if type_[1] == "{":
        start = align(start, 8)
    return start, start + struct.unpack_from(f"{order}I", body, at)[0]
