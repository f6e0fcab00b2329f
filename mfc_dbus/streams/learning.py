"""Learns streams from upcalls: a stream gets an entry, which may move, and which expires.

It is for routes that the kernel has no entry for. Nothing is stored, and nobody waits for it:
packets of a new stream wait in the kernel.

1. A stream is learned on the interface where it arrives, if a route covers it there.
2. The kernel asks about a stream once in 10 s, wherever else it arrives meanwhile. So where no
   route covers it, it is learned for an interface where one would: packets that arrive there are
   forwarded from the first on, and others make upcalls, since they come by a wrong interface.
3. An entry stays while packets use it. When it has fallen silent, it moves to another interface
   where the stream arrives; an entry that no packet has ever used moves at once.
"""

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from mfc_dbus.config.settings import CurrentSettings
from mfc_dbus.kernel.abi import IGMPMSG_NOCACHE, IGMPMSG_WRONGVIF, Upcall
from mfc_dbus.kernel.mroute import MFCEntry
from mfc_dbus.model.addresses import forwardable
from mfc_dbus.model.journal import Message, about_table
from mfc_dbus.model.route import Route, RouteKey, stream_key
from mfc_dbus.model.status import UnroutedStream
from mfc_dbus.routing.learned_entries import derive, derive_native, elsewhere, natives
from mfc_dbus.routing.placement import Learned
from mfc_dbus.routing.steps import entry
from mfc_dbus.routing.table import Table
from mfc_dbus.streams.unanswered import Arrival, Unanswered
from mfc_dbus.streams.usage import Usage, Use

log = logging.getLogger(__name__)

_SECOND = 1_000_000_000
# The kernel tells of packets on the wrong interface at most once in 3 s (MFC_ASSERT_THRESH).
_TELLS = 4 * _SECOND
# An entry has fallen silent when in this time so many packets came by other interfaces, and none by
# its own. Where copies arrive in turn on some interfaces, fewer come between two by its own.
_SILENCE = _SECOND // 2
_OTHERS = 4
_LONG_SILENCE = 10 * _SECOND  # in which one packet by another interface is enough


class Learning:
    """Learns the streams of one table. Times are nanoseconds since boot."""

    def __init__(self, table: Table, settings: CurrentSettings) -> None:
        self._settings = settings
        self._table = table
        self._usage = Usage(table)
        self._unanswered = Unanswered()
        # Where streams arrive while packets use their entries on another interface, and when the
        # counters of these entries are to be read again, in the order of time.
        self._rivals: dict[RouteKey, Arrival] = {}
        self._looks: deque[tuple[int, RouteKey]] = deque()
        self._full = False
        self._refused = False

    def next_due(self) -> int | None:
        """Return when `do_due` has something to do, None for never."""
        if self._unanswered.any_to_answer:
            return 0
        at_uses = self._usage.next_due(self._settings.now.learned_expiry)
        if not self._looks:
            return at_uses
        return min(self._looks[0][0], at_uses) if at_uses is not None else self._looks[0][0]

    def hear(self, upcalls: Iterable[Upcall], now: int) -> list[UnroutedStream]:
        """Write the entries that the kernel asks for, where a route covers the stream.

        Return the streams that arrive where no route covers them.
        """
        names = {vif.number: vif.name for vif in self._table.vifs}
        others = []
        for upcall in upcalls:
            known = upcall.type in (IGMPMSG_NOCACHE, IGMPMSG_WRONGVIF)
            if not known or not forwardable(upcall.source, upcall.group):
                continue
            stream = self._key(upcall.source, upcall.group)
            before = self._table.learned.get(stream)
            iif = names.get(upcall.vif)
            if iif is None:  # the VIF has gone since, and the kernel does not ask for another
                if before is None and upcall.type == IGMPMSG_NOCACHE:
                    self._unanswered.retry(stream, now)
                continue
            if before is not None:
                covered = self._compare(before, iif, now)
            elif upcall.type == IGMPMSG_NOCACHE:
                covered = self._begin(stream, iif, now, has_packet=upcall.has_packet)
                if not covered and upcall.has_packet:
                    self._unanswered.put(stream, iif, now)
            else:
                # The entry may be one that is still to be inherited: the kernel tells of it again.
                here = self._derive(stream, iif)
                covered = self._table.unseen or here is None or self._learn(here, now)
            if not covered and upcall.has_packet:
                others.append(
                    UnroutedStream(upcall.source, upcall.group, iif, self._table.id.number)
                )
        self._answer_some(now)
        return others

    def covers(self, stream: UnroutedStream) -> bool:
        """Return whether a route covers a stream, be it installed in the kernel or not."""
        routes = self._table.routes
        key = stream_key(stream.source, stream.group, stream.table)
        best = routes.best(stream.source, stream.group, stream.iif)
        return best is not None or routes.get(key) is not None

    def answer(self, routes: Sequence[Route], now: int) -> None:
        """Write the entries that the kernel asked for before these routes were there."""
        if not self._unanswered:
            return
        new = [
            each
            for each in routes
            if not each.is_sg_on_one_iif and each.key in self._table.installed
        ]
        self._unanswered.retry_covered(new, now)
        self._answer_some(now)

    def _answer_some(self, now: int) -> None:
        for stream, iif in self._unanswered.take_to_answer():
            before = self._table.learned.get(stream)
            if not self._table.owned:
                continue
            if before is None:
                self._begin(stream, iif, now)
            elif self._is_covered(stream, iif):
                self._compare(before, iif, now)
            elif iif not in self._table.vifs:
                use = self._usage.read(stream, now)
                if use is not None and not use.brought:
                    self._forget(before)  # and the kernel asks where it arrives now

    def resume(self, unresolved: Iterable[tuple[bytes, bytes]], now: int) -> None:
        """Take over the learned streams of an earlier process, and answer its open upcalls.

        unresolved: the sources and groups of streams that the kernel has asked about. It does not
        say again where these arrive.
        """
        for learned in self._table.learned:
            self._usage.resume(learned.key, now)
        for source, group in unresolved:
            if forwardable(source, group):
                self._unanswered.retry(self._key(source, group), now)
        self._answer_some(now)

    def inherit(self, source: bytes, group: bytes, iif: str, now: int) -> bool:
        """Go on with an entry that an earlier process has learned, if a route covers its stream.

        Return whether that is done.
        """
        stream = self._key(source, group)
        learned = self._derive(stream, iif)
        if learned is not None:
            self._write(learned, now)
        return stream in self._table.learned

    def do_due(self, now: int, most: int) -> None:
        """Read the counters of entries whose time it is, at most so many of each kind.

        An entry that no packet uses is deleted, or moves to where its stream arrives.
        """
        self._answer_some(now)
        for stream in self._usage.expired(now, self._settings.now.learned_expiry, most):
            if stream in self._table.learned:
                self._forget(self._table.learned[stream])
        for _ in range(min(most, len(self._looks))):
            when, stream = self._looks[0]
            if when > now:
                break
            self._looks.popleft()
            self._look_at_rival(stream, now)

    # A stream without an entry

    def _begin(self, stream: RouteKey, iif: str, now: int, *, has_packet: bool = True) -> bool:
        """Learn a stream that has no entry. Return whether a route covers it on this interface.

        has_packet: see `Upcall`.
        """
        here = self._derive(stream, iif)
        if here is not None:
            done = self._learn(here, now, has_packet=has_packet)
        else:
            done = self._guess(stream, iif, now)
        if not done and not has_packet:
            self._ask_again(stream, iif)
        return here is not None

    def _guess(self, stream: RouteKey, iif: str, now: int) -> bool:
        """Learn a stream for an interface where a route would cover it, if there is one.

        Return whether that was done.
        """
        there = next(self._elsewhere(stream, iif), None)
        return there is not None and self._learn(there, now, has_packet=False)

    def _ask_again(self, stream: RouteKey, iif: str) -> None:
        """Make the kernel forget that it has asked about a stream: it asks at the next packet.

        It forgets when an entry is written. Until that is deleted again, packets go where the
        kernel's own any-source entry would send them; with two such entries some would be lost.
        """
        own, vifs = self._natives(stream), self._table.vifs
        if len(own) > 1 or iif not in vifs:
            return
        passing = MFCEntry(stream.source.address, stream.group.address, vifs[iif].number, ())
        if own:
            passing = entry(own[0], vifs)._replace(source=stream.source.address)
        try:
            self._table.kernel.add_mfc(passing)
            self._table.kernel.del_mfc(passing)
        except OSError as error:
            log.debug("The kernel is not made to ask again: %s", error)
        else:
            self._table.written += 2

    # A stream with an entry

    def _compare(self, before: Learned, iif: str, now: int) -> bool:
        """Decide where a stream belongs that arrives on an interface and has an entry.

        Return whether a route covers it on this interface, or it flows on another one.
        """
        stream = before.key
        if iif == before.iif:
            return True  # it has moved since
        use = self._usage.read(stream, now)
        if self._is_covered(stream, iif):
            if use is None or _is_silent(use, now):
                self._move(before, iif, now)
            else:
                if stream not in self._rivals:
                    self._looks.append((now + _SILENCE, stream))
                self._rivals[stream] = Arrival(iif, now)
            return True
        if use is not None and not _is_silent(use, now):
            return True
        self._unanswered.put(stream, iif, now)
        if use is not None and now - use.since >= _SILENCE:
            self._guess_again(before, iif, now)
        return False

    def _guess_again(self, before: Learned, iif: str, now: int) -> None:
        """Write an entry for the next of the interfaces where its stream would be covered.

        The kernel reports one packet in 3 s. Where the stream arrives on an uncovered interface and
        on a covered one, that is the packet that comes first, maybe always an uncovered one.
        """
        others = list(self._elsewhere(before.key, iif))
        names = [each.iif for each in others]
        turn = names.index(before.iif) + 1 if before.iif in names else 0
        if not others:  # the kernel's own entries are all that covers the stream now
            self._forget(before)
        elif others[turn % len(others)].iif != before.iif:
            self._write(others[turn % len(others)], now)

    def _look_at_rival(self, stream: RouteKey, now: int) -> None:
        """Move a stream to the other interface where it arrives, if its entry has fallen silent."""
        rival = self._rivals.pop(stream)
        before = self._table.learned.get(stream)
        if before is None or before.iif == rival.iif:
            return
        use = self._usage.read(stream, now)
        if use is None or _is_silent(use, now):
            self._move(before, rival.iif, now)
        elif now - rival.told < _TELLS:
            self._rivals[stream] = rival
            self._looks.append((now + _SILENCE, stream))

    def _move(self, before: Learned, iif: str, now: int) -> None:
        here = self._derive(before.key, iif)
        own = self._derive_native(before.key, iif)
        # Without an entry the kernel would ask about the packets that no route covers, and a guess
        # would take the stream from its own entry once more.
        learned = own if here is None and before.key in self._unanswered else here
        if learned is not None:
            self._write(learned, now)
        elif own is not None:
            self._forget(before)

    def _is_covered(self, stream: RouteKey, iif: str) -> bool:
        """Return whether a route covers a stream on this interface, learned or by its own entry."""
        if self._derive(stream, iif) is not None:
            return True
        return self._derive_native(stream, iif) is not None

    def _key(self, source: bytes, group: bytes) -> RouteKey:
        return stream_key(source, group, self._table.id.number)

    def _derive(self, stream: RouteKey, iif: str) -> Learned | None:
        return derive(self._table.routes, stream, iif, self._table.installed.get)

    def _derive_native(self, stream: RouteKey, iif: str) -> Learned | None:
        return derive_native(self._table.routes, stream, iif, self._table.installed.get)

    def _elsewhere(self, stream: RouteKey, iif: str) -> Iterator[Learned]:
        return elsewhere(self._table.routes, stream, iif, self._table.installed.get)

    def _natives(self, stream: RouteKey) -> Sequence[Route]:
        return natives(self._table.routes, stream, self._table.installed.get)

    # What is written

    def _learn(self, learned: Learned, now: int, *, has_packet: bool = True) -> bool:
        """Write an entry for a stream that has none, if there is room. Return whether there was.

        has_packet: whether a packet waits for the entry. Then the entry may also replace one that
        was used only by packets that had waited for it.
        """
        most = self._settings.now.max_learned
        full = len(self._table.learned) >= most
        if full and not self._full:
            log.warning(
                "%d streams are learned, and the configuration allows no more",
                most,
                extra=about_table(Message.TOO_MANY_STREAMS, self._table.id),
            )
        self._full = full
        if full:
            unused = self._usage.unused(now, for_packets=has_packet)
            if unused is None:
                return False
            self._forget(self._table.learned[unused])
        self._write(learned, now)
        return True

    def _write(self, learned: Learned, now: int) -> None:
        self._unanswered.remove(learned.key, learned.iif)
        try:
            self._table.kernel.add_mfc(entry(learned, self._table.vifs))
        except OSError as error:
            if not self._refused:
                log.error(
                    "The kernel refused a stream of a route: %s",
                    error,
                    extra=about_table(Message.KERNEL_REFUSED, self._table.id, reason=str(error)),
                )
            self._refused = True
            return
        self._refused = False
        self._table.written += 1
        self._table.learned.put(learned)
        self._usage.begin(learned.key, now)

    def _forget(self, learned: Learned) -> None:
        self._table.learned.remove(learned.key)
        self._usage.forget(learned.key)
        try:
            self._table.kernel.del_mfc(entry(learned, self._table.vifs))
        except OSError as error:
            log.debug("The entry of a stream was deleted by somebody else: %s", error)
        else:
            self._table.written += 1


def _is_silent(use: Use, now: int) -> bool:
    """Return whether an entry has fallen silent, given that packets come by another interface."""
    if not use.brought or now - use.since >= _LONG_SILENCE:
        return True
    return now - use.since >= _SILENCE and use.others >= _OTHERS
