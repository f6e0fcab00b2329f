"""Looks at the variants of a body before it is decoded.

Whoever calls chooses their types, and 4 KiB of nested ones take a library 30 ms to decode. Options
have simple types.
"""

import re
import struct
from functools import lru_cache
from typing import NamedTuple

_BASIC = "ybnqiuxtdsog"
_SIMPLE = frozenset({*_BASIC, "as", "a{sy}"})
_SIZES = {"y": 1, "n": 2, "q": 2, "b": 4, "i": 4, "u": 4, "x": 8, "t": 8, "d": 8}
_DICT = "a{sv}"
_ARGUMENT = re.compile(rf"a\{{sv\}}|as|[v{_BASIC}]")


class Strange(NamedTuple):
    """A variant of a type that is not simple; without a name it is an argument and no option."""

    name: str
    type: str


def strange(signature: str, body: bytes, order: str) -> Strange | None:
    """Find a variant among the arguments or options whose type is not simple.

    None is also the answer for arguments of types that this does not know. Raises ValueError for a
    body that is shorter than it says.
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
                    key = _align(at, 8)
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
    """Where a variant ends, if its type is simple, and what its signature is."""
    start = at + 1
    end = start + body[at]
    signature = body[start:end].decode("ascii", "replace")
    return _skip(signature, body, end + 1, order) if signature in _SIMPLE else end, signature


def _skip(type_: str, body: bytes, at: int, order: str) -> int:
    """Where a value of a simple type ends."""
    size = _SIZES.get(type_)
    if size:
        return _align(at, size) + size
    if type_ == "g":
        return at + body[at] + 2
    if type_ in "so":
        at = _align(at, 4)
        return at + 5 + int(struct.unpack_from(f"{order}I", body, at)[0])
    return _array(type_, body, at, order)[1]


def _array(type_: str, body: bytes, at: int, order: str) -> tuple[int, int]:
    """Where the first item of an array is, and where the array ends."""
    at = _align(at, 4)
    start = at + 4
    if type_[1] == "{":
        start = _align(start, 8)
    return start, start + struct.unpack_from(f"{order}I", body, at)[0]


def _align(at: int, boundary: int) -> int:
    return -(-at // boundary) * boundary
