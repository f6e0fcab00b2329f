"""Routes as immutable values, parsed and validated once, at the edge (pure).

Addresses are packed, in network byte order; a source of zeros stands for any source.
"""

import socket
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from mfc_dbus.errors import InvalidArgs, TooManyInterfaces

MAX_VIFS = 32  # of the kernel, in each routing table
MAX_COMMENT = 200
MAX_TTL_THRESHOLD = 254  # 255 means never, and 0 does too

Family = socket.AddressFamily
FAMILIES = (socket.AF_INET, socket.AF_INET6)
FAMILY_NAMES = {socket.AF_INET: "ipv4", socket.AF_INET6: "ipv6"}
_ADDRESS_LENGTHS = {4: socket.AF_INET, 16: socket.AF_INET6}
_ANY_SOURCE = ("", "*")
_IFNAMSIZ = 16


class Oif(NamedTuple):
    """An outgoing interface; packets leave by it whose TTL is greater than the threshold."""

    name: str
    ttl: int = 1


class RouteKey(NamedTuple):
    """What makes a route another route: for any source, the kernel keeps one for each iif."""

    source: bytes
    group: bytes
    iif: str

    @property
    def family(self) -> Family:
        return _ADDRESS_LENGTHS[len(self.group)]


@dataclass(frozen=True, slots=True)
class Route:
    """One stream, the interface on which it arrives, and those by which it leaves.

    persistent: whether it outlives a reboot. expires: when it is to be removed, on the boot-time
    clock in nanoseconds; 0 is never. key: made of the others, and shared by all that index routes.
    """

    source: bytes
    group: bytes
    iif: str
    oifs: tuple[Oif, ...]
    comment: str = ""
    persistent: bool = True
    expires: int = 0
    key: RouteKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        key = RouteKey(self.source, self.group, self.iif if self.any_source else "")
        object.__setattr__(self, "key", key)

    @property
    def family(self) -> Family:
        return _ADDRESS_LENGTHS[len(self.group)]

    @property
    def any_source(self) -> bool:
        return not any(self.source)

    @property
    def durable(self) -> bool:
        """Whether it outlives a reboot: a boot-time clock does not."""
        return self.persistent and not self.expires

    @property
    def interfaces(self) -> tuple[str, ...]:
        """The iif, then the oifs."""
        return (self.iif, *[oif.name for oif in self.oifs])

    def over(self, present: Container[str]) -> "Route | None":
        """What of it can be in the kernel with these interfaces: nothing without the iif."""
        if self.iif not in present:
            return None
        oifs = [oif for oif in self.oifs if oif.name in present]
        return self if len(oifs) == len(self.oifs) else replace(self, oifs=tuple(oifs))

    def __str__(self) -> str:
        return stream(self.source, self.group)


class Edit(NamedTuple):
    """What becomes of a route; None is where there is none."""

    old: Route | None
    new: Route | None


@dataclass(frozen=True, slots=True)
class Prefix:
    """All addresses that share their first `length` bits."""

    address: bytes
    length: int

    def __contains__(self, address: bytes) -> bool:
        if len(address) != len(self.address):
            return False
        shift = 8 * len(address) - self.length
        return int.from_bytes(address) >> shift == int.from_bytes(self.address) >> shift


_MULTICAST = (Prefix(b"\xe0\0\0\0", 4), Prefix(b"\xff" + bytes(15), 8))


def parse_route(
    source: str,
    group: str,
    iif: str,
    oifs: Sequence[str],
    ttls: Mapping[str, int] | None = None,
    comment: str = "",
) -> Route:
    """Make a route of what a caller wrote.

    ttls: TTL thresholds, 1 to 254, of some of the oifs. Raises InvalidArgs, or TooManyInterfaces
    for more than 31 oifs.
    """
    # The number first: all other checks cost more, and a stranger chooses it.
    if len(oifs) >= MAX_VIFS:
        raise TooManyInterfaces(
            f"A route has at most {MAX_VIFS - 1} oifs, since the kernel knows "
            f"{MAX_VIFS} interfaces a table; this one has {len(oifs)}"
        )
    packed_source, packed_group = parse_stream(source, group)
    if not oifs:
        raise InvalidArgs("The route has no oif")
    for name in (iif, *oifs):
        parse_interface(name)
    if len(set(oifs)) < len(oifs):
        repeated = next(name for i, name in enumerate(oifs) if name in oifs[:i])
        raise InvalidArgs(f"Oif {quote(repeated)} is named twice")
    if iif in oifs:
        raise InvalidArgs(f"Interface {quote(iif)} is both the iif and an oif")
    ttls = ttls or {}
    if ttls and len(packed_group) == 16:
        raise InvalidArgs("IPv6 has no TTL thresholds: leave out 'ttls'")
    for name, ttl in ttls.items():
        if name not in oifs:
            raise InvalidArgs(f"'ttls' names {quote(name)}, which is not an oif of the route")
        if not 1 <= ttl <= MAX_TTL_THRESHOLD:
            raise InvalidArgs(
                f"TTL threshold {ttl} of {quote(name)} is not from 1 to {MAX_TTL_THRESHOLD}"
            )
    if len(comment) > MAX_COMMENT:
        raise InvalidArgs(f"The comment has {len(comment)} characters, {MAX_COMMENT} are allowed")
    if not comment.isprintable():
        raise InvalidArgs("The comment has control characters")
    return Route(
        packed_source,
        packed_group,
        iif,
        tuple(Oif(name, ttls.get(name, 1)) for name in oifs),
        comment,
    )


def parse_stream(source: str, group: str) -> tuple[bytes, bytes]:
    """Make packed addresses of a source ("", "*", 0.0.0.0 or :: for any) and a multicast group.

    Raises InvalidArgs, also for a stream that no kernel forwards.
    """
    packed_group = _parse_group(group)
    if source in _ANY_SOURCE:
        return bytes(len(packed_group)), packed_group
    packed_source = _parse_address(source, "Source")
    if len(packed_source) != len(packed_group):
        raise InvalidArgs(f"Source {quote(source)} and group {quote(group)} mix IPv4 and IPv6")
    _check_source(packed_source, source)
    return packed_source, packed_group


def parse_group_prefix(text: str) -> Prefix:
    """Make a prefix of groups: a group, or one with a slash and the number of leading bits."""
    address, slash, digits = text.partition("/")
    packed = _parse_address(address, "Group")
    bits = 8 * len(packed)
    length = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 3 else None
    if slash and (length is None or length > bits):
        raise InvalidArgs(f"Prefix length {quote(digits)} is not from 0 to {bits}")
    prefix = Prefix(packed, bits if length is None else length)
    if not any(prefix.length >= all_.length and packed in all_ for all_ in _MULTICAST):
        raise InvalidArgs(f"{quote(text)} is no prefix of multicast groups")
    return prefix


def parse_interface(name: str) -> str:
    """Check that this can be the name of a network interface at all (dev_valid_name in Linux)."""
    if (
        not name.isprintable()
        or any(character in name for character in " /:")
        or name in ("", ".", "..")
        or len(name.encode()) >= _IFNAMSIZ
    ):
        raise InvalidArgs(f"{quote(name)} is not an interface name")
    return name


def format_address(packed: bytes) -> str:
    """Write a packed address in its usual text form."""
    return socket.inet_ntop(_ADDRESS_LENGTHS[len(packed)], packed)


def format_source(packed: bytes) -> str:
    """Write a packed source, any source as "*"."""
    return format_address(packed) if any(packed) else "*"


def stream(source: bytes, group: bytes) -> str:
    """Write a stream as people in the field do: (S, G)."""
    return f"({format_source(source)}, {format_address(group)})"


def quote(text: str) -> str:
    """Quote what a stranger wrote for use in a sentence: short, and nothing in it but text."""
    shown = text if len(text) <= 40 else text[:40] + "…"
    return "'" + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown) + "'"


def join(names: Iterable[str]) -> str:
    """Quote names in a row."""
    return ", ".join(quote(name) for name in names)


def _parse_address(text: str, what: str) -> bytes:
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    try:
        return socket.inet_pton(family, text)
    except (OSError, ValueError):  # ValueError: NUL, or a lone surrogate
        raise InvalidArgs(f"{what} {quote(text)} is not an IPv4 or IPv6 address") from None


def _parse_group(text: str) -> bytes:
    group = _parse_address(text, "Group")
    if len(group) == 4:
        if not 224 <= group[0] <= 239:
            raise InvalidArgs(f"Group {quote(text)} is not a multicast address (224.0.0.0/4)")
        if group[:3] == b"\xe0\0\0":
            raise InvalidArgs(
                f"Group {quote(text)} is link-local (224.0.0.0/24) and never forwarded"
            )
        return group
    if group[0] != 0xFF:
        raise InvalidArgs(f"Group {quote(text)} is not a multicast address (ff00::/8)")
    scope = group[1] & 0x0F
    if scope <= 2:  # RFC 4291, 2.7
        name = ("reserved", "interface-local", "link-local")[scope]
        raise InvalidArgs(f"Group {quote(text)} has {name} scope and is never forwarded")
    return group


def _check_source(source: bytes, text: str) -> None:
    if not any(source):
        return
    if len(source) == 4:
        refused = {
            "a multicast address": 224 <= source[0] <= 239,
            "the broadcast address": source == b"\xff\xff\xff\xff",
            "a loopback address": source[0] == 127,
            "in 0.0.0.0/8, which is no host's": source[0] == 0,
        }
    else:
        refused = {
            "a multicast address": source[0] == 0xFF,
            "the loopback address": source == bytes(15) + b"\x01",
            "link-local: it must not leave its link": source[0] == 0xFE and source[1] >> 6 == 2,
            "an IPv4-mapped address": source[:12] == bytes(10) + b"\xff\xff",
        }
    for reason, applies in refused.items():
        if applies:
            raise InvalidArgs(f"Source {quote(text)} is {reason}, so it is never forwarded")
