"""Routes and memberships as immutable values, parsed and validated once, at the edge (pure).

A membership's addresses are packed; a source of zeros stands for any source.
"""

import functools
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from sys import intern
from typing import NamedTuple

from mfc_dbus.model.addresses import (
    FAMILY_BY_LENGTH,
    FAMILY_NAMES,
    Family,
    Prefix,
    addresses,
    count,
    exactly,
    is_link_local,
    of_source,
    parse_joined,
    parse_stream,
    stream,
)
from mfc_dbus.model.errors import InvalidArgs, LimitExceeded, TooManyInterfaces
from mfc_dbus.model.interfaces import is_pattern, matches
from mfc_dbus.model.quoting import join, quote

MAX_VIFS = 32  # of the kernel, in each routing table
MAX_COMMENT = 200
MAX_TTL_THRESHOLD = 254  # 255 means never, and 0 does too
MAX_RANGE = 1024  # memberships that one call joins

_IFNAMSIZ = 16
_MAX_PATTERN = 64


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
    """What makes a route another route: of more than one stream there is one for each iif."""

    source: Prefix
    group: Prefix
    iif: str
    table: int = 0

    @property
    def table_id(self) -> TableId:
        return TableId(self.group.family, self.table)


@dataclass(frozen=True, slots=True)
class Route:
    """Streams, the interface on which they arrive, and those by which they leave.

    Without an oif it stops them: what a wider route would forward is not.

    persistent: whether it outlives a reboot. expires: when it is to be removed, on the boot-time
    clock in nanoseconds; 0 is never. file: the one of the configuration that has it, empty for one
    that was made over the bus. table: its number. hairpin: whether streams leave by the interface
    that they arrive on too, where that is among the oifs. key: made of the others, and shared by
    all that index routes.
    """

    source: Prefix
    group: Prefix
    iif: str
    oifs: tuple[Oif, ...]
    comment: str = ""
    persistent: bool = True
    expires: int = 0
    file: str = ""
    table: int = 0
    hairpin: bool = False
    key: RouteKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        exact = self.source.exact and self.group.exact
        key = RouteKey(self.source, self.group, "" if exact else self.iif, self.table)
        object.__setattr__(self, "key", key)

    @property
    def family(self) -> Family:
        return self.group.family

    @property
    def table_id(self) -> TableId:
        return TableId(self.group.family, self.table)

    @property
    def exact(self) -> bool:
        """Whether it is of one stream."""
        return not self.key.iif

    @property
    def single(self) -> bool:
        """Whether it is of one stream from one interface."""
        return self.exact and not is_pattern(self.iif)

    @property
    def sends_back(self) -> bool:
        """Whether its iif is among the oifs, and meant to be."""
        return self.hairpin and any(matches(oif.name, self.iif) for oif in self.oifs)

    @property
    def durable(self) -> bool:
        """Whether it outlives a reboot: a boot-time clock does not."""
        return self.persistent and not self.expires

    @property
    def origin(self) -> str:
        return "config" if self.file else "bus"

    @property
    def interfaces(self) -> tuple[str, ...]:
        """The iif, then the oifs, each once."""
        oifs = [oif.name for oif in self.oifs if not (self.hairpin and oif.name == self.iif)]
        return (self.iif, *oifs)

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

    persistent: whether it outlives a reboot. file: the one of the configuration that has it, empty
    for one that was made over the bus.
    """

    group: bytes
    source: bytes
    interface: str
    comment: str = ""
    persistent: bool = True
    file: str = ""

    @property
    def durable(self) -> bool:
        return self.persistent

    @property
    def origin(self) -> str:
        return "config" if self.file else "bus"

    @property
    def key(self) -> MembershipKey:
        return MembershipKey(self.group, self.source, self.interface)

    def __str__(self) -> str:
        return f"{stream(of_source(self.source), exactly(self.group))} on {quote(self.interface)}"


@dataclass(frozen=True, slots=True)
class MembershipRange:
    """The memberships of all groups and sources of prefixes; a source of length 0 is any source."""

    groups: Prefix
    sources: Prefix
    interface: str

    @property
    def single(self) -> MembershipKey | None:
        """The one membership that it is, or None for many."""
        if self._size > 1:
            return None
        return MembershipKey(self.groups.address, self.sources.address, self.interface)

    @property
    def _size(self) -> int:
        return count(self.groups) * (count(self.sources) if self.sources.length else 1)

    def covers(self, key: MembershipKey) -> bool:
        """Whether a membership is one of these. Any source is not among single ones."""
        if key.interface != self.interface or key.group not in self.groups:
            return False
        return any(key.source) == bool(self.sources.length) and key.source in self.sources

    def memberships(self, comment: str = "", *, persistent: bool = True) -> list[Membership]:
        """Make each of them. Raises LimitExceeded for more than MAX_RANGE."""
        if self._size > MAX_RANGE:
            raise LimitExceeded(
                f"{stream(self.sources, self.groups)} stands for {self._size} memberships, "
                f"and at most {MAX_RANGE} are joined at once"
            )
        sources = [*addresses(self.sources)] if self.sources.length else [self.sources.address]
        return [
            Membership(group, source, self.interface, comment, persistent)
            for group in addresses(self.groups)
            for source in sources
        ]

    def __str__(self) -> str:
        return f"{stream(self.sources, self.groups)} on {quote(self.interface)}"


Key = RouteKey | MembershipKey
Desired = Route | Membership


class Edit(NamedTuple):
    """What becomes of a route or membership; None is where there is none."""

    old: Desired | None
    new: Desired | None


def parse_route(
    source: str,
    group: str,
    iif: str,
    oifs: Sequence[str],
    ttls: Mapping[str, int] | None = None,
    comment: str = "",
    table: int = 0,
    *,
    hairpin: bool = False,
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
    sources, groups = parse_stream(source, group)
    if oifs and is_link_local(sources):
        raise InvalidArgs(
            f"Source {quote(source)} is link-local, and a router has to keep it on its link "
            "(RFC 4007): only a route without oifs may name it"
        )
    for name in (iif, *oifs):
        parse_interface(name, pattern=True)
    if len(set(oifs)) < len(oifs):
        repeated = next(name for i, name in enumerate(oifs) if name in oifs[:i])
        raise InvalidArgs(f"Oif {quote(repeated)} is named twice")
    if iif in oifs and not (hairpin or is_pattern(iif)):
        raise InvalidArgs(
            f"Interface {quote(iif)} is both the iif and an oif: with 'hairpin' what arrives there "
            "is sent back"
        )
    if groups.family == socket.AF_INET6 and "lo" in (iif, *oifs):
        # Tried: entries of the kernel count such packets, and none arrives (IPv4: all of them).
        raise InvalidArgs("IPv6 multicast is not forwarded from or to 'lo'")
    ttls = ttls or {}
    if ttls and len(groups.address) == 16:
        raise InvalidArgs("IPv6 has no TTL thresholds: leave out 'ttls'")
    for name, ttl in ttls.items():
        if name not in oifs:
            pattern = next((oif for oif in oifs if matches(oif, name)), None)
            hint = f": name it beside the pattern, {join([name, pattern])}" if pattern else ""
            raise InvalidArgs(f"'ttls' names {quote(name)}, which is not an oif of the route{hint}")
        if not 1 <= ttl <= MAX_TTL_THRESHOLD:
            raise InvalidArgs(
                f"TTL threshold {ttl} of {quote(name)} is not from 1 to {MAX_TTL_THRESHOLD}"
            )
    _check_comment(comment)
    return Route(
        sources,
        groups,
        intern(iif),
        _oifs(tuple(oifs), tuple(ttls.get(name, 1) for name in oifs)),
        comment,
        table=table,
        hairpin=hairpin,
    )


@functools.lru_cache(maxsize=1024)
def _oifs(names: Sequence[str], ttls: Sequence[int]) -> tuple[Oif, ...]:
    """Make oifs, of which many routes have the same: they share them."""
    return tuple(map(Oif, map(intern, names), ttls))


def parse_membership(group: str, source: str, interface: str, comment: str = "") -> Membership:
    """Make a membership of what a caller wrote; the source as of a route. Raises InvalidArgs."""
    key = parse_memberships(group, source, interface, comment).single
    if key is None:
        raise InvalidArgs(f"({source or '*'}, {group}) is of a prefix, and here one address is due")
    return Membership(key.group, key.source, key.interface, comment)


def parse_memberships(
    group: str, source: str, interface: str, comment: str = ""
) -> MembershipRange:
    """Make memberships of what a caller wrote: group and source may be prefixes, the comment is
    only checked. Raises InvalidArgs.
    """
    sources, groups = parse_joined(source, group)
    _check_comment(comment)
    return MembershipRange(groups, sources, parse_interface(interface))


def parse_interface(name: str, *, pattern: bool = False) -> str:
    """Check that this can be the name of a network interface at all (dev_valid_name in Linux).

    pattern: or a shell pattern of names.
    """
    # The length first: what is longer is not to be remembered.
    if len(name) > _MAX_PATTERN or not _is_name(
        name, _MAX_PATTERN if pattern and is_pattern(name) else _IFNAMSIZ - 1
    ):
        raise InvalidArgs(f"{quote(name)} is not an interface name")
    if is_pattern(name) and not pattern:
        raise InvalidArgs(f"{quote(name)} is a pattern, and here one interface is due")
    return name


def is_nameable(name: str) -> bool:
    """Whether a route can mean an interface of this name, which the kernel has, and no other.

    The kernel takes nearly any bytes: such as are no UTF-8, control characters, wildcards.
    """
    return _is_name(name, _IFNAMSIZ - 1) and not is_pattern(name)


@functools.lru_cache(maxsize=4096)
def _is_name(name: str, longest: int) -> bool:
    return (
        name.isprintable()
        and not any(character in name for character in " /:")
        and name not in ("", ".", "..")
        and len(name.encode()) <= longest
    )


def family_of(packed: bytes) -> Family:
    """Tell the family of a packed address."""
    return FAMILY_BY_LENGTH[len(packed)]


def _check_comment(comment: str) -> None:
    if len(comment) > MAX_COMMENT:
        raise InvalidArgs(f"The comment has {len(comment)} characters, {MAX_COMMENT} are allowed")
    if not comment.isprintable():
        raise InvalidArgs("The comment has control characters")
