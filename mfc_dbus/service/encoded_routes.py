"""Routes as they go over the bus, encoded once for each change.

100,000 routes are one property. Encoded anew for each reader they would take seconds, in which
nobody else is served; so each is kept as its bytes, which are the same wherever it stands in an
array: a struct begins at a multiple of 8, and each is padded to one.
"""

import struct
from collections.abc import Iterator, Sequence

from mfc_dbus.bus.backend import Variant, decode, encode
from mfc_dbus.control.status_changes import Status
from mfc_dbus.model.addresses import format_source
from mfc_dbus.model.errors import LimitExceeded
from mfc_dbus.model.route import RouteKey

ROUTE = "(sssasa{sv})"
ROUTES = f"a{ROUTE}"
# The bus disconnects whoever sends more than 32 MiB in one message.
MAX_BYTES = 24 * 1024 * 1024
_MAX_IN_SIGNAL = 1000


class WireRoutes:
    """All routes in their encoded form, by key."""

    def __init__(self) -> None:
        self._routes: dict[RouteKey, bytes] = {}
        self._bytes = 0

    def copy(self) -> "WireRoutes":
        copied = WireRoutes()
        copied._routes, copied._bytes = self._routes.copy(), self._bytes
        return copied

    def put(self, status: Status) -> bytes:
        """Encode and keep a route, in place of the one with its key; padded to a multiple of 8."""
        encoded = encode_route(status)
        encoded += bytes(-len(encoded) % 8)
        key = status.route.key
        self._bytes += len(encoded) - len(self._routes.get(key, b""))
        self._routes[key] = encoded
        return encoded

    def remove(self, status: Status) -> bytes:
        """Forget a route; how it was."""
        encoded = self._routes.pop(status.route.key)
        self._bytes -= len(encoded)
        return encoded

    @property
    def too_long(self) -> bool:
        """Whether all of them are too much for one message."""
        return self._bytes > MAX_BYTES

    def as_variant(self) -> bytes:
        """Encode the property, as the variant that a message begins with."""
        return b"".join(_variant(self._all(), 0, self._bytes))

    def added_to(self, properties: bytes) -> bytes:
        """Add the property to an encoded a{sv} that has others in it."""
        key = b"Routes"
        entry = struct.pack("<I", len(key)) + key + b"\0"
        head = properties + bytes(-len(properties) % 8) + entry
        pieces = _variant(self._all(), len(head), self._bytes)
        # The dictionary's length, without itself and the padding before its first entry.
        length = len(head) + sum(map(len, pieces)) - 8
        return b"".join([struct.pack("<I", length), head[4:], *pieces])

    def _all(self) -> Sequence[bytes]:
        if self.too_long:
            raise LimitExceeded(
                f"All {len(self._routes)} routes are more than {MAX_BYTES >> 20} MiB, too much for "
                "one message: ask Describe for some at a time"
            )
        return [*self._routes.values()]


def encode_route(status: Status) -> bytes:
    """Encode a route as it stands at a multiple of 8."""
    route = status.route
    extra = {"state": Variant("s", status.state)}
    ttls = {oif.name: oif.ttl for oif in route.oifs if oif.ttl != 1}
    if status.reason:
        extra["reason"] = Variant("s", status.reason)
    if ttls:
        extra["ttls"] = Variant("a{sy}", ttls)
    if route.comment:
        extra["comment"] = Variant("s", route.comment)
    if not route.persistent:
        extra["persistent"] = Variant("b", False)
    if route.table:
        extra["table"] = Variant("u", route.table)
    if route.hairpin:
        extra["hairpin"] = Variant("b", True)
    if route.expires:
        extra["expires"] = Variant("t", route.expires // 1000)
    if route.file:
        extra["origin"] = Variant("s", route.origin)
    values = [
        format_source(route.source),
        str(route.group),
        route.iif,
        [oif.name for oif in route.oifs],
        extra,
    ]
    return encode(ROUTE, [values])


def signal_bodies(encoded: list[bytes]) -> Iterator[bytes]:
    """Encode the bodies of the signals that tell of these routes, at most 1,000 in each.

    encoded: as `WireRoutes` does.
    """
    for start in range(0, len(encoded), _MAX_IN_SIGNAL):
        some = encoded[start : start + _MAX_IN_SIGNAL]
        yield b"".join(_array(some, 0, sum(map(len, some))))


def _variant(structs: Sequence[bytes], at: int, size: int) -> list[bytes]:
    head = bytes((len(ROUTES),)) + ROUTES.encode() + b"\0"
    return [head, *_array(structs, at + len(head), size)]


def _array(structs: Sequence[bytes], at: int, size: int) -> list[bytes]:
    """Encode an array of structs that stands at an offset of its message's body.

    In pieces: they may be megabytes, of which each copy keeps others waiting. size: of all.
    """
    pieces = list(structs)
    if pieces:  # what pads the last one is no part of the array
        size -= len(pieces[-1])
        pieces[-1] = encode(ROUTE, decode(ROUTE, pieces[-1]))
        size += len(pieces[-1])
    lead = bytes(-at % 4)
    first = at + len(lead) + 4
    return [lead, struct.pack("<I", size), bytes(-first % 8), *pieces]
