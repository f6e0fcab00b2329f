"""Tables of figures: for people at 80 columns, and as JSON for programs."""

import statistics
import sys
from collections import defaultdict
from typing import Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

_UNITS = {  # factor, digits
    "": (1, 0),
    "×": (1, 1),
    "s": (1, 2),
    "ms": (1e3, 1),
    "µs": (1e6, 0),
    "B": (1, 0),
    "MiB": (2**-20, 1),
}


class Column(NamedTuple):
    """Figures are taken in seconds and bytes, or are numbers; people see them in this unit."""

    name: str
    unit: str = ""

    def show(self, figure: float | None) -> str:
        if figure is None:
            return ""
        factor, digits = _UNITS[self.unit]
        return f"{figure * factor:,.{digits}f}"


class Row(NamedTuple):
    what: str
    version: str

    def __str__(self) -> str:
        return ", ".join(filter(None, self))


class Sheet:
    """A group's figures. What is taken again and again is shown by its median."""

    def __init__(self, title: str, *columns: Column) -> None:
        self._title = title
        self._columns = columns
        self._taken: dict[Row, list[tuple[float | None, ...]]] = defaultdict(list)

    def take(self, what: str, *figures: float | None, version: str = "") -> None:
        """Take a figure for each column; None where there is none. Say it on standard error."""
        row = Row(what, version)
        self._taken[row].append(figures)
        shown = (
            f"{column.name} {column.show(figure)} {column.unit}"
            for column, figure in zip(self._columns, figures, strict=True)
            if figure is not None
        )
        print(f"{self._title}: {row}: {'; '.join(shown)}", file=sys.stderr, flush=True)

    def median(self, what: str, column: str, version: str = "") -> float:
        (place,) = (n for n, each in enumerate(self._columns) if each.name == column)
        median = self._medians(Row(what, version))[place]
        assert median is not None
        return median

    def print(self) -> None:
        grid = Table(title=self._title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        grid.add_column("", no_wrap=True)
        for column in self._columns:
            grid.add_column(f"{column.name}\n{column.unit}", justify="right")
        for row in self._rows():
            medians = zip(self._columns, self._medians(row), strict=True)
            grid.add_row(str(row), *(column.show(figure) for column, figure in medians))
        Console().print(grid)

    def plain(self) -> dict[str, Any]:
        """Give it as JSON can have it, in seconds and bytes."""
        names = [column.name for column in self._columns]
        return {
            "title": self._title,
            "rows": [
                row._asdict()
                | {"runs": len(self._taken[row])}
                | dict(zip(names, self._medians(row), strict=True))
                for row in self._rows()
            ],
        }

    def _rows(self) -> list[Row]:
        """Order them as they came first, the versions of one thing beside each other."""
        order = list(dict.fromkeys(row.what for row in self._taken))
        return sorted(self._taken, key=lambda row: order.index(row.what))

    def _medians(self, row: Row) -> list[float | None]:
        """Give the median of each column, None where there are no figures."""
        columns = zip(*self._taken[row], strict=True)
        figures = ([one for one in each if one is not None] for each in columns)
        return [statistics.median(each) if each else None for each in figures]
