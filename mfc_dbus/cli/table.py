"""Writes rows as a table: with rich on a terminal, as aligned text elsewhere."""

import operator
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mfc_dbus.model.quoting import printable
from mfc_dbus.model.states import InterfaceState, MembershipState, RouteState

if TYPE_CHECKING:
    from rich.table import Table

# rich measures each cell several times: 10,000 rows would take it 10 seconds.
_MAX_STYLED_ROWS = 500
_STYLES: Mapping[str, str] = {
    RouteState.ACTIVE: "green",
    RouteState.PARTIAL: "yellow",
    RouteState.WAITING: "yellow",
    RouteState.UNAVAILABLE: "red",
    RouteState.DISABLED: "dim",
    InterfaceState.DOWN: "yellow",
    InterfaceState.MISSING: "red",
    MembershipState.JOINED: "green",
    MembershipState.FAILED: "red",
}


class Column(NamedTuple):
    title: str
    value: str | Callable[[Any], list[str]]  # an attribute of the row, or a function of the row
    number: bool = False
    prose: bool = False  # may be broken into lines, and is left out on a terminal where empty


def write_table(name: str, columns: Sequence[Column], rows: Sequence[Any]) -> None:
    """Write rows to stdout; `name` says in the plural what they are. Any text is made printable."""
    values = [_getter(column) for column in columns]
    table = [[value(row) for value in values] for row in rows]
    if not sys.stdout.isatty():
        _write_plain(columns, table)
    elif not table:
        print(f"No {name}")
    else:
        shown = [
            i for i, one in enumerate(columns) if not one.prose or any(row[i] for row in table)
        ]
        columns = [columns[i] for i in shown]
        table = [[row[i] for i in shown] for row in table]
        if len(table) > _MAX_STYLED_ROWS or not _write_rich(columns, table):
            _write_plain(columns, table)


def _getter(column: Column) -> Callable[[Any], object]:
    return operator.attrgetter(column.value) if isinstance(column.value, str) else column.value


def _text(value: object, separator: str) -> str:
    return printable(separator.join(value) if isinstance(value, list) else str(value))


def _write_plain(columns: Sequence[Column], rows: Sequence[Sequence[object]]) -> None:
    titles = [column.title for column in columns]
    lines = [titles, *([_text(value, ",") for value in row] for row in rows)]
    by_column = zip(columns, zip(*lines, strict=True), strict=True)
    padded = [_padded(cells, number=column.number) for column, cells in by_column]
    for line in zip(*padded, strict=True):
        print("  ".join(line).rstrip())


def _padded(cells: Sequence[str], *, number: bool) -> list[str]:
    width = max(map(len, cells))
    return [cell.rjust(width) if number else cell.ljust(width) for cell in cells]


def _write_rich(columns: Sequence[Column], rows: Sequence[Sequence[object]]) -> bool:
    """Write a table with colours, if the terminal is wide enough. Return whether it was.

    Where it is not, titles are broken into lines first, and then numbers are shortened.
    """
    from rich.console import Console
    from rich.measure import Measurement

    console = Console(highlight=False)
    unbounded = console.options.update(max_width=sys.maxsize)
    for narrow, short in ((False, False), (True, False), (True, True)):
        table = _rich_table(columns, rows, narrow=narrow, short=short)
        if Measurement.get(console, unbounded, table).minimum <= console.width:
            console.print(table)
            return True
    return False


def _rich_table(
    columns: Sequence[Column], rows: Sequence[Sequence[object]], *, narrow: bool, short: bool
) -> "Table":
    """Make a table. narrow: break titles into lines. short: write 12.3M for 12,345,678."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(
            column.title.replace("-", "\n") if narrow else column.title,
            justify="right" if column.number else "left",
            no_wrap=not (column.prose or callable(column.value)),
            overflow="fold",
        )
    for row in rows:
        # In a Text, rich takes nothing for its markup.
        texts = [
            shorten(value) if short and isinstance(value, int) else _text(value, ", ")
            for value in row
        ]
        cells = zip(columns, texts, strict=True)
        table.add_row(*(Text(text, _style(column, text)) for column, text in cells))
    return table


def shorten(number: int) -> str:
    """Write a number in at most five characters, such as 99999, 100k and 1.23M."""
    if number < 100_000:
        return str(number)
    value, unit = float(number), 0
    while value >= 999.5:
        value, unit = value / 1000, unit + 1
    decimals = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{decimals}f}{' kMGTPE'[unit]}"


def _style(column: Column, text: str) -> str:
    return _STYLES.get(text, "") if column.value == "state" else ""
