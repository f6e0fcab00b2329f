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
        """Return whether all addresses of the other are in this one."""
        return self.length <= other.length and other.address in self

    def overlaps(self, other: "Prefix") -> bool:
        return self.covers(other) or other.covers(self)

    def __str__(self) -> str:
        address, length = self
        text = format_address(address)
        return text if length == 8 * len(address) else f"{text}/{length}"


def host_prefix(address: bytes) -> Prefix:
    """Make the prefix that is this one address."""
    return Prefix(address, 8 * len(address))


def source_prefix(address: bytes) -> Prefix:
    """Make the prefix of one source, or where the address is zeros, of any."""
    return host_prefix(address) if any(address) else Prefix(address, 0)


def addresses(prefix: Prefix) -> Iterator[bytes]:
    """Iterate over all addresses of a prefix, in their order."""
    first = int.from_bytes(prefix.address)
    length = len(prefix.address)
    return (number.to_bytes(length) for number in range(first, first + size(prefix)))


def size(prefix: Prefix) -> int:
    """Return the number of addresses of a prefix."""
    return 1 << 8 * len(prefix.address) - prefix.length


def mask(address: bytes, length: int) -> bytes:
    """Keep the first `length` bits of an address, and make the others 0."""
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
_ANY = {size: Prefix(bytes(size), 0) for size in FAMILY_BY_LENGTH}
_MULTICAST = {4: _prefix("224.0.0.0/4"), 16: _prefix("ff00::/8")}
_LINK_LOCAL_GROUPS = _prefix("224.0.0.0/24")
_DECIDING = 3  # bytes of a group that tell whether it is forwarded
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
    if reason := sources.length and refused_source(sources):
        raise InvalidArgs(f"Source {quote(source)} is {reason}, so it sends nothing")
    return sources, groups


def parse_asked(source: str, group: str) -> tuple[Prefix, Prefix]:
    """Make prefixes of a source (of length 0 for any) and a group that somebody asks about.

    The group may be no multicast group, and the source one of no host. Raises InvalidArgs, also for
    a prefix of several addresses.
    """
    groups = _parse_prefix(group, "Group")
    sources = _parse_sources(source, groups)
    if not groups.exact:
        raise InvalidArgs(f"Group {quote(group)} is a prefix, and here one address is due")
    if sources.length and not sources.exact:
        raise InvalidArgs(f"Source {quote(source)} is a prefix, and here one address is due")
    return sources, groups


def parse_joined(source: str, group: str) -> tuple[Prefix, Prefix]:
    """Make prefixes of a source (of length 0 for any) and a group that can be joined.

    The group may be one that no kernel forwards. Raises InvalidArgs.
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
    if not is_multicast(prefix):
        raise InvalidArgs(f"{quote(text)} is no prefix of multicast groups")
    return prefix


def is_multicast(prefix: Prefix) -> bool:
    """Return whether all addresses of a prefix are multicast groups."""
    return _MULTICAST[len(prefix.address)].covers(prefix)


def forwardable(source: bytes, group: bytes) -> bool:
    """Return whether an entry of its own can forward a stream that has arrived.

    The kernel does not judge senders by then: its any-source entries forward the packets of all. A
    source of zeros has no entry of its own, since the kernel takes zeros for any source.
    """
    return not is_local_group(group) and any(source)


def is_local_group(group: bytes) -> bool:
    """Return whether a group is of one link or of one machine: no kernel forwards it."""
    return group in _LINK_LOCAL_GROUPS if len(group) == 4 else group[1] & 0x0F < len(_SCOPES)


def is_link_local(sources: Prefix) -> bool:
    """Return whether all of these are IPv6 addresses that are valid on one link only (RFC 4007)."""
    return len(sources.address) == 16 and _LINK_LOCAL_SOURCES.covers(sources)


def format_address(packed: bytes) -> str:
    """Write a packed address in its usual text form."""
    return socket.inet_ntop(FAMILY_BY_LENGTH[len(packed)], packed)


@functools.lru_cache(maxsize=4096)
def format_source(source: Prefix) -> str:
    """Write a source, any source as "*". It is cached since many streams have the same."""
    return str(source) if source.length else "*"


def format_stream(source: Prefix, group: Prefix) -> str:
    """Write a stream as people in the field do: (S, G)."""
    return f"({format_source(source)}, {group})"


def _parse_prefix(text: str, what: str) -> Prefix:
    """what: "Source" or "Group"."""
    written, slash, digits = text.partition("/") if "/" in text else (text, "", "")
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
    prefix = Prefix(mask(address, length), length)
    if prefix.address != address:
        raise InvalidArgs(
            f"{what} {quote(text)} has bits after its prefix; it would be {quote(str(prefix))}"
        )
    return prefix


def _parse_sources(text: str, groups: Prefix) -> Prefix:
    """Make a prefix of senders to these groups, of length 0 for any."""
    if text in _ANY_SOURCE:
        return _ANY[len(groups.address)]
    sources = _parse_some_sources(text)
    if len(sources.address) != len(groups.address):
        raise InvalidArgs(f"Source {quote(text)} and group {quote(str(groups))} mix IPv4 and IPv6")
    return sources


@functools.lru_cache(maxsize=4096)
def _parse_some_sources(text: str) -> Prefix:
    """Make a prefix of senders. It is cached since many streams have the same."""
    sources = _parse_prefix(text, "Source")
    return sources if any(sources.address) or not sources.exact else _ANY[len(sources.address)]


def _parse_multicast(text: str) -> Prefix:
    prefix = _parse_prefix(text, "Group")
    all_groups = _MULTICAST[len(prefix.address)]
    if not all_groups.covers(prefix):
        raise InvalidArgs(f"Group {quote(text)} is not a multicast address ({all_groups})")
    return prefix


def _parse_group(text: str) -> Prefix:
    prefix = _parse_prefix(text, "Group")
    address, length = prefix
    refusal = _group_refusal(address[:_DECIDING], length, len(address))
    if refusal:
        raise InvalidArgs(f"Group {quote(text)} {refusal}")
    return prefix


@functools.lru_cache(maxsize=4096)
def _group_refusal(first: bytes, length: int, size: int) -> str:
    """Return why no stream to these groups is forwarded; empty where some may be.

    first: their first bytes, which very many groups share. size: of an address, in bytes.
    """
    groups = Prefix(first + bytes(size - len(first)), length)
    if not _MULTICAST[size].covers(groups):
        return f"is not a multicast address ({_MULTICAST[size]})"
    if size == 4:
        local = _LINK_LOCAL_GROUPS.covers(groups)
        return f"is link-local ({_LINK_LOCAL_GROUPS}) and never forwarded" if local else ""
    scope = _scope(groups)
    return f"has {_SCOPES[scope]} scope and is never forwarded" if scope < len(_SCOPES) else ""


def _scope(groups: Prefix) -> int:
    """Return the widest scope of the IPv6 groups of a prefix: it is in bits 12 to 15."""
    return groups.address[1] & 0x0F | (1 << max(0, 16 - groups.length)) - 1


@functools.lru_cache(maxsize=1024)
def refused_source(sources: Prefix) -> str:
    """Return why none of these sources sends anything; empty where some may."""
    for refused, reason in _NO_SENDERS[len(sources.address)].items():
        if refused.covers(sources):
            return reason
    return ""


def family_of(packed: bytes) -> Family:
    return FAMILY_BY_LENGTH[len(packed)]
