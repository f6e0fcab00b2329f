"""Routes as they go over the bus, encoded once for each change.

100,000 routes are one property, and to encode them anew for each reader would take seconds. So
each is kept as its bytes, which are the same wherever it stands in an array: a struct begins at a
multiple of 8, and all but the last are padded to one.
"""

import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache
from operator import attrgetter
from typing import Any

from mfc_dbus.bus.backend import Variant, encode
from mfc_dbus.loop.slices import let_go
from mfc_dbus.model.addresses import Prefix, format_source
from mfc_dbus.model.errors import LimitExceeded
from mfc_dbus.model.members import ROUTES
from mfc_dbus.model.options import ROUTE as OPTIONS
from mfc_dbus.model.options import TTLS
from mfc_dbus.model.route import Oif, RouteKey
from mfc_dbus.model.states import RouteState
from mfc_dbus.model.status import Status

# The bus disconnects whoever sends more than 32 MiB in one message.
MAX_BYTES = 24 * 1024 * 1024
_MAX_IN_SIGNAL = 1000
_LENGTH = struct.Struct("<I")
_OTHERS = [option for option in OPTIONS if option is not TTLS]  # which the oifs have
_read_others = attrgetter(*(option.name for option in _OTHERS))
_PADDED_NUL = [bytes(4 - length) for length in range(4)]  # by the length of a text, modulo 4


class EncodedRoutes:
    """All routes in their encoded form, by key."""

    def __init__(self) -> None:
        self._routes: dict[RouteKey, bytes] = {}
        self._bytes = 0

    def copy(self) -> "EncodedRoutes":
        copied = EncodedRoutes()
        copied._routes, copied._bytes = self._routes.copy(), self._bytes
        return copied

    async def let_go(self) -> None:
        """Forget all routes, in slices: others have taken their place."""
        self._bytes = 0
        await let_go(self._routes)

    def put(self, status: Status) -> bytes:
        """Keep a route, in place of the one with its key. Return it encoded, padded to 8 bytes."""
        encoded = _align(encode_route(status), 8)
        key = status.route.key
        self._bytes += len(encoded) - len(self._routes.get(key, b""))
        self._routes[key] = encoded
        return encoded

    def remove(self, status: Status) -> bytes:
        """Forget a route. Return it as it was encoded."""
        encoded = self._routes.pop(status.route.key)
        self._bytes -= len(encoded)
        return encoded

    @property
    def too_long(self) -> bool:
        """Whether all routes are too much for one message."""
        return self._bytes > MAX_BYTES

    def as_variant(self) -> bytearray:
        """Return the property as a variant, encoded for the beginning of a body."""
        return self._as_variant_after(b"")

    def added_to(self, properties: bytes) -> bytearray:
        """Return an encoded a{sv} of other properties with this one added."""
        body = self._as_variant_after(_align(properties, 8) + _string("Routes"))
        # The dictionary's length, without itself and the padding before its first entry.
        _LENGTH.pack_into(body, 0, len(body) - 8)
        return body

    def _as_variant_after(self, before: bytes) -> bytearray:
        if self.too_long:
            raise LimitExceeded(
                f"All {len(self._routes)} routes are more than {MAX_BYTES >> 20} MiB, too much for "
                "one message: ask Describe for some at a time"
            )
        signature = bytes((len(ROUTES),)) + ROUTES.encode() + b"\0"
        return _array_after(before + signature, self._routes.values())


def encode_route(status: Status) -> bytes:
    """Encode a route for a place in a body that is a multiple of 8."""
    route, state, reason = status
    group = str(route.group).encode()
    length = len(group)
    # The NUL at its end, and what pads that for the string that follows.
    end = _PADDED_NUL[length % 4]
    names = _encode_source(route.source) + _LENGTH.pack(length) + group + end
    after_group = _encode_after_group(
        route.iif,
        route.oifs,
        state,
        reason,
        _read_others(route),
        route.expires,
        route.origin if route.file else "",
        len(names) % 8,
    )
    return names + after_group


@lru_cache(maxsize=1024)
def _encode_after_group(
    iif: str,
    oifs: tuple[Oif, ...],
    state: RouteState,
    reason: str,
    others: tuple[Any, ...],
    expires: int,
    origin: str,
    at: int,
) -> bytes:
    """Encode the fields after source and group, which are the same for very many routes.

    others: the values of the options but TTL thresholds. origin: empty for the bus, the usual one.
    at: the place in the body, 0 or 4 more than a multiple of 8.
    """
    ttls = {oif.name: oif.ttl for oif in oifs if oif.ttl != 1}
    extra = {}
    if reason:
        extra["reason"] = Variant("s", reason)
    if ttls:
        extra[TTLS.name] = Variant(TTLS.signature, ttls)
    for option, value in zip(_OTHERS, others, strict=True):
        if value != option.default:
            extra[option.name] = Variant(option.signature, value)
    if expires:
        extra["expires"] = Variant("t", expires // 1000)
    if origin:
        extra["origin"] = Variant("s", origin)
    extra["state"] = Variant("s", state)  # the last one, for `_without_padding`
    return encode("y" * at + "sasa{sv}", [*bytes(at), iif, [oif.name for oif in oifs], extra])[at:]


@lru_cache(maxsize=4096)
def _encode_source(source: Prefix) -> bytes:
    """Encode a source, which many routes share, padded for the string that follows it."""
    return _align(_string(format_source(source)), 4)


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<I", len(data)) + data + b"\0"


def signal_bodies(encoded: list[bytes]) -> Iterator[bytearray]:
    """Yield the bodies of the signals for these routes, with at most 1,000 routes in each.

    encoded: the routes as `EncodedRoutes` returns them.
    """
    for start in range(0, len(encoded), _MAX_IN_SIGNAL):
        yield _array_after(b"", encoded[start : start + _MAX_IN_SIGNAL])


def _without_padding(route: bytes) -> bytes:
    """Cut off what pads an encoded route: it ends with its state, which is text and never empty."""
    return route.rstrip(b"\0") + b"\0"


def _align(encoded: bytes, size: int) -> bytes:
    missing = -len(encoded) % size
    return encoded + bytes(missing) if missing else encoded


def _array_after(before: bytes, structs: Iterable[bytes]) -> bytearray:
    """Return a body that begins with some bytes, and ends with an array of structs.

    It may be megabytes: so it is put together once, and its length is written into it.
    """
    head = _align(before, 4) + bytes(4)  # the array's length, which is known at last
    pieces = [_align(head, 8), *structs]
    if len(pieces) > 1:  # the array ends before the padding of its last struct
        pieces[-1] = _without_padding(pieces[-1])
    body = bytearray().join(pieces)
    _LENGTH.pack_into(body, len(head) - 4, len(body) - len(pieces[0]))
    return body
