"""Sources and groups as prefixes: parsed and validated once, at the edge (pure).

Addresses are packed, in network byte order. One address is the prefix of full length, and any
source is the prefix of length 0.
"""

import functools
import socket
from collections.abc import Iterator
from typing import NamedTuple

from mfc_dbus.model.errors import InvalidArgs
from mfc_dbus.model.quoting import quote

Family = socket.AddressFamily
FAMILIES = (socket.AF_INET, socket.AF_INET6)
FAMILY_NAMES = {socket.AF_INET: "ipv4", socket.AF_INET6: "ipv6"}
FAMILY_BY_LENGTH = {4: socket.AF_INET, 16: socket.AF_INET6}
_ANY_SOURCE = ("", "*")


class Prefix(NamedTuple):
    """All addresses that share their first `length` bits; the other bits of `address` are 0."""

    address: bytes
    length: int

    @property
    def family(self) -> Family:
        return FAMILY_BY_LENGTH[len(self.address)]

    @property
    def exact(self) -> bool:
        """Whether it is one address."""
        return self.length == 8 * len(self.address)

    def __contains__(self, address: object) -> bool:
        assert isinstance(address, bytes)
        size = len(address)
        if size != len(self.address):
            return False
        shift = 8 * size - self.length
        return int.from_bytes(address) >> shift == int.from_bytes(self.address) >> shift

    def covers(self, other: "Prefix") -> bool:
        """Whether all of the other is in this one."""
        return self.length <= other.length and other.address in self

    def overlaps(self, other: "Prefix") -> bool:
        return self.covers(other) or other.covers(self)

    def __str__(self) -> str:
        text = format_address(self.address)
        return text if self.exact else f"{text}/{self.length}"


def exactly(address: bytes) -> Prefix:
    """Make the prefix that is this one address."""
    return Prefix(address, 8 * len(address))


def of_source(address: bytes) -> Prefix:
    """Make the prefix of one source, or where the address is zeros, of any."""
    return exactly(address) if any(address) else Prefix(address, 0)


def addresses(prefix: Prefix) -> Iterator[bytes]:
    """All addresses of a prefix, in their order."""
    first = int.from_bytes(prefix.address)
    size = len(prefix.address)
    return (number.to_bytes(size) for number in range(first, first + count(prefix)))


def count(prefix: Prefix) -> int:
    """How many addresses a prefix has."""
    return 1 << 8 * len(prefix.address) - prefix.length


def cut(address: bytes, length: int) -> bytes:
    """Keep the first bits of an address, and make the others 0."""
    shift = 8 * len(address) - length
    if not shift:
        return address
    return (int.from_bytes(address) >> shift << shift).to_bytes(len(address))


def _prefix(text: str) -> Prefix:
    address, _, length = text.partition("/")
    return Prefix(_packed(address), int(length))


def _packed(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


# By the number of bytes of an address.
_MULTICAST = {4: _prefix("224.0.0.0/4"), 16: _prefix("ff00::/8")}
_LINK_LOCAL_GROUPS = _prefix("224.0.0.0/24")
_LINK_LOCAL_SOURCES = _prefix("fe80::/10")
_SCOPES = ("reserved", "interface-local", "link-local")  # RFC 4291, 2.7
_NO_SENDERS = {
    4: {
        _prefix("224.0.0.0/4"): "a multicast address",
        _prefix("255.255.255.255/32"): "the broadcast address",
        _prefix("127.0.0.0/8"): "a loopback address",
        _prefix("0.0.0.0/8"): "in 0.0.0.0/8, which is no host's",
    },
    16: {
        _prefix("ff00::/8"): "a multicast address",
        _prefix("::1/128"): "the loopback address",
        _prefix("::ffff:0:0/96"): "an IPv4-mapped address",
    },
}


def parse_stream(source: str, group: str) -> tuple[Prefix, Prefix]:
    """Make prefixes of a source ("", "*", 0.0.0.0 or :: for any) and a multicast group.

    Raises InvalidArgs, also for a group that no kernel forwards, and for a source of no host.
    """
    groups = _parse_group(group)
    sources = _parse_sources(source, groups)
    if sources.length:
        reason = _refusal(sources)
        if reason:
            raise InvalidArgs(f"Source {quote(source)} is {reason}, so it sends nothing")
    return _shared(sources), groups


def parse_joined(source: str, group: str) -> tuple[Prefix, Prefix]:
    """Make prefixes of a source (of length 0 for any) and a group that can be joined.

    It may be one that no kernel forwards. Raises InvalidArgs.
    """
    groups = _parse_multicast(group)
    if len(groups.address) == 16:
        scope = _scope(groups)
        if scope < _SCOPES.index("link-local"):
            name = _SCOPES[scope]
            raise InvalidArgs(f"Group {quote(group)} has {name} scope and is on no network")
    sources = _parse_sources(source, groups)
    for refused, reason in _NO_SENDERS[len(sources.address)].items():
        if sources.length and refused.overlaps(sources):
            what = "is" if refused.covers(sources) else f"has {refused} in it, which is"
            raise InvalidArgs(f"Source {quote(source)} {what} {reason}, so it sends nothing")
    return sources, groups


def parse_source_prefix(text: str) -> Prefix:
    """Make a prefix of sources. Raises InvalidArgs."""
    return _parse_prefix(text, "Source")


def parse_group_prefix(text: str) -> Prefix:
    """Make a prefix of groups, also of those that are never forwarded. Raises InvalidArgs."""
    prefix = _parse_prefix(text, "Group")
    if not _MULTICAST[len(prefix.address)].covers(prefix):
        raise InvalidArgs(f"{quote(text)} is no prefix of multicast groups")
    return prefix


def forwardable(source: bytes, group: bytes) -> bool:
    """Whether an entry can forward a stream that arrives, whatever prefix it is in.

    The kernel looks at nothing else once a packet has come so far: its any-source entries forward
    the packets of any sender. A source of zeros in an entry of one stream would mean any, too.
    """
    local = group in _LINK_LOCAL_GROUPS if len(group) == 4 else group[1] & 0x0F < len(_SCOPES)
    return not local and any(source)


def is_link_local(sources: Prefix) -> bool:
    """Whether all of these are IPv6 addresses that mean a host on one link only (RFC 4007)."""
    return _LINK_LOCAL_SOURCES.covers(sources)


def format_address(packed: bytes) -> str:
    """Write a packed address in its usual text form."""
    return socket.inet_ntop(FAMILY_BY_LENGTH[len(packed)], packed)


def format_source(source: Prefix) -> str:
    """Write a source, any source as "*"."""
    return str(source) if source.length else "*"


def stream(source: Prefix, group: Prefix) -> str:
    """Write a stream as people in the field do: (S, G)."""
    return f"({format_source(source)}, {group})"


@functools.lru_cache(maxsize=4096)
def _shared(source: Prefix) -> Prefix:
    """Find an equal one that was made before: many streams have the same source."""
    return source


def _parse_prefix(text: str, what: str) -> Prefix:
    """what: "Source" or "Group"."""
    written, slash, digits = text.partition("/")
    try:
        address = _packed(written)
    except (OSError, ValueError):  # ValueError: NUL, or a lone surrogate
        raise InvalidArgs(f"{what} {quote(text)} is not an IPv4 or IPv6 address") from None
    bits = 8 * len(address)
    if not slash:
        return Prefix(address, bits)
    length = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 3 else bits + 1
    if length > bits:
        raise InvalidArgs(f"Prefix length {quote(digits)} is not from 0 to {bits}")
    prefix = Prefix(cut(address, length), length)
    if prefix.address != address:
        raise InvalidArgs(
            f"{what} {quote(text)} has bits after its prefix; it would be {quote(str(prefix))}"
        )
    return prefix


def _parse_sources(text: str, groups: Prefix) -> Prefix:
    """Make a prefix of senders to these groups, of length 0 for any."""
    if text in _ANY_SOURCE:
        return Prefix(bytes(len(groups.address)), 0)
    sources = _parse_prefix(text, "Source")
    if len(sources.address) != len(groups.address):
        raise InvalidArgs(f"Source {quote(text)} and group {quote(str(groups))} mix IPv4 and IPv6")
    if sources.exact and not any(sources.address):
        return Prefix(sources.address, 0)
    return sources


def _parse_multicast(text: str) -> Prefix:
    prefix = _parse_prefix(text, "Group")
    all_groups = _MULTICAST[len(prefix.address)]
    if not all_groups.covers(prefix):
        raise InvalidArgs(f"Group {quote(text)} is not a multicast address ({all_groups})")
    return prefix


def _parse_group(text: str) -> Prefix:
    prefix = _parse_multicast(text)
    if len(prefix.address) == 4:
        if _LINK_LOCAL_GROUPS.covers(prefix):
            raise InvalidArgs(
                f"Group {quote(text)} is link-local ({_LINK_LOCAL_GROUPS}) and never forwarded"
            )
        return prefix
    scope = _scope(prefix)
    if scope < len(_SCOPES):
        raise InvalidArgs(f"Group {quote(text)} has {_SCOPES[scope]} scope and is never forwarded")
    return prefix


def _scope(groups: Prefix) -> int:
    """The widest scope that IPv6 groups of a prefix have: it is in bits 12 to 15."""
    return groups.address[1] & 0x0F | (1 << max(0, 16 - groups.length)) - 1


@functools.lru_cache(maxsize=1024)
def _refusal(sources: Prefix) -> str:
    """Tell why none of these sources sends anything; empty where some may."""
    for refused, reason in _NO_SENDERS[len(sources.address)].items():
        if refused.covers(sources):
            return reason
    return ""
