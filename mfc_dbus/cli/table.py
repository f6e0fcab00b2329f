"""Rows as columns: with rich on a terminal, aligned text elsewhere."""

import operator
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mfc_dbus.model.quoting import printable

# rich measures each cell several times: 10,000 rows would take it 10 seconds.
_MAX_STYLED_ROWS = 500
_STYLES = {
    "active": "green",
    "joined": "green",
    "partial": "yellow",
    "waiting": "yellow",
    "unavailable": "red",
    "failed": "red",
}


class Column(NamedTuple):
    title: str
    value: str | Callable[[Any], list[str]]  # an attribute of the row, or what makes words of it
    number: bool = False
    prose: bool = False  # may be broken into lines, and is left out on a terminal where empty


def write_table(name: str, columns: Sequence[Column], rows: Sequence[Any]) -> None:
    """Write to stdout; what is in the rows may be anybody's text."""
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
    """Tell whether the terminal is wide enough for this."""
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(
            column.title,
            justify="right" if column.number else "left",
            no_wrap=not (column.prose or callable(column.value)),
            overflow="fold",
        )
    for row in rows:
        # As Text, what looks like rich's markup is only text.
        texts = [_text(value, ", ") for value in row]
        cells = zip(columns, texts, strict=True)
        table.add_row(*(Text(text, _style(column, text)) for column, text in cells))
    console = Console(highlight=False)
    unbounded = console.options.update(max_width=sys.maxsize)
    fits = Measurement.get(console, unbounded, table).minimum <= console.width
    if fits:
        console.print(table)
    return fits


def _style(column: Column, text: str) -> str:
    return _STYLES.get(text, "") if column.value == "state" else ""
