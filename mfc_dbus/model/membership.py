"""Memberships as immutable values, parsed and validated once, at the edge (pure).

Their addresses are packed; a source of zeros stands for any source.
"""

from msgspec import Struct

from mfc_dbus.model.addresses import (
    Prefix,
    addresses,
    format_stream,
    host_prefix,
    parse_joined,
    size,
    source_prefix,
)
from mfc_dbus.model.comments import check_comment
from mfc_dbus.model.errors import InvalidArgs, LimitExceeded
from mfc_dbus.model.interfaces import parse_interface
from mfc_dbus.model.quoting import quote

MAX_RANGE = 1024  # memberships of one range


class MembershipKey(Struct, frozen=True, gc=False):
    """Identifies a membership: there is one for each group, source and interface."""

    group: bytes
    source: bytes
    interface: str


class Membership(Struct, frozen=True, gc=False):
    """A join of a group on an interface, by IGMP or MLD, from any source or from one.

    persistent: whether it outlives a reboot. file: the name of the configuration file that it is
    in, empty for a membership that was made over the bus.
    """

    group: bytes
    source: bytes
    interface: str
    comment: str = ""
    persistent: bool = True
    file: str = ""

    @property
    def survives_reboot(self) -> bool:
        return self.persistent

    @property
    def origin(self) -> str:
        return "config" if self.file else "bus"

    @property
    def key(self) -> MembershipKey:
        return MembershipKey(self.group, self.source, self.interface)

    def __str__(self) -> str:
        stream = format_stream(source_prefix(self.source), host_prefix(self.group))
        return f"{stream} on {quote(self.interface)}"


class MembershipRange(Struct, frozen=True, gc=False):
    """The memberships of all groups and sources of prefixes; a source of length 0 is any source."""

    groups: Prefix
    sources: Prefix
    interface: str

    @property
    def single(self) -> MembershipKey | None:
        """The key of the only membership in this range, None where it has many."""
        if self._size > 1:
            return None
        return MembershipKey(self.groups.address, self.sources.address, self.interface)

    @property
    def _size(self) -> int:
        return size(self.groups) * (size(self.sources) if self.sources.length else 1)

    def covers(self, key: MembershipKey) -> bool:
        """Return whether a membership is in this range. Any source is in no prefix of sources."""
        if key.interface != self.interface or key.group not in self.groups:
            return False
        return any(key.source) == bool(self.sources.length) and key.source in self.sources

    def memberships(self, comment: str = "", *, persistent: bool = True) -> list[Membership]:
        """Make all memberships of the range.

        Raises InvalidArgs for the comment, LimitExceeded for more than MAX_RANGE memberships.
        """
        check_comment(comment)
        if self._size > MAX_RANGE:
            raise LimitExceeded(
                f"{format_stream(self.sources, self.groups)} stands for {self._size} memberships, "
                f"and at most {MAX_RANGE} are joined at once"
            )
        sources = [*addresses(self.sources)] if self.sources.length else [self.sources.address]
        return [
            Membership(group, source, self.interface, comment, persistent)
            for group in addresses(self.groups)
            for source in sources
        ]

    def __str__(self) -> str:
        return f"{format_stream(self.sources, self.groups)} on {quote(self.interface)}"


def parse_membership(group: str, source: str, interface: str, comment: str = "") -> Membership:
    """Make a membership of texts; the source is written as that of a route. Raises InvalidArgs."""
    range_ = parse_memberships(group, source, interface)
    if range_.single is None:
        raise InvalidArgs(f"({source or '*'}, {group}) is of a prefix, and here one address is due")
    (membership,) = range_.memberships(comment)
    return membership


def parse_memberships(group: str, source: str, interface: str) -> MembershipRange:
    """Make memberships of texts; group and source may be prefixes. Raises InvalidArgs."""
    sources, groups = parse_joined(source, group)
    return MembershipRange(groups, sources, parse_interface(interface))
