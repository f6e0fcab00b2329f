"""Reads a routing table of the kernel by netlink: its entries, and through them its VIFs.

Only OSError is raised here. /proc shows VIF numbers too, but of the default table alone, and takes
19 s for 100,000 entries. Source: net/ipv4/ipmr.c, net/ipv6/ip6mr.c.
"""

import errno
import functools
import socket
import struct
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from itertools import islice
from types import MappingProxyType
from typing import NamedTuple

from mfc_dbus.kernel.abi import MAXVIFS
from mfc_dbus.kernel.mroute import MFCEntry, MRoute
from mfc_dbus.kernel.netlink import (
    NLM_F_REQUEST,
    NLM_F_REQUEST_DUMP,
    RTATTR,
    RTNL_FAMILIES,
    RTNLGRP_IPV4_MROUTE,
    RTNLGRP_IPV6_MROUTE,
    UINT32,
    Answer,
    EventSocket,
    Message,
    ask,
    attribute,
    messages,
)

RTM_NEWROUTE = 24
RTA_SRC = 2
_RTM_DELROUTE = 25
_RTM_GETROUTE = 26
_DEFAULT_TABLES = {socket.AF_INET: 253, socket.AF_INET6: 254}
RTNH_F_UNRESOLVED = 32
_RTA_DST, _RTA_IIF, _RTA_MULTIPATH, _RTA_TABLE = 1, 3, 9, 15

_RTMSG = struct.Struct("=BBBBBBBBL")
_RTNEXTHOP = struct.Struct("=HBBi")
_PROBE_SIZE = 8  # VIFs in one probe: the kernel may fail to report an entry with many more
_TRIES = 8  # readings of a table, of which one should see no change meanwhile
# Entries that `held` reads at most: the kernel walks the table from its beginning for each piece of
# a dump, some 280 entries, so that all of it takes a time that grows as the square of their number.
MOST_READ = 1 << 17
_GROUPS = {socket.AF_INET: RTNLGRP_IPV4_MROUTE, socket.AF_INET6: RTNLGRP_IPV6_MROUTE}

_Key = tuple[bytes, bytes, int]

# The probe's addresses: no packet comes from this source, and no route names it.
_PROBE_SOURCE = {socket.AF_INET: b"\xff" * 4, socket.AF_INET6: b"\xff" * 16}
_PROBE_GROUP = {socket.AF_INET: b"\xef\xff\xff\xff", socket.AF_INET6: b"\xff" * 16}


class HeldEntry(NamedTuple):
    """An MFC entry in terms of devices; source and group are packed addresses.

    iif: an ifindex, 0 where the device has gone. oifs: TTL thresholds by ifindex. A device that has
    gone is left out here, while the kernel's entry still names its VIF number. table: its number,
    0 for the default table. resolved: False where the kernel has asked about the stream and nobody
    has written an entry yet; then the iif is not known.
    """

    source: bytes
    group: bytes
    iif: int
    oifs: Mapping[int, int]
    table: int = 0
    resolved: bool = True


class Held(NamedTuple):
    """The contents of a table.

    vifs: ifindex by VIF number. entries: the resolved ones. unresolved: source and group of each
    stream that the kernel has asked about. whole: whether the table has no more of either.
    """

    vifs: Mapping[int, int]
    entries: Sequence[HeldEntry]
    unresolved: Sequence[tuple[bytes, bytes]] = ()
    whole: bool = True


def held(mroute: MRoute) -> Held:
    """Read a table that we own, or the first MOST_READ entries of it.

    Raises OSError, EBUSY where devices keep coming and going. A dump is no snapshot: entries that
    are deleted meanwhile make it skip others. So it is repeated when an entry was deleted, and an
    entry that one dump has shown counts until its deletion.

    To dump 50,000 entries takes the kernel 0.1 s, 100,000 take 0.7 s, 200,000 take 4 s, and 400,000
    take 30 s (make bench ARGS='show --routes 200000').
    """
    found: dict[_Key, HeldEntry] = {}
    with EventSocket(_GROUPS[mroute.family]) as events:
        for _ in range(_TRIES):
            with closing(entries(mroute.family, mroute.table)) as shown:
                found |= {key(each): each for each in islice(shown, MOST_READ)}
                ended = next(shown, None) is None
            whole = _apply_events(events, mroute, found) and ended
            if whole or not ended:
                break
    resolved = [each for each in found.values() if each.resolved]
    unresolved = tuple((each.source, each.group) for each in found.values() if not each.resolved)
    return Held(vifs(mroute), resolved, unresolved, whole)


def key(entry: HeldEntry) -> tuple[bytes, bytes, int]:
    """Return the key by which the kernel finds an entry: the iif counts for any-source ones."""
    return entry.source, entry.group, 0 if any(entry.source) else entry.iif


def _apply_events(events: EventSocket, mroute: MRoute, found: dict[_Key, HeldEntry]) -> bool:
    """Apply the events to the found entries; return whether the dump can have skipped none."""
    whole = True
    for data in events.receive():
        if data is None:  # any of them may have been deleted
            found.clear()
            whole = False
            continue
        for entry, deleted in changes(data):
            if entry.table != mroute.table or entry.source == _PROBE_SOURCE[mroute.family]:
                continue
            if deleted:
                found.pop(key(entry), None)
                # Unresolved entries come last in a dump: their deletion hides no resolved one.
                whole = whole and not entry.resolved
            else:
                found[key(entry)] = entry
    return whole


def vifs(mroute: MRoute) -> dict[int, int]:
    """Return the ifindex of each VIF by its number. Raises OSError, as `held` does.

    The kernel shows the devices of an entry and not its VIF numbers: so an entry with some known
    numbers is written as a probe, and shows their devices in the same order.
    """
    for _ in range(_TRIES):
        numbers = [number for number in range(MAXVIFS) if mroute.has_vif(number)]
        found: dict[int, int] = {}
        for some in (numbers[at : at + _PROBE_SIZE] for at in range(0, len(numbers), _PROBE_SIZE)):
            shown = _probe(mroute, some)
            if len(shown) == len(some):
                found |= zip(some, shown, strict=True)
        if len(found) == len(numbers):
            return found
    raise OSError(errno.EBUSY, "devices come and go")


def _probe(mroute: MRoute, numbers: Sequence[int]) -> Sequence[int]:
    """Return the ifindexes of these VIFs, in their order; fewer where one has gone."""
    source, group = _PROBE_SOURCE[mroute.family], _PROBE_GROUP[mroute.family]
    probe = MFCEntry(source, group, 0, tuple((number, 1) for number in numbers))
    mroute.add_mfc(probe)
    try:
        shown = _ask(mroute, source, group)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOENT):
            raise
        # An old kernel only lists all entries; or another program has deleted the probe.
        found = (each for each in entries(mroute.family, mroute.table) if each.source == source)
        shown = next(found, HeldEntry(source, group, 0, {}))
    finally:
        with suppress(OSError):  # another program has deleted it
            mroute.del_mfc(probe)
    return [*shown.oifs]


class Dump(Answer):
    """A dump of a table's entries, unresolved ones included, piece by piece; then it is `done`."""

    def __init__(self, family: socket.AddressFamily, table: int = 0) -> None:
        # Without strict checking the kernel ignores the number of the table.
        super().__init__(_RTM_GETROUTE, NLM_F_REQUEST_DUMP, _request(family, table), strict=True)

    def read(self, piece: bytes) -> Iterator[HeldEntry]:
        """Yield the entries of a piece. Raises OSError."""
        for message in messages(piece):
            if message.type == RTM_NEWROUTE:
                yield _entry(piece, message)
            else:
                self.note_end(piece, message)


def entries(family: socket.AddressFamily, table: int = 0) -> Generator[HeldEntry, None, None]:
    """Yield the entries of a table, unresolved ones included."""
    with Dump(family, table) as dump:
        while not dump.done:
            yield from dump.read(dump.receive())


def _ask(mroute: MRoute, source: bytes, group: bytes) -> HeldEntry:
    """Return the entry of one stream. Raises OSError, EOPNOTSUPP of an old kernel."""
    request = _request(mroute.family, mroute.table, 8 * len(source))
    request += attribute(RTA_SRC, source) + attribute(_RTA_DST, group)
    with closing(ask(_RTM_GETROUTE, NLM_F_REQUEST, request, strict=True)) as answer:
        for data, message in answer:
            if message.type == RTM_NEWROUTE:
                return _entry(data, message)
    raise OSError(errno.ENOENT, "there is no such entry")


def _request(family: socket.AddressFamily, table: int, length: int = 0) -> bytes:
    """Write what asks for the entries of a table.

    length: bits of the addresses that follow where it asks for one entry.
    """
    number = table or _DEFAULT_TABLES[family]
    head = _RTMSG.pack(RTNL_FAMILIES[family], length, length, 0, 0, 0, 0, 0, 0)
    return head + attribute(_RTA_TABLE, UINT32.pack(number))


def changes(data: bytes) -> Iterator[tuple[HeldEntry, bool]]:
    """Yield the entries that the kernel tells of, and whether each was deleted."""
    for message in messages(data):
        if message.type in (RTM_NEWROUTE, _RTM_DELROUTE):
            yield _entry(data, message), message.type == _RTM_DELROUTE


def _entry(data: bytes, message: Message) -> HeldEntry:
    *_, flags = _RTMSG.unpack_from(data, message.start)
    source = group = nexthops = b""
    iif = table = 0
    at = message.start + _RTMSG.size
    while at < message.end:  # as in `attributes`, which takes twice as long: there may be 131,072
        length, type_ = RTATTR.unpack_from(data, at)
        if type_ == RTA_SRC:
            source = data[at + RTATTR.size : at + length]
        elif type_ == _RTA_DST:
            group = data[at + RTATTR.size : at + length]
        elif type_ == _RTA_MULTIPATH:
            nexthops = data[at + RTATTR.size : at + length]
        elif type_ == _RTA_IIF:
            (iif,) = UINT32.unpack_from(data, at + RTATTR.size)
        elif type_ == _RTA_TABLE:
            (table,) = UINT32.unpack_from(data, at + RTATTR.size)
        at += length + 3 & ~3
    number = 0 if table in _DEFAULT_TABLES.values() else table
    return HeldEntry(
        source, group, iif, _oifs(nexthops), number, resolved=not flags & RTNH_F_UNRESOLVED
    )


@functools.lru_cache(maxsize=1024)
def _oifs(nexthops: bytes) -> Mapping[int, int]:
    """Parse TTL thresholds by ifindex. They are cached since very many entries have the same."""
    found = _RTNEXTHOP.iter_unpack(nexthops)  # next hops of multicast have no attributes
    return MappingProxyType({ifindex: ttl for _, _, ttl, ifindex in found})
