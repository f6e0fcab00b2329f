"""Routes as immutable values, parsed and validated once, at the edge (pure)."""

import functools
import socket
from collections.abc import Mapping, Sequence
from sys import intern
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import force_setattr

from mfc_dbus.model.addresses import (
    FAMILY_BY_LENGTH,
    FAMILY_NAMES,
    Family,
    Prefix,
    format_stream,
    host_prefix,
    is_link_local,
    parse_stream,
)
from mfc_dbus.model.comments import check_comment
from mfc_dbus.model.errors import InvalidArgs, TooManyInterfaces
from mfc_dbus.model.interfaces import is_pattern, matches, parse_interface
from mfc_dbus.model.quoting import join, quote

MAX_VIFS = 32  # of the kernel, in each routing table
MAX_TTL_THRESHOLD = 254  # 255 means never, and 0 does too


class TableId(NamedTuple):
    """A multicast routing table of the kernel.

    Number 0 is the default table, which packets use where no rule names another.
    """

    family: Family
    number: int = 0

    def __str__(self) -> str:
        return FAMILY_NAMES[self.family] + (f"/{self.number}" if self.number else "")


@functools.lru_cache(maxsize=1024)
def _table_id(length: int, table: int) -> TableId:
    """Return the table for addresses of so many bytes. It is cached since it is asked for often."""
    return TableId(FAMILY_BY_LENGTH[length], table)


class Oif(NamedTuple):
    """An outgoing interface; packets leave by it whose TTL is greater than the threshold."""

    name: str
    ttl: int = 1


@functools.lru_cache(maxsize=MAX_VIFS * MAX_TTL_THRESHOLD)
def shared_oif(name: str, ttl: int) -> Oif:
    """Return the oif object that all routes share."""
    return Oif(name, ttl)


class RouteKey(NamedTuple):
    """Identifies a route. The iif is empty for a route of one stream, and tells others apart."""

    source: Prefix
    group: Prefix
    iif: str
    table: int = 0

    @property
    def table_id(self) -> TableId:
        return _table_id(len(self.group.address), self.table)


class RouteName(NamedTuple):
    """Names one of the routes that there are, as callers do.

    iif: None means the only one of its source and group. table: a number.
    """

    source: Prefix
    group: Prefix
    iif: str | None = None
    table: int = 0

    @property
    def table_id(self) -> TableId:
        return _table_id(len(self.group.address), self.table)


def stream_key(source: bytes, group: bytes, table: int) -> RouteKey:
    """Make the key of a route of one stream, of packed addresses, whatever its iif is."""
    return RouteKey(host_prefix(source), host_prefix(group), "", table)


_NO_KEY = RouteKey(Prefix(b"", 0), Prefix(b"", 0), "")


class Route(Struct, frozen=True, gc=False):
    """A static route: streams, the interface on which they arrive, and those by which they leave.

    Without an oif it stops its streams, also where a wider route would forward them.

    persistent: whether it outlives a reboot. expires: when it is to be removed, on the boot-time
    clock in nanoseconds; 0 is never. file: the name of the configuration file that it is in, empty
    for a route that was made over the bus. table: its number. hairpin: whether streams leave by the
    interface that they arrive on too, where that is among the oifs. enabled: if not, it is kept,
    and nothing else: other routes decide on its streams.

    `key` and `interfaces` (those that it uses: the iif, then the oifs, each once; none while it is
    not enabled) are computed from the other fields; given values are overwritten. All indexes of
    routes share the one object of the key.
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
    enabled: bool = True
    key: RouteKey = _NO_KEY
    interfaces: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        source, group, iif = self.source, self.group, self.iif
        exact = source.exact and group.exact
        force_setattr(self, "key", RouteKey(source, group, "" if exact else iif, self.table))
        if self.enabled:
            force_setattr(self, "interfaces", _interfaces(iif, self.oifs, self.hairpin))
        else:
            force_setattr(self, "interfaces", ())

    def share_key(self, like: "Route") -> None:
        """Take over the key object of a route with an equal key.

        Where this route takes the place of that one, dictionaries go on with that object.
        """
        force_setattr(self, "source", like.source)
        force_setattr(self, "group", like.group)
        force_setattr(self, "key", like.key)

    @property
    def table_id(self) -> TableId:
        return _table_id(len(self.group.address), self.table)

    @property
    def is_sg(self) -> bool:
        """Whether it is for one stream: one source and one group."""
        return not self.key.iif

    @property
    def is_sg_on_one_iif(self) -> bool:
        """Whether it is for one stream from one interface, which no pattern names."""
        return not self.key.iif and not is_pattern(self.iif)

    @property
    def sends_back(self) -> bool:
        """Whether its streams leave by the iif, too: `hairpin` is set, and an oif matches it."""
        return self.hairpin and any(matches(oif.name, self.iif) for oif in self.oifs)

    @property
    def survives_reboot(self) -> bool:
        """Whether it outlives a reboot: one that expires does not, since its clock starts anew."""
        return self.persistent and not self.expires

    @property
    def ttls(self) -> dict[str, int]:
        """The TTL thresholds of oifs, where they are not the default."""
        return {name: ttl for name, ttl in self.oifs if ttl != 1}

    @property
    def origin(self) -> str:
        return "config" if self.file else "bus"

    def __str__(self) -> str:
        return format_stream(self.source, self.group)


@functools.lru_cache(maxsize=1024)
def _interfaces(iif: str, oifs: tuple[Oif, ...], hairpin: bool) -> tuple[str, ...]:
    """Return the names of a route's interfaces. They are cached since many routes share them."""
    return _shared((iif, *(oif.name for oif in oifs if not (hairpin and oif.name == iif))))


@functools.lru_cache(maxsize=1024)
def _shared(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return an equal tuple of before, so that oifs with other TTL thresholds share the names."""
    return names


def parse_route(
    source: str,
    group: str,
    iif: str,
    oifs: Sequence[str],
    ttls: Mapping[str, int] | None = None,
    comment: str = "",
    table: int = 0,
    *,
    persistent: bool = True,
    hairpin: bool = False,
    enabled: bool = True,
) -> Route:
    """Make a route of texts: source and group may be prefixes, interfaces may be patterns.

    ttls: TTL thresholds, 1 to 254, of some of the oifs. Raises InvalidArgs, or TooManyInterfaces
    for more than 31 oifs.
    """
    # The number of oifs first: all other checks cost more, and a stranger chooses it.
    if len(oifs) >= MAX_VIFS:
        raise TooManyInterfaces(
            f"A route has at most {MAX_VIFS - 1} oifs, since the kernel knows "
            f"{MAX_VIFS} interfaces a table; this one has {len(oifs)}"
        )
    sources, groups = parse_stream(source, group)
    if oifs and groups.family == socket.AF_INET6 and is_link_local(sources):
        raise InvalidArgs(
            f"Source {quote(source)} is link-local, and a router has to keep it on its link "
            "(RFC 4007): only a route without oifs may name it"
        )
    thresholds = tuple(ttls.items()) if ttls else ()
    way = _parse_way(iif, tuple(oifs), thresholds, hairpin, groups.family)
    if comment:
        check_comment(comment)
    return Route(
        sources, groups, *way, comment, persistent, table=table, hairpin=hairpin, enabled=enabled
    )


@functools.lru_cache(maxsize=1024)
def _parse_way(
    iif: str,
    oifs: tuple[str, ...],
    ttls: tuple[tuple[str, int], ...],
    hairpin: bool,
    family: Family,
) -> tuple[str, tuple[Oif, ...]]:
    """Make the iif and the oifs. They are cached since many routes share them; errors are not."""
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
    if family == socket.AF_INET6 and "lo" in (iif, *oifs):
        # Tried: the kernel's entries count such packets, and none arrives; in IPv4 all arrive.
        raise InvalidArgs("IPv6 multicast is not forwarded from or to 'lo'")
    if ttls and family == socket.AF_INET6:
        raise InvalidArgs("IPv6 has no TTL thresholds: leave out 'ttls'")
    for name, ttl in ttls:
        if name not in oifs:
            pattern = next((oif for oif in oifs if matches(oif, name)), None)
            hint = f": name it beside the pattern, {join([name, pattern])}" if pattern else ""
            raise InvalidArgs(f"'ttls' names {quote(name)}, which is not an oif of the route{hint}")
        if not 1 <= ttl <= MAX_TTL_THRESHOLD:
            raise InvalidArgs(
                f"TTL threshold {ttl} of {quote(name)} is not from 1 to {MAX_TTL_THRESHOLD}"
            )
    thresholds = dict(ttls)
    return intern(iif), tuple(shared_oif(intern(name), thresholds.get(name, 1)) for name in oifs)
