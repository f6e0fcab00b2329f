"""A routing table and network interfaces that exist in memory only.

They hold to what the kernel does; tests/kernel/test_fake.py holds both to the same tests.
"""

import asyncio
import errno
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, cast

from mfc_dbus.kernel.abi import IGMPMSG_NOCACHE, IGMPMSG_WRONGVIF, Upcall
from mfc_dbus.kernel.dump import Held, HeldEntry
from mfc_dbus.kernel.links import Came, Event, Gone, Link, Turned
from mfc_dbus.kernel.mfc_events import EntryChange
from mfc_dbus.kernel.mroute import MFCEntry, SGCount, VIFCount
from mfc_dbus.model.addresses import Family, host_prefix, source_prefix
from mfc_dbus.model.desired import Desired, Edit, Key
from mfc_dbus.model.errors import StoreError
from mfc_dbus.model.history import HistoryUpdate, PastChange
from mfc_dbus.model.membership import Membership, MembershipKey, MembershipRange
from mfc_dbus.model.route import MAX_VIFS, Route, RouteKey, TableId


class FakeLinks:
    """Interfaces by name; those named in `silent` do not carry multicast."""

    def __init__(self, *names: str, silent: tuple[str, ...] = ()) -> None:
        self.links: dict[str, Link] = {}
        self.kernels: list[FakeKernel] = []
        self._events: list[Event] = []
        self._next = 1
        for name in (*names, *silent):
            self.add(name, multicast=name not in silent)

    def add(self, name: str, *, multicast: bool = True) -> None:
        if name in self.links:
            self.remove(name)
        self.links[name] = Link(name, self._next, multicast, up=True, enabled=True)
        self._next += 1
        self._events.append(Came(self.links[name]))

    def remove(self, name: str) -> None:
        """Delete a device. Its VIFs go with it, entries that name their numbers do not."""
        link = self.links.pop(name)
        self._events.append(Gone(link))
        for kernel in self.kernels:
            kernel.vifs = {
                vif: ifindex for vif, ifindex in kernel.vifs.items() if ifindex != link.ifindex
            }

    def rename(self, name: str, new: str) -> None:
        """Its VIFs stay."""
        link = self.links.pop(name)
        self.links[new] = link._replace(name=new)
        self._events += [Gone(link), Came(self.links[new])]

    def turn(self, name: str, *, up: bool, enabled: bool = True) -> None:
        """Take a link up or down, with all that is in the kernel; without `enabled` by command."""
        self.links[name] = self.links[name]._replace(up=up, enabled=enabled)
        self._events.append(Turned(self.links[name]))

    def name_otherwise(self, name: str, *altnames: str) -> None:
        """Give an interface alternative names."""
        self.links[name] = self.links[name]._replace(altnames=altnames)
        self._events.append(Turned(self.links[name]))

    def begin_anew(self) -> None:
        """Tell a new controller of what is there."""
        self._events = [Came(link) for link in self.links.values()]

    @property
    def behind(self) -> bool:
        return False

    def update(self) -> list[Event]:
        events, self._events = self._events, []
        return events


class FakeKeeper:
    """What is kept, in memory. `broken`: nothing can be written. `refused`: these cannot."""

    def __init__(self) -> None:
        self.routes: dict[RouteKey, Route] = {}
        self.memberships: dict[MembershipKey, Membership] = {}
        self.history: list[PastChange] = []
        self.broken = False
        self.refused: set[Key] = set()
        self.writes = 0

    async def write(self, edits: Mapping[Key, Edit], history: HistoryUpdate | None = None) -> None:
        await asyncio.sleep(0)
        if self.broken or self.refused & edits.keys():
            raise StoreError("no space left")
        self.writes += 1
        if history:
            self.history += history.added
        for key, (old, new) in edits.items():
            kept = cast(
                "dict[Key, Desired]", self.routes if isinstance(key, RouteKey) else self.memberships
            )
            assert kept.get(key) == old
            if new is None:
                kept.pop(key, None)
            else:
                kept[key] = new


Oifs = frozenset[tuple[str, int]]


class Decision(NamedTuple):
    """Of a kernel on a packet: whether it asks, and by which oifs the packet leaves if any."""

    upcall: int | None
    oifs: Oifs | None = None
    source: bytes = b""  # of the entry that decides


PACKET = 100  # bytes


class FakeKernel:
    """A routing table of the kernel. `fail_in`: how many calls succeed before one fails."""

    def __init__(self, links: FakeLinks) -> None:
        self.owner: object = None
        self.vifs: dict[int, int] = {}
        self.fail_in: int | None = None
        self.calls = 0
        self.waiting: list[Upcall] = []
        self.changes: list[EntryChange | None] = []  # that listeners are told of
        # To switches: what, on which interface, and of advertisements the interval.
        self.said: list[tuple[str, str, int]] = []
        self.mute: int | None = None  # the error that all of that meets
        # Streams that it has asked about, and the interfaces of at most 4 packets that wait.
        self.unresolved: dict[tuple[bytes, bytes], list[str]] = {}
        # Where a set, what it has told of packets on the wrong interface, and does not tell again
        # as long as it is there: the real one does so for 3 s.
        self.told: set[tuple[bytes, bytes]] | None = None
        self._entries: dict[tuple[bytes, bytes, int | None], MFCEntry] = {}
        self._counts: Counter[tuple[bytes, bytes]] = Counter()
        self._wrong: Counter[tuple[bytes, bytes]] = Counter()
        self._links = links
        links.kernels.append(self)

    @property
    def entries(self) -> set[MFCEntry]:
        return set(self._entries.values())

    def clear(self) -> None:
        """What closing its socket does."""
        self.vifs.clear()
        self._entries.clear()
        self.unresolved.clear()
        self.owner = None

    def init(self) -> None:
        self._call()
        if self.owner not in (None, self):
            raise _error(errno.EADDRINUSE)
        self.owner = self

    def ask_for_wrong_vif(self) -> None:
        """It does without being asked."""

    def upcalls(self, most: int) -> list[Upcall]:
        upcalls, self.waiting = self.waiting[:most], self.waiting[most:]
        return upcalls

    def decide(self, source: bytes, group: bytes, iif: str) -> Decision:
        """What it does with a packet that arrives on an interface."""
        vif = self._vif(iif)
        if vif is None:
            return Decision(None)
        entry = self._entries.get((source, group, None)) or next(
            (
                each
                for each in self._entries.values()
                if each.any_source and each.group == group and vif in dict(self._shown(each))
            ),
            None,
        )
        if entry is None:
            return Decision(IGMPMSG_NOCACHE)
        if entry.parent != vif:
            return Decision(IGMPMSG_WRONGVIF)
        names = {link.ifindex: link.name for link in self._links.links.values()}
        return Decision(
            None,
            frozenset(
                (names[self.vifs[number]], ttl)
                for number, ttl in entry.ttls
                if number in self.vifs and (number != vif or not entry.any_source)
            ),
            entry.source,
        )

    def arrive(self, source: bytes, group: bytes, iif: str) -> Oifs | None:
        """Forward a packet, or ask what is to become of it.

        About a stream without an entry it asks once, until that is written or 10 s pass.
        """
        decision = self.decide(source, group, iif)
        vif, stream = self._vif(iif), (source, group)
        if decision.oifs is not None:
            self._counts[decision.source, group] += 1
        elif vif is not None and decision.upcall == IGMPMSG_WRONGVIF:
            self._counts[stream] += 1
            self._wrong[stream] += 1
            if self.told is None or stream not in self.told:
                self.waiting.append(Upcall(IGMPMSG_WRONGVIF, vif, source, group))
            if self.told is not None:
                self.told.add(stream)
        elif vif is not None:
            if stream not in self.unresolved:
                self.waiting.append(Upcall(IGMPMSG_NOCACHE, vif, source, group))
            self.unresolved.setdefault(stream, []).append(iif)
            del self.unresolved[stream][4:]
        return decision.oifs

    def _vif(self, name: str) -> int | None:
        link = self._links.links.get(name)
        found = (vif for vif, ifindex in self.vifs.items() if link and ifindex == link.ifindex)
        return next(found, None)

    def done(self) -> None:
        self.clear()

    def fileno(self) -> int:
        return -1

    def add_vif(self, vif: int, ifindex: int) -> None:
        self._call()
        if vif >= MAX_VIFS:
            raise _error(errno.ENFILE)
        if vif in self.vifs:
            raise _error(errno.EADDRINUSE)
        if ifindex not in {link.ifindex for link in self._links.links.values()}:
            raise _error(errno.EADDRNOTAVAIL)
        self.vifs[vif] = ifindex

    def del_vif(self, vif: int) -> None:
        self._call()
        self.vifs.pop(vif, None)

    def add_mfc(self, entry: MFCEntry) -> None:
        self._call()
        if entry.group[0] != 0xFF and entry.group[0] >> 4 != 0xE:
            raise _error(errno.EINVAL)
        # The kernel leaves out VIFs that it does not have, and says nothing.
        ttls = tuple((vif, ttl) for vif, ttl in entry.ttls if vif in self.vifs)
        key, stream = _key(entry), (entry.source, entry.group)
        if key not in self._entries:
            self._counts[stream] = self._wrong[stream] = 0
            if self.told is not None:
                self.told.discard(stream)
        self._entries[key] = entry._replace(ttls=ttls)
        self.changes.append(EntryChange(self._held(self._entries[key]), False))
        for iif in self.unresolved.pop(stream, ()):
            self.arrive(*stream, iif)

    def del_mfc(self, entry: MFCEntry) -> None:
        self._call()
        if _key(entry) not in self._entries:
            raise _error(errno.ENOENT)
        deleted = self._entries.pop(_key(entry))
        self.changes.append(EntryChange(self._held(deleted), True))

    def has_vif(self, vif: int) -> bool:
        return vif in self.vifs

    def vif_count(self, vif: int) -> VIFCount:
        if vif not in self.vifs:
            raise _error(errno.EADDRNOTAVAIL)
        return VIFCount(0, 0, 0, 0)

    def sg_count(self, source: bytes, group: bytes) -> SGCount:
        if not any((entry.source, entry.group) == (source, group) for entry in self.entries):
            raise _error(errno.EADDRNOTAVAIL)
        packets = self._counts[source, group]
        return SGCount(packets, packets * PACKET, self._wrong[source, group])

    def advertise(self, ifindex: int, interval: int) -> None:
        self._say("advertisement", ifindex, interval)

    def terminate(self, ifindex: int) -> None:
        self._say("termination", ifindex, 0)

    def _say(self, what: str, ifindex: int, interval: int) -> None:
        if self.mute is not None:
            raise _error(self.mute)
        found = (link for link in self._links.links.values() if link.ifindex == ifindex)
        link = next(found, None)
        if link is None:
            raise _error(errno.ENODEV)
        if not link.up:
            raise _error(errno.ENETUNREACH)
        self.said.append((what, link.name, interval))

    def named(self, links: Mapping[str, Link]) -> set[tuple[object, ...]]:
        """The entries with interface names for VIF numbers: source, group, iif, oifs.

        Numbers without a VIF are left out: whether one is wrong shows when there is one.
        """
        names = {link.ifindex: link.name for link in links.values()}
        by_vif = {vif: names[ifindex] for vif, ifindex in self.vifs.items()}
        return {
            (
                entry.source,
                entry.group,
                by_vif.get(entry.parent),
                frozenset((by_vif[vif], ttl) for vif, ttl in entry.ttls if vif in by_vif),
            )
            for entry in self.entries
        }

    def held(self, most: int | None = None) -> Held:
        """What a dump of the kernel shows, or the first entries of it."""
        entries = [self._held(entry) for entry in self._entries.values()]
        if most is None:
            return Held(dict(self.vifs), entries, (*self.unresolved,))
        return Held(dict(self.vifs), entries[:most], whole=False)

    def _held(self, entry: MFCEntry) -> HeldEntry:
        """An entry as the kernel tells of it."""
        return HeldEntry(
            entry.source,
            entry.group,
            self.vifs.get(entry.parent, 0),
            {self.vifs[vif]: ttl for vif, ttl in self._shown(entry) if vif in self.vifs},
        )

    def _shown(self, entry: MFCEntry) -> tuple[tuple[int, int], ...]:
        return (*entry.ttls, (entry.parent, 1)) if entry.any_source else entry.ttls

    def _call(self) -> None:
        self.calls += 1
        if self.fail_in == 0:
            self.fail_in = None
            raise _error(errno.ENOMEM)
        if self.fail_in is not None:
            self.fail_in -= 1


class FakeReader:
    """Reads what kernels hold, and hears what they tell. `errors`: that the next looks meet."""

    def __init__(self, kernels: Mapping[TableId, FakeKernel]) -> None:
        self.errors: list[OSError] = []
        self.looks = 0
        self._kernels = kernels

    def read(self) -> Iterator[EntryChange | None]:
        for kernel in self._kernels.values():
            while kernel.changes:
                yield kernel.changes.pop(0)

    def hear_owners(self, heard: bool) -> None:
        """All is heard in any case."""

    def read_vifs(self, id_: TableId) -> dict[int, int]:
        self.looks += 1
        if self.errors:
            raise self.errors.pop()
        return dict(self._kernels[id_].vifs)

    async def read_entries(self, id_: TableId) -> AsyncIterator[Sequence[HeldEntry]]:
        held = self._kernels[id_].held()
        for entry in held.entries:
            await asyncio.sleep(0)
            yield [entry]
        yield [HeldEntry(*stream, 0, {}, resolved=False) for stream in held.unresolved]


class FakeGroups:
    """All the sockets of joins, and the kernel's own list of what they have.

    fail_in: how many joins succeed before one fails. lost: what the kernel alone has not.
    """

    def __init__(self) -> None:
        self.sockets: list[FakeGroupSocket] = []
        self.lost: set[tuple[bytes, int]] = set()
        self.fail_in: int | None = None
        self._error: int | None = None
        self._leave_error: int | None = None

    def open(self, _: Family) -> "FakeGroupSocket":
        sock = FakeGroupSocket()
        sock.error = self._error
        sock.leave_error = self._leave_error
        sock.before_join = self._before_join
        self.sockets.append(sock)
        return sock

    def held(self) -> set[tuple[bytes, int]]:
        return {key for sock in self.sockets for key in sock.joined} - self.lost

    def refuse(self, error: int | None) -> None:
        """Let the kernel refuse all joins."""
        self._error = error
        for sock in self.sockets:
            sock.error = error

    def refuse_new(self, error: int | None) -> None:
        """Let the kernel refuse all joins on sockets that are opened from now on."""
        self._error = error

    def refuse_leaves(self, error: int | None) -> None:
        """Let the kernel refuse all leaves."""
        self._leave_error = error
        for sock in self.sockets:
            sock.leave_error = error

    def joined(self, links: Mapping[str, Link]) -> set[MembershipKey]:
        """What the sockets have, on devices that there are; and on others there must be nothing."""
        names = {link.ifindex: name for name, link in links.items()}
        return {
            MembershipKey(group, source, names[ifindex])
            for sock in self.sockets
            for (group, ifindex), sources in sock.joined.items()
            for source in sources
        }

    @property
    def leaves(self) -> int:
        """How often anything was left."""
        return sum(sock.leaves for sock in self.sockets)

    def _before_join(self) -> None:
        if self.fail_in == 0:
            self.fail_in = None
            raise _error(errno.EPERM)
        if self.fail_in is not None:
            self.fail_in -= 1


class FakeGroupSocket:
    """Takes so many groups, and sources of each, and mixes the kinds as badly as the kernel does.

    A source that is refused leaves its group behind.
    """

    def __init__(self, max_groups: int = 20, max_sources: int = 10) -> None:
        self.joined: dict[tuple[bytes, int], set[bytes]] = {}
        self.error: int | None = None  # that all joins meet
        self.leave_error: int | None = None  # and leaves
        self.before_join: Callable[[], None] = lambda: None
        self.closed = False
        self.leaves = 0
        self._max_groups = max_groups
        self._max_sources = max_sources

    def join(self, group: bytes, ifindex: int, source: bytes) -> None:
        self.before_join()
        if self.error:
            raise _error(self.error)
        key = (group, ifindex)
        if key in self.joined:
            if any(source) != any(map(any, self.joined[key])):
                raise AssertionError("the kernel would make one of the other")
            if source in self.joined[key]:
                raise _error(errno.EADDRINUSE)
        elif len(self.joined) >= self._max_groups:
            raise _error(errno.ENOBUFS)
        sources = self.joined.setdefault(key, set())
        if len(sources) >= self._max_sources:
            raise _error(errno.ENOBUFS)
        sources.add(source)

    def leave(self, group: bytes, ifindex: int, source: bytes) -> None:
        if self.leave_error:
            raise _error(self.leave_error)
        self.leaves += 1
        sources = self.joined[group, ifindex]
        sources.remove(source)
        if not sources:
            del self.joined[group, ifindex]

    def leave_group(self, group: bytes, ifindex: int) -> None:
        self.joined.pop((group, ifindex), None)

    def give_up(self) -> None:
        self.leaves += 1
        self.joined.clear()
        self.close()

    def close(self) -> None:
        self.closed = True


def _key(entry: MFCEntry) -> tuple[bytes, bytes, int | None]:
    return entry.source, entry.group, entry.parent if entry.any_source else None


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def just(membership: Membership) -> MembershipRange:
    """The range that this one membership is."""
    return MembershipRange(
        host_prefix(membership.group), source_prefix(membership.source), membership.interface
    )
