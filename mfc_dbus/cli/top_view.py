"""The screen of `top` as lines of text: what is on it, and what a key does to it (pure)."""

import textwrap
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from mfc_dbus.cli.streams import is_without_rates, rate, span
from mfc_dbus.model.quoting import printable

if TYPE_CHECKING:
    from mfc_dbus.client import StreamInfo

SORTS = {"r": "rate", "p": "packets", "g": "group", "i": "idle"}  # by their keys
HELP = "r rate  p packets  g group  i idle  / filter  enter explain  space pause  q quit"
_HELP_OF_PAGE = "escape back  q quit"
_AROUND = 4  # lines that are no streams
_CUT = "~"  # ends a text that was cut
_GAP = 2
_NARROW = 20  # columns that texts are broken into at the least
_LEAST = 4  # characters of a text that is cut


class Wish(Enum):
    """What a key wants of somebody else."""

    ASK = "ask"  # the service anew
    EXPLAIN = "explain"  # the chosen stream
    END = "end"


class Line(NamedTuple):
    text: str
    style: str = ""  # "bold", "reverse"


class _Column(NamedTuple):
    title: str
    cells: Sequence[str]
    number: bool = False


class View:
    """What is shown, how it is sorted and filtered, and which stream is chosen.

    text: the filter. typing: whether keys go into it. message: is shown in place of the help.
    page: lines that are shown in place of the streams, None for none.
    """

    def __init__(self, sort: str = "rate") -> None:
        self.sort = sort
        self.text = ""
        self.typing = False
        self.paused = False
        self.message = ""
        self.page: Sequence[str] | None = None
        self._streams: Sequence[StreamInfo] = ()
        self._more = 0
        self._narrowed = False
        self._chosen = 0  # of those that pass the filter
        self._first = 0  # of those on the screen
        self._page = 1  # streams on a screen

    def show(
        self, streams: "Sequence[StreamInfo]", more: int = 0, *, narrowed: bool = False
    ) -> None:
        """Show these streams. The one that was chosen stays chosen, if it is among them; but on the
        first line, where everybody begins, the choice stays on that line.

        more: how many others there are. narrowed: whether the service has chosen by the filter.
        """
        before = self.chosen
        self._streams, self._more, self._narrowed = streams, more, narrowed
        if before is not None and self._chosen:
            places = [place for place, each in enumerate(self.shown) if _is_same(each, before)]
            self._chosen = places[0] if places else self._chosen
        self._move(0)

    @property
    def shown(self) -> "Sequence[StreamInfo]":
        """The streams that pass the filter."""
        wanted = "" if self._narrowed else self.text.casefold()
        return [each for each in self._streams if wanted in _words(each).casefold()]

    @property
    def chosen(self) -> "StreamInfo | None":
        shown = self.shown
        return shown[self._chosen] if self._chosen < len(shown) else None

    @property
    def is_without_rates(self) -> bool:
        return is_without_rates(self._streams)

    def press(self, key: str) -> Wish | None:
        """Do what a key is for: a character, or "up", "enter" and the like."""
        if self.page is not None:
            return self._turn(key)
        if key in ("up", "down"):
            self._move(-1 if key == "up" else 1)
        elif key in ("page-up", "page-down"):
            self._move(-self._page if key == "page-up" else self._page)
        elif key in ("home", "end"):
            self._move(-len(self._streams) if key == "home" else len(self._streams))
        elif self.typing:
            return self._type(key)
        elif key == "q":
            return Wish.END
        elif key == "/":
            self.typing = True
        elif key == "enter":
            return Wish.EXPLAIN
        elif key == "escape":
            return self._filter("")
        elif key == " ":
            self.paused = not self.paused
            return None if self.paused else Wish.ASK
        elif key in SORTS:
            self.sort = SORTS[key]
            self._chosen = 0
            return Wish.ASK
        return None

    def lines(self, width: int, height: int) -> list[Line]:
        """Return the lines of a screen of this size."""
        if self.page is not None:
            texts = [part for text in self.page for part in _wrapped(printable(text), width)]
            return _fill([*map(Line, texts)], _HELP_OF_PAGE, width, height)
        shown = self.shown
        self._page = max(height - _AROUND, 1)
        self._first = min(self._first, self._chosen)
        self._first = max(self._first, self._chosen - self._page + 1)
        self._first = max(min(self._first, len(shown) - self._page), 0)
        some = shown[self._first : self._first + self._page]
        titles, *rows = _table(some, width)
        lines = [Line(self._summary(shown)), Line(self._prompt()), Line(titles, "bold")]
        for place, row in enumerate(rows, self._first):
            lines.append(Line(row, "reverse" if place == self._chosen else ""))
        return _fill(lines, printable(self.message) or HELP, width, height)

    def _summary(self, shown: "Sequence[StreamInfo]") -> str:
        packets = [each.packets_per_second or 0.0 for each in shown]
        bits = sum(each.bits_per_second or 0.0 for each in shown)
        flowing = sum(value > 0 for value in packets)
        total = f"{len(shown)}{f' of {len(shown) + self._more}' if self._more else ''}"
        words = (
            f"{total} streams, {flowing} flow: {rate(sum(packets))} packets/s, {rate(bits)} bit/s"
        )
        return f"{words}  by {self.sort}{'  PAUSED' if self.paused else ''}"

    def _prompt(self) -> str:
        if self.typing:
            return f"filter: {printable(self.text)}_"
        return f"filter: {printable(self.text)}" if self.text else ""

    def _type(self, key: str) -> Wish | None:
        if key == "enter":
            self.typing = False
        elif key == "escape":
            self.typing = False
            return self._filter("")
        elif key == "backspace":
            return self._filter(self.text[:-1])
        elif len(key) == 1 and key.isprintable():
            return self._filter(self.text + key)
        return None

    def _filter(self, text: str) -> Wish | None:
        changed, self.text, self._narrowed = text != self.text, text, False
        self._move(0)
        return Wish.ASK if changed else None

    def _turn(self, key: str) -> Wish | None:
        """Do what a key is for while there is a page."""
        if key in ("escape", "enter"):
            self.page = None
        return Wish.END if key == "q" else None

    def _move(self, by: int) -> None:
        self._chosen = max(min(self._chosen + by, len(self.shown) - 1), 0)


def _fill(lines: Sequence[Line], last: str, width: int, height: int) -> list[Line]:
    """Make lines a screen of this size, and this its last line."""
    some = [*lines[: max(height - 1, 0)]]
    some += [Line("")] * (height - 1 - len(some))
    return [Line(text[:width], style) for text, style in [*some, Line(last)][:height]]


def _wrapped(text: str, width: int) -> list[str]:
    """Break a text into lines; those after the first are indented."""
    return textwrap.wrap(text, max(width, _NARROW), subsequent_indent="    ") or [""]


def _is_same(one: "StreamInfo", other: "StreamInfo") -> bool:
    return one[:3] == other[:3] and one.table == other.table


def _words(stream: "StreamInfo") -> str:
    """Return all that a filter is compared with."""
    route = (stream.route_source, stream.route_group)
    return " ".join([stream.source, stream.group, stream.iif, *stream.oifs, *route, stream.comment])


def _table(streams: "Sequence[StreamInfo]", width: int) -> Iterator[str]:
    """Yield the titles and a line for each stream, none of them wider than this if there is room.

    The numbers have their place; of the texts the longest are cut. Comments are there where they
    take no room from others.
    """
    texts = [
        _Column("SOURCE", [each.source for each in streams]),
        _Column("GROUP", [each.group for each in streams]),
        _Column("IIF", [each.iif for each in streams]),
        _Column("OIFS", [",".join(each.oifs) or "(stop)" for each in streams]),
    ]
    numbers = [
        _Column("PACK/S", [rate(each.packets_per_second) for each in streams], number=True),
        _Column("BIT/S", [rate(each.bits_per_second) for each in streams], number=True),
        _Column("IDLE", [span(each.idle) for each in streams], number=True),
        _Column("PACKETS", [_packets(each) for each in streams], number=True),
    ]
    texts = [column._replace(cells=[*map(printable, column.cells)]) for column in texts]
    columns = [*texts, *numbers]
    widths = [max(map(len, [column.title, *column.cells])) for column in columns]
    too_wide = sum(widths) + _GAP * (len(columns) - 1) - width
    comments = _Column("COMMENT", [printable(each.comment) for each in streams])
    room = -too_wide - _GAP
    if any(comments.cells) and room >= len(comments.title):
        columns.append(comments)
        widths.append(min(max(map(len, [comments.title, *comments.cells])), room))
    while too_wide > 0 and max(widths[: len(texts)]) > _LEAST:
        # The longest gives way, and among equals the last, which the others are known by least.
        longest = max(range(len(texts)), key=lambda place: (widths[place], place))
        widths[longest] -= 1
        too_wide -= 1
    for line in zip(*([column.title, *column.cells] for column in columns), strict=True):
        cells = zip(line, widths, columns, strict=True)
        yield (" " * _GAP).join(_cell(*each) for each in cells).rstrip()


def _cell(text: str, width: int, column: _Column) -> str:
    if len(text) > width:
        text = text[: width - 1] + _CUT
    return text.rjust(width) if column.number else text.ljust(width)


def _packets(stream: "StreamInfo") -> str:
    return "-" if stream.packets is None else str(stream.packets)
