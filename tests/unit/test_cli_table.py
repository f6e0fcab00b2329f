"""Rows as columns, on a terminal and elsewhere."""

import contextlib
import io
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfc_dbus.cli import columns as columns_of_show
from mfc_dbus.cli.table import Column, shorten, write_table
from mfc_dbus.client import InterfaceInfo


class Stream(NamedTuple):
    group: str
    oifs: list[str]
    packets: int = 0
    state: str = "active"
    comment: str = ""


COLUMNS = [
    Column("GROUP", "group"),
    Column("OIFS", lambda row: row.oifs),
    Column("PACKETS", "packets", number=True),
    Column("STATE", "state"),
    Column("COMMENT", "comment", prose=True),
]
ONE = Stream("239.1.1.1", ["eth2", "eth3"], 5)
OTHER = Stream("ff3e::1", ["eth2"], 12345, "partial", "the lobby's [bold]screens[/]")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "90")
    monkeypatch.setenv("NO_COLOR", "1")


def piped(*rows: Stream) -> list[str]:
    return written(io.StringIO(), rows)


def shown(*rows: Stream) -> list[str]:
    return written(Terminal(), rows)


def written(
    stdout: io.StringIO, rows: Sequence[NamedTuple], columns: Sequence[Column] = COLUMNS
) -> list[str]:
    with contextlib.redirect_stdout(stdout):
        write_table("streams", columns, rows)
    return [re.sub(r"\x1b\[[01]m", "", line).rstrip() for line in stdout.getvalue().splitlines()]


def test_a_pipe_gets_aligned_columns() -> None:
    assert piped(ONE, OTHER) == [
        "GROUP      OIFS       PACKETS  STATE    COMMENT",
        "239.1.1.1  eth2,eth3        5  active",
        "ff3e::1    eth2         12345  partial  the lobby's [bold]screens[/]",
    ]


def test_a_pipe_gets_the_header_of_an_empty_table() -> None:
    assert piped() == ["GROUP  OIFS  PACKETS  STATE  COMMENT"]


def test_a_terminal_is_told_that_there_is_nothing() -> None:
    assert shown() == ["No streams"]


def test_a_terminal_gets_columns_and_no_markup_of_a_comment() -> None:
    assert shown(ONE, OTHER) == [
        "GROUP      OIFS        PACKETS  STATE    COMMENT",
        "239.1.1.1  eth2, eth3        5  active",
        "ff3e::1    eth2          12345  partial  the lobby's [bold]screens[/]",
    ]


def test_a_state_has_a_colour_where_colours_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in shown(ONE)[1]
    monkeypatch.delenv("NO_COLOR")
    assert "\x1b[32mactive" in shown(ONE)[1]


def test_a_terminal_gets_no_column_of_comments_where_there_is_none() -> None:
    assert "COMMENT" in shown(ONE, OTHER)[0]
    assert "COMMENT" not in shown(ONE)[0]


def test_only_lists_and_comments_are_broken_into_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "52")
    row = Stream("239.1.1.1", ["eth2", "eth3", "eth4"], 5, comment="for the lobby and the hall")
    first, *others = shown(row)[1:]
    assert others
    assert first.split()[0] == "239.1.1.1"
    assert " 5  active  for " in first
    words = " ".join([first, *others]).split()
    assert {"eth2,", "eth3,", "eth4", *row.comment.split()} <= set(words)


def test_a_table_of_interfaces_fits_into_80_columns_whatever_they_have_forwarded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    few = InterfaceInfo("eth1", "ipv4", 0, 2, 1, "active", 5, 0, 200, 0)
    many = InterfaceInfo("fifteen-letters", "ipv6", 31, 2, 99999, "missing", *[2**64 - 1] * 4)
    columns = columns_of_show.COLUMNS["interfaces"]
    *_, first, last = lines = written(Terminal(), [few, many], columns)
    assert max(map(len, lines)) <= 80
    assert first.split() == ["eth1", "ipv4", "0", "1", "active", "5", "200", "0", "0"]
    assert last.split()[-4:] == ["18.4E"] * 4
    assert [line.split() for line in written(Terminal(), [few], columns)] == [
        ["PACKETS", "BYTES", "PACKETS", "BYTES"],
        ["INTERFACE", "FAMILY", "VIF", "ROUTES", "STATE", "IN", "IN", "OUT", "OUT"],
        first.split(),
    ]


@given(st.integers(0, 2**64 - 1))
def test_a_short_number_has_five_characters_at_most_and_is_near(number: int) -> None:
    short = shorten(number)
    assert len(short) <= 5
    unit = "kMGTPE".find(short[-1]) + 1
    assert float(short.rstrip("kMGTPE")) * 1000**unit == pytest.approx(number, rel=0.006)


def test_a_terminal_too_narrow_for_that_breaks_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert shown(ONE)[1] == "239.1.1.1  eth2,eth3        5  active"


def test_thousands_of_rows_are_written_plainly() -> None:
    assert shown(*[ONE] * 5000)[1] == "239.1.1.1  eth2,eth3        5  active"


@pytest.mark.parametrize("write", [piped, shown])
def test_control_characters_of_a_cell_are_shown_by_their_numbers(
    write: Callable[[Stream], list[str]],
) -> None:
    assert r"active  \x1b]0;title\x07" in write(ONE._replace(comment="\x1b]0;title\x07"))[1]
