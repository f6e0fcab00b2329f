"""The answer of ListStreams: what the kernel forwards, with counters and rates."""

import asyncio
import struct
from bisect import insort
from collections.abc import Callable, Hashable, Mapping, Sequence
from enum import StrEnum
from operator import itemgetter
from typing import Any, NamedTuple

from mfc_dbus.bus.backend import Variant, encode
from mfc_dbus.control.view import View
from mfc_dbus.loop.slices import in_slices
from mfc_dbus.model.addresses import (
    Prefix,
    format_source,
    host_prefix,
    parse_group_prefix,
)
from mfc_dbus.model.errors import InvalidArgs
from mfc_dbus.model.interfaces import matches, parse_interface
from mfc_dbus.model.quoting import join, quote
from mfc_dbus.model.status import Stream
from mfc_dbus.service.describe import LongAnswers, parse_source_filter

OPTIONS = {
    "group": "s",
    "source": "s",
    "iif": "s",
    "oif": "s",
    "table": "u",
    "learned": "b",
    "silent": "b",
    "comment": "s",
    "sort": "s",
    "limit": "u",
    "counters": "b",
}
MOST = 1000  # streams in one answer
_ANSWERS = 8  # that are kept for whoever asks the same
_KEPT = 10.0  # seconds for which they are
_LENGTH = struct.Struct("<I")

_Key = tuple[Any, ...]


class Sort(StrEnum):
    """By what streams are sorted; the first are those that are told."""

    RATE = "rate"
    PACKETS = "packets"
    GROUP = "group"
    IDLE = "idle"


def _by_rate(stream: Stream) -> float:
    flow = stream.flow
    return -(flow.bits_per_second or 0.0) if flow is not None else 0.0


def _by_packets(stream: Stream) -> int:
    return -stream.flow.arrived if stream.flow is not None else 0


def _by_idle(stream: Stream) -> float:
    """Sort first what has been silent longest, since packets were seen to come."""
    idle = stream.flow.idle if stream.flow is not None else None
    return -idle if idle is not None else 1.0


def _equally(_: Stream) -> int:
    return 0


# What counts first. Where that is the same, group and source decide.
_SORTS: Mapping[Sort, Callable[[Stream], float]] = {
    Sort.RATE: _by_rate,
    Sort.PACKETS: _by_packets,
    Sort.GROUP: _equally,
    Sort.IDLE: _by_idle,
}


class StreamsQuery(NamedTuple):
    """Which streams are asked for, and how many of them; None stands for any.

    source: zeros for those from any source alone, of the one family; or "*", of both families.
    iif, oif: may be patterns. comment: a part of that of the route, in lower case. counters:
    whether they are told too.
    """

    group: Prefix | None = None
    source: Prefix | str | None = None
    iif: str | None = None
    oif: str | None = None
    table: int | None = None
    learned: bool | None = None
    silent: bool | None = None
    comment: str | None = None
    sort: Sort = Sort.RATE
    limit: int = MOST
    counters: bool = True

    @property
    def counted(self) -> bool:
        """Whether counters are needed; who wants to know the number alone needs none."""
        return self.silent is not None or (self.counters and self.limit > 0)

    def matches(self, stream: Stream) -> bool:
        return (
            (self.group is None or self.group.covers(stream.group))
            and (self.source is None or self._is_from(stream.source))
            and (self.iif is None or matches(self.iif, stream.iif))
            and (self.oif is None or any(matches(self.oif, each.name) for each in stream.oifs))
            and self.table in (None, stream.table)
            and self.learned in (None, stream.learned)
            and self.silent in (None, stream.is_silent)
            and (self.comment is None or self.comment in stream.comment.casefold())
        )

    def _is_from(self, source: Prefix) -> bool:
        """Return whether an entry for this source, or for any, has streams from ours."""
        if isinstance(self.source, str):
            return not source.length
        assert self.source is not None
        if self.source == host_prefix(bytes(len(self.source.address))):  # 0.0.0.0 or ::
            return source == Prefix(self.source.address, 0)
        return source.overlaps(self.source)


def parse_question(options: Mapping[str, Any]) -> StreamsQuery:
    """Make a question of the options of a call. Raises InvalidArgs."""
    sort = options.get("sort", Sort.RATE)
    if sort not in [*Sort]:
        raise InvalidArgs(f"{quote(sort)} is nothing to sort by; there are {join(Sort)}")
    limit = options.get("limit", MOST)
    if limit > MOST:
        raise InvalidArgs(f"Option 'limit' is at most {MOST}, and not {limit}")
    return StreamsQuery(
        parse_group_prefix(options["group"]) if "group" in options else None,
        parse_source_filter(options["source"]) if "source" in options else None,
        parse_interface(options["iif"], pattern=True) if "iif" in options else None,
        parse_interface(options["oif"], pattern=True) if "oif" in options else None,
        options.get("table"),
        options.get("learned"),
        options.get("silent"),
        options["comment"].casefold() if "comment" in options else None,
        Sort(sort),
        limit,
        options.get("counters", True),
    )


class ListedStreams:
    """Answers questions one after the other, and the same one with what was answered before."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._readers = LongAnswers()
        self._version: Hashable = None
        self._answers: dict[StreamsQuery, bytes] = {}
        self._forgetting: asyncio.TimerHandle | None = None

    async def answer(self, question: StreamsQuery, sender: str, uid: int | None) -> bytes:
        """Return the answer as a body, when it is the turn of this caller; see `list_streams`.

        Raises LimitExceeded where too many wait: see `LongAnswers`.
        """
        async with self._readers.turn(sender, uid):
            if question.counted:
                await self._view.look_at_streams()
            if self._version != self._view.streams_version:
                self._version = self._view.streams_version
                self._answers.clear()
            found = self._answers.get(question)
            if found is None:
                found = await list_streams(self._view, question)
                if len(self._answers) == _ANSWERS:
                    del self._answers[next(iter(self._answers))]
                self._answers[question] = found
                if self._forgetting is not None:
                    self._forgetting.cancel()
                loop = asyncio.get_running_loop()
                self._forgetting = loop.call_later(_KEPT, self._answers.clear)
            return found


async def list_streams(view: View, question: StreamsQuery) -> bytes:
    """Return the first streams that are asked for, and the number of all of them, as a body.

    They are as they were when this began. Other callers are served in between.
    """
    primary = _SORTS[question.sort]
    best: list[tuple[_Key, Stream]] = []
    total = 0
    async for stream in view.streams(counted=question.counted):
        if not question.matches(stream):
            continue
        total += 1
        first = primary(stream)
        if len(best) >= question.limit and (not best or first > best[-1][0][0]):
            continue
        insort(best, ((first, *_place(stream)), stream), key=itemgetter(0))
        del best[question.limit :]
    return await _encode([stream for _, stream in best], total)


def _place(stream: Stream) -> _Key:
    """Return a sort key that no two streams share: addresses in their order, IPv4 first."""
    group, source = stream.group.address, stream.source.address
    return len(group), group, source, stream.iif, stream.table


async def _encode(streams: Sequence[Stream], total: int) -> bytes:
    answer = bytearray(_LENGTH.size)
    async for stream in in_slices(streams):
        _append(answer, encode("a{sv}", [_describe(stream)]))
    _LENGTH.pack_into(answer, 0, len(answer) - _LENGTH.size)
    answer += bytes(-len(answer) % _LENGTH.size) + _LENGTH.pack(total)
    return bytes(answer)


def _append(array: bytearray, encoded: bytes) -> None:
    """Append a dictionary to an array of such, with the padding that is due there.

    encoded: as at the beginning of a body, where its length is padded to 8 for the first entry.
    """
    array += bytes(-len(array) % _LENGTH.size)
    array += encoded if len(array) % 8 == 0 else encoded[:4] + encoded[8:]


def _describe(stream: Stream) -> Mapping[str, Variant]:
    described = {
        "table": Variant("u", stream.table),
        "source": Variant("s", format_source(stream.source)),
        "group": Variant("s", str(stream.group)),
        "iif": Variant("s", stream.iif),
        "oifs": Variant("as", [oif.name for oif in stream.oifs]),
        "learned": Variant("b", stream.learned),
        "route-source": Variant("s", format_source(stream.route.source)),
        "route-group": Variant("s", str(stream.route.group)),
        "route-iif": Variant("s", stream.route_iif),
    }
    if stream.comment:
        described["comment"] = Variant("s", stream.comment)
    flow = stream.flow
    if flow is not None:
        described["packets"] = Variant("t", flow.arrived)
        described["bytes"] = Variant("t", flow.arrived_bytes)
        described["wrong-if"] = Variant("t", flow.wrong_if)
        if flow.packets_per_second is not None and flow.bits_per_second is not None:
            described["packets-per-second"] = Variant("d", flow.packets_per_second)
            described["bits-per-second"] = Variant("d", flow.bits_per_second)
        if flow.idle is not None:
            described["idle"] = Variant("d", flow.idle)
    return described
