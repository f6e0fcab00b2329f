"""Where the bands and interfaces of the picture are: from streams to points (pure).

An interface is a node: on the left where streams arrive, on the right where they leave. A stream is
a band that begins in a slot of its iif and ends in a slot of each oif. Slots are as high as each
other, and the band in them as wide as its rate on a logarithmic scale; so a rate that changes moves
nothing but the width of its band.
"""

import functools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

MOST_BANDS = 200
_MARGIN = 12.0
_NODE_GAP = 14.0
_PAD = 5.0  # above and below the slots of a node
_NARROWEST, _WIDEST = 72.0, 168.0  # nodes
_SMALLEST_SLOT, _LARGEST_SLOT = 1.6, 30.0
_SMALLEST_NODE = 44.0
_THINNEST = 1.0  # bands
_FULL = 9.0  # log10 of the rate, in bit/s, whose band fills its slot
_LEAST = 2.0  # and of the one whose band is the thinnest
_STOP = 0.55  # of the way, where bands end that lead nowhere


class Kind(StrEnum):
    """How a band is drawn."""

    FLOWING = "flowing"
    QUIET = "quiet"  # nothing arrives
    WAITING = "waiting"  # its route forwards nothing
    STOPPED = "stopped"  # there is no oif
    UNROUTED = "unrouted"


class Drawn(NamedTuple):
    """What is to be a band. route: those of one route are together."""

    key: tuple[str, ...]
    kind: Kind
    iif: str
    oifs: Sequence[str]
    rate: float  # bit/s
    label: str
    group: str  # a shorter label
    route: str = ""
    learned: bool = False


class Node(NamedTuple):
    """An interface on one side."""

    name: str
    is_iif: bool
    x: float
    y: float
    width: float
    height: float


class Curve(NamedTuple):
    """A part of a band, from one point to another; oif is empty where it leads nowhere."""

    oif: str
    x0: float
    y0: float
    x1: float
    y1: float

    def at(self, x: float) -> float:
        """Return the y of the curve at this x: that of a cubic with level ends."""
        part = min(max((x - self.x0) / (self.x1 - self.x0), 0.0), 1.0) if self.x1 > self.x0 else 0.0
        return self.y0 + (self.y1 - self.y0) * part * part * (3 - 2 * part)


class Band(NamedTuple):
    """A stream: its curves begin at the same point."""

    drawn: Drawn
    width: float
    slot: float
    curves: Sequence[Curve]

    @property
    def x(self) -> float:
        return self.curves[0].x0

    @property
    def y(self) -> float:
        return self.curves[0].y0

    def distance(self, x: float, y: float) -> float:
        """Return how far a point is from the nearest of the curves that there are at this x."""
        there = [curve for curve in self.curves if curve.x0 <= x <= curve.x1]
        return min((abs(curve.at(x) - y) for curve in there), default=math.inf)


class Bracket(NamedTuple):
    """Streams that were learned of one route: where they begin."""

    route: str
    x: float
    y0: float
    y1: float


class Layout(NamedTuple):
    nodes: Sequence[Node]
    bands: Sequence[Band]
    brackets: Sequence[Bracket]
    height: float  # that it takes
    left_out: int

    def nearest(self, x: float, y: float) -> Band | None:
        """Return the band that is pointed to, None where there is none."""
        distances = [(band.distance(x, y), index) for index, band in enumerate(self.bands)]
        distance, index = min(distances, default=(math.inf, 0))
        if not self.bands or distance > max(self.bands[index].slot / 2, 6.0):
            return None
        return self.bands[index]


def choose(candidates: Iterable[Drawn], most: int = MOST_BANDS) -> tuple[list[Drawn], int]:
    """Return what is drawn, in the order of the picture, and how many others there are.

    Unrouted streams and routes that wait come before what flows, and that by its rate.
    """
    urgent = {Kind.UNROUTED: 0, Kind.WAITING: 1, Kind.FLOWING: 2, Kind.STOPPED: 3, Kind.QUIET: 4}
    all_ = sorted(candidates, key=lambda each: (urgent[each.kind], -each.rate))
    kept = [each for each in all_ if urgent[each.kind] < 2][: most // 4]
    some = [each for each in all_ if urgent[each.kind] >= 2][: most - len(kept)]
    chosen = kept + some
    chosen.sort(key=_order)
    return chosen, len(all_) - len(chosen)


def _order(each: Drawn) -> tuple[object, ...]:
    return each.iif, each.kind is Kind.UNROUTED, natural(each.route), natural(each.label), each.key


def arrange(drawn: Sequence[Drawn], width: float, height: float, left_out: int = 0) -> Layout:
    """Lay out what `choose` has returned. It is as high as it must be, and at least this high."""
    ins = _by_interface((each.iif, each) for each in drawn)
    outs = _by_interface((oif, each) for each in drawn for oif in each.oifs)
    slot = min(
        _slot(ins, height - 2 * _MARGIN),
        _slot(outs, height - 2 * _MARGIN),
    )
    node_width = min(max(width * 0.16, _NARROWEST), _WIDEST)
    left, left_slots, left_end = _column(ins, slot, _MARGIN, node_width, is_iif=True)
    right_x = max(width - _MARGIN - node_width, _MARGIN + node_width)
    right, right_slots, right_end = _column(outs, slot, right_x, node_width, is_iif=False)
    total = max(left_end, right_end) + _MARGIN - _NODE_GAP
    left = _centred(left, left_slots, (max(height, total) - left_end + _NODE_GAP - _MARGIN) / 2)
    right = _centred(right, right_slots, (max(height, total) - right_end + _NODE_GAP - _MARGIN) / 2)
    begin, end = _MARGIN + node_width, right_x
    stop = begin + (end - begin) * _STOP
    bands = []
    for each in drawn:
        y = left_slots[each.iif, each.key]
        curves = [Curve(oif, begin, y, end, right_slots[oif, each.key]) for oif in each.oifs]
        curves = curves or [Curve("", begin, y, stop, y)]
        bands.append(Band(each, band_width(each.rate, slot), slot, curves))
    return Layout(left + right, bands, [*_brackets(bands)], max(height, total), left_out)


def band_width(rate: float, slot: float) -> float:
    """Return how wide a band is in its slot: the logarithm of its rate."""
    if rate <= 0:
        return _THINNEST
    part = (math.log10(max(rate, 1.0)) - _LEAST) / (_FULL - _LEAST)
    return _THINNEST + (max(slot * 0.86, 1.5) - _THINNEST) * min(max(part, 0.0), 1.0)


def _by_interface(pairs: Iterable[tuple[str, Drawn]]) -> dict[str, list[Drawn]]:
    found: dict[str, list[Drawn]] = defaultdict(list)
    for name, each in pairs:
        found[name].append(each)
    return {name: found[name] for name in sorted(found, key=natural)}


@functools.lru_cache(maxsize=4096)
def natural(name: str) -> list[tuple[int, str]]:
    """Return a key by which eth10 comes after eth9."""
    parts: list[tuple[int, str]] = []
    word = ""
    for character in name:
        if word and character.isdigit() != word[-1].isdigit():
            parts.append(_part(word))
            word = ""
        word += character
    return [*parts, _part(word)]


def _part(word: str) -> tuple[int, str]:
    return (int(word), "") if word.isdecimal() else (-1, word)


def _slot(nodes: Mapping[str, Sequence[Drawn]], room: float) -> float:
    """Return how high slots can be so that all nodes have room."""
    slots = sum(map(len, nodes.values()))
    if not slots:
        return _LARGEST_SLOT
    slot = (room - len(nodes) * (_NODE_GAP + 2 * _PAD)) / slots
    return min(max(slot, _SMALLEST_SLOT), _LARGEST_SLOT)


def _column(
    nodes: Mapping[str, Sequence[Drawn]], slot: float, x: float, width: float, *, is_iif: bool
) -> tuple[list[Node], dict[tuple[str, tuple[str, ...]], float], float]:
    """Return the nodes from the top on, the middles of their slots, and where the next would be."""
    column = []
    slots = {}
    y = _MARGIN
    for name, all_ in nodes.items():
        height = max(len(all_) * slot + 2 * _PAD, _SMALLEST_NODE)
        first = y + (height - len(all_) * slot) / 2
        for number, each in enumerate(all_):
            slots[name, each.key] = first + (number + 0.5) * slot
        column.append(Node(name, is_iif, x, y, width, height))
        y += height + _NODE_GAP
    return column, slots, y


def _centred(
    nodes: Sequence[Node], slots: dict[tuple[str, tuple[str, ...]], float], by: float
) -> list[Node]:
    by = max(by, 0.0)
    for key in slots:
        slots[key] += by
    return [node._replace(y=node.y + by) for node in nodes]


def _brackets(bands: Sequence[Band]) -> Iterator[Bracket]:
    """Yield what is around the streams of each route that were learned."""
    places: dict[tuple[str, str], list[Band]] = defaultdict(list)
    for band in bands:
        if band.drawn.learned:
            places[band.drawn.iif, band.drawn.route].append(band)
    for (_, route), members in places.items():
        first, last = members[0], members[-1]
        yield Bracket(route, first.x, first.y - first.slot / 2, last.y + last.slot / 2)
