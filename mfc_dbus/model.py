"""Routes and memberships as immutable values, parsed and validated once, at the edge (pure).

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


class TableId(NamedTuple):
    """A multicast routing table of the kernel.

    Number 0 is the default table, which packets use where no rule names another.
    """

    family: Family
    number: int = 0

    def __str__(self) -> str:
        return FAMILY_NAMES[self.family] + (f"/{self.number}" if self.number else "")


class Oif(NamedTuple):
    """An outgoing interface; packets leave by it whose TTL is greater than the threshold."""

    name: str
    ttl: int = 1


class RouteKey(NamedTuple):
    """What makes a route another route: for any source, the kernel keeps one for each iif."""

    source: bytes
    group: bytes
    iif: str
    table: int = 0

    @property
    def table_id(self) -> TableId:
        return TableId(family_of(self.group), self.table)


@dataclass(frozen=True, slots=True)
class Route:
    """One stream, the interface on which it arrives, and those by which it leaves.

    persistent: whether it outlives a reboot. expires: when it is to be removed, on the boot-time
    clock in nanoseconds; 0 is never. file: the one of the configuration that has it, empty for one
    that was made over the bus. table: its number. key: made of the others, and shared by all that
    index routes.
    """

    source: bytes
    group: bytes
    iif: str
    oifs: tuple[Oif, ...]
    comment: str = ""
    persistent: bool = True
    expires: int = 0
    file: str = ""
    table: int = 0
    key: RouteKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        iif = self.iif if self.any_source else ""
        key = RouteKey(self.source, self.group, iif, self.table)
        object.__setattr__(self, "key", key)

    @property
    def family(self) -> Family:
        return family_of(self.group)

    @property
    def table_id(self) -> TableId:
        return TableId(self.family, self.table)

    @property
    def any_source(self) -> bool:
        return not any(self.source)

    @property
    def durable(self) -> bool:
        """Whether it outlives a reboot: a boot-time clock does not."""
        return self.persistent and not self.expires

    @property
    def origin(self) -> str:
        return "config" if self.file else "bus"

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


@dataclass(frozen=True, slots=True)
class MembershipKey:
    """What makes a membership another one. No tuple: as such it could equal a route's key."""

    group: bytes
    source: bytes
    interface: str


@dataclass(frozen=True, slots=True)
class Membership:
    """A group, or what one source sends to it, that is joined on an interface by IGMP or MLD.

    persistent: whether it outlives a reboot.
    """

    group: bytes
    source: bytes
    interface: str
    comment: str = ""
    persistent: bool = True

    @property
    def durable(self) -> bool:
        return self.persistent

    @property
    def key(self) -> MembershipKey:
        return MembershipKey(self.group, self.source, self.interface)

    def __str__(self) -> str:
        return f"{stream(self.source, self.group)} on {quote(self.interface)}"


Key = RouteKey | MembershipKey
Desired = Route | Membership


class Edit(NamedTuple):
    """What becomes of a route or membership; None is where there is none."""

    old: Desired | None
    new: Desired | None


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

    def __str__(self) -> str:
        return f"{format_address(self.address)}/{self.length}"


# By the length of an address.
_MULTICAST = {4: Prefix(b"\xe0\0\0\0", 4), 16: Prefix(b"\xff" + bytes(15), 8)}
_SCOPES = ("reserved", "interface-local", "link-local")  # RFC 4291, 2.7
_LINK_LOCAL = 2


def parse_route(
    source: str,
    group: str,
    iif: str,
    oifs: Sequence[str],
    ttls: Mapping[str, int] | None = None,
    comment: str = "",
    table: int = 0,
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
    _check_comment(comment)
    return Route(
        packed_source,
        packed_group,
        iif,
        tuple(Oif(name, ttls.get(name, 1)) for name in oifs),
        comment,
        table=table,
    )


def parse_stream(source: str, group: str) -> tuple[bytes, bytes]:
    """Make packed addresses of a source ("", "*", 0.0.0.0 or :: for any) and a multicast group.

    Raises InvalidArgs, also for a stream that no kernel forwards.
    """
    packed_group = _parse_group(group)
    packed_source = _parse_source(source, group, len(packed_group))
    reason = _not_a_host(packed_source) or _not_beyond_link(packed_source)
    if reason:
        raise InvalidArgs(f"Source {quote(source)} is {reason}, so it is never forwarded")
    return packed_source, packed_group


def parse_membership(group: str, source: str, interface: str, comment: str = "") -> Membership:
    """Make a membership of what a caller wrote; the source as of a route. Raises InvalidArgs."""
    packed_group = _parse_multicast(group)
    packed_source = _parse_source(source, group, len(packed_group))
    reason = _not_a_host(packed_source)
    if reason:
        raise InvalidArgs(f"Source {quote(source)} is {reason}, so it sends nothing")
    if len(packed_group) == 16 and _scope(packed_group) < _LINK_LOCAL:
        name = _SCOPES[_scope(packed_group)]
        raise InvalidArgs(f"Group {quote(group)} has {name} scope and is on no network")
    _check_comment(comment)
    return Membership(packed_group, packed_source, parse_interface(interface), comment)


def parse_group_prefix(text: str) -> Prefix:
    """Make a prefix of groups: a group, or one with a slash and the number of leading bits."""
    prefix = _parse_prefix(text, "Group")
    multicast = _MULTICAST[len(prefix.address)]
    if prefix.length < multicast.length or prefix.address not in multicast:
        raise InvalidArgs(f"{quote(text)} is no prefix of multicast groups")
    return prefix


def parse_source_prefix(text: str) -> Prefix:
    """Make a prefix of sources, in the same form."""
    return _parse_prefix(text, "Source")


def _parse_prefix(text: str, what: str) -> Prefix:
    address, slash, digits = text.partition("/")
    packed = _parse_address(address, what)
    bits = 8 * len(packed)
    length = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 3 else None
    if slash and (length is None or length > bits):
        raise InvalidArgs(f"Prefix length {quote(digits)} is not from 0 to {bits}")
    return Prefix(packed, bits if length is None else length)


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


def family_of(packed: bytes) -> Family:
    """Tell the family of a packed address."""
    return _ADDRESS_LENGTHS[len(packed)]


def format_address(packed: bytes) -> str:
    """Write a packed address in its usual text form."""
    return socket.inet_ntop(family_of(packed), packed)


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


def _parse_source(text: str, group: str, length: int) -> bytes:
    """Read the source of a group whose address has this length."""
    if text in _ANY_SOURCE:
        return bytes(length)
    source = _parse_address(text, "Source")
    if len(source) != length:
        raise InvalidArgs(f"Source {quote(text)} and group {quote(group)} mix IPv4 and IPv6")
    return source


def _parse_multicast(text: str) -> bytes:
    group = _parse_address(text, "Group")
    prefix = _MULTICAST[len(group)]
    if group not in prefix:
        raise InvalidArgs(f"Group {quote(text)} is not a multicast address ({prefix})")
    return group


def _parse_group(text: str) -> bytes:
    """Read a group that can be forwarded."""
    group = _parse_multicast(text)
    if group[:3] == b"\xe0\0\0":
        raise InvalidArgs(f"Group {quote(text)} is link-local (224.0.0.0/24) and never forwarded")
    if len(group) == 16 and _scope(group) <= _LINK_LOCAL:
        raise InvalidArgs(
            f"Group {quote(text)} has {_SCOPES[_scope(group)]} scope and is never forwarded"
        )
    return group


def _scope(group: bytes) -> int:
    return group[1] & 0x0F


def _not_a_host(source: bytes) -> str:
    """Find why no host can have this address, which is not that of any source."""
    if not any(source):
        return ""
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
            "an IPv4-mapped address": source[:12] == bytes(10) + b"\xff\xff",
        }
    return next((reason for reason, applies in refused.items() if applies), "")


def _not_beyond_link(source: bytes) -> str:
    local = len(source) == 16 and source[0] == 0xFE and source[1] >> 6 == 2
    return "link-local: it must not leave its link" if local else ""


def _check_comment(comment: str) -> None:
    if len(comment) > MAX_COMMENT:
        raise InvalidArgs(f"The comment has {len(comment)} characters, {MAX_COMMENT} are allowed")
    if not comment.isprintable():
        raise InvalidArgs("The comment has control characters")
