"""The screen of top as lines: what is on it, and what each key does to it."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfc_dbus.cli.streams import rate, span
from mfc_dbus.cli.top_view import HELP, View, Wish
from mfc_dbus.client import StreamInfo


def stream(number: int, source: str = "10.1.0.10", **values: object) -> StreamInfo:
    told: dict[str, object] = {
        "group": f"239.1.1.{number}",
        "iif": "eth1",
        "oifs": ("eth2", "eth3"),
        "packets": 1000 + number,
        "packets_per_second": float(number),
        "bits_per_second": number * 8000.0,
        "idle": 0.0,
    }
    route = {"learned": False, "route_source": source, "route_group": "", "route_iif": "eth1"}
    return StreamInfo(source, **(route | told | values))  # type: ignore[arg-type]


def view_of(*numbers: int, more: int = 0) -> View:
    view = View()
    view.show([stream(number) for number in numbers], more)
    return view


def texts(view: View, width: int = 80, height: int = 12) -> list[str]:
    return [line.text for line in view.lines(width, height)]


def chosen(view: View) -> str:
    """What is shown in reverse."""
    (line,) = (line.text for line in view.lines(80, 12) if line.style == "reverse")
    return line


def press(view: View, *keys: str) -> list[Wish | None]:
    return [view.press(key) for key in keys]


def test_at_80_columns_a_stream_is_read_whole_in_one_line() -> None:
    view = view_of(7)
    summary, prompt, titles, row, *_, last = texts(view)
    assert summary == "1 streams, 1 flow: 7.00 packets/s, 56.0k bit/s  by rate"
    assert prompt == ""
    assert " ".join(titles.split()) == "SOURCE GROUP IIF OIFS PACK/S BIT/S IDLE PACKETS"
    assert " ".join(row.split()) == "10.1.0.10 239.1.1.7 eth1 eth2,eth3 7.00 56.0k 0s 1007"
    assert last == HELP


ADDRESSES = st.ip_addresses().map(str)
NAMES = st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=1, max_size=15)


@given(
    st.lists(st.tuples(ADDRESSES, ADDRESSES, NAMES, st.lists(NAMES, max_size=31)), max_size=20),
    st.integers(60, 200),
    st.integers(5, 50),
)
def test_no_line_is_wider_than_the_screen_and_no_screen_higher(
    streams: Sequence[tuple[str, str, str, list[str]]], width: int, height: int
) -> None:
    view = View()
    view.show(
        [
            stream(1, source, group=group, iif=iif, oifs=tuple(oifs), packets_per_second=1e9)
            for source, group, iif, oifs in streams
        ]
    )
    lines = texts(view, width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    for row in lines[3 : 3 + min(len(streams), height - 4)]:
        assert row.endswith("  1.00G  8.00k    0s     1001")


@pytest.mark.parametrize(("width", "height"), [(0, 0), (1, 1), (10, 2), (20, 3), (300, 4)])
def test_a_screen_of_any_size_has_something(width: int, height: int) -> None:
    assert len(texts(view_of(*range(50)), width, height)) <= height


def test_what_does_not_fit_is_cut_where_it_is_longest_and_numbers_never_are() -> None:
    view = View()
    long = stream(1, "fd00:1:2:3:4:5:6:7", group="ff3e:1:2:3:4:5:6:8", oifs=("enp0s31f6",) * 3)
    view.show([long])
    row = texts(view)[3]
    assert len(row) <= 80
    assert row.split()[-4:] == ["1.00", "8.00k", "0s", "1001"]
    assert "~" in row
    assert "~" not in texts(view, 140)[3]


def test_comments_are_shown_where_there_is_room_and_found_where_there_is_none() -> None:
    view = View()
    view.show([stream(1, comment="the lobby's screens"), stream(2)])
    assert "COMMENT" not in texts(view, 75)[2]
    assert texts(view, 120)[2].endswith("COMMENT")
    assert texts(view, 120)[3].endswith("the lobby's screens")
    assert texts(view, 80)[3].endswith("  the lobby'~")
    press(view, "/", *"LOBBY")
    assert [each.group for each in view.shown] == ["239.1.1.1"]


def test_the_stream_that_is_chosen_stays_chosen_when_it_moves() -> None:
    view = view_of(1, 2, 3)
    press(view, "down")
    assert "239.1.1.2 " in chosen(view)
    view.show([stream(3), stream(1), stream(2)])
    assert "239.1.1.2 " in chosen(view)
    view.show([stream(3), stream(1)])
    assert "239.1.1.1 " in chosen(view)
    view.show([])
    assert view.chosen is None


def test_on_the_first_line_the_first_stream_is_chosen_whichever_it_is() -> None:
    view = view_of(1, 2)
    view.show([stream(2), stream(1)])
    assert "239.1.1.2 " in chosen(view)


def test_keys_move_through_more_streams_than_the_screen_has_lines() -> None:
    view = view_of(*range(1, 101))
    assert len([line for line in texts(view) if "239." in line]) == 8
    for keys, number in (
        (["up"], 1),
        (["down"] * 9, 10),
        (["page-down"], 18),
        (["page-up", "page-up"], 2),
        (["end"], 100),
        (["down"], 100),
        (["home"], 1),
    ):
        press(view, *keys)
        assert f"239.1.1.{number} " in chosen(view)


def test_a_screen_that_grows_is_filled_from_above() -> None:
    view = view_of(*range(1, 7))
    press(view, "end")
    assert [line.split()[1] for line in texts(view, height=6)[3:5]] == ["239.1.1.5", "239.1.1.6"]
    assert len([line for line in texts(view) if "239." in line]) == 6


@pytest.mark.parametrize(
    ("key", "sort"), [("p", "packets"), ("g", "group"), ("i", "idle"), ("r", "rate")]
)
def test_a_letter_sorts_and_asks_the_service_anew(key: str, sort: str) -> None:
    view = view_of(1)
    assert press(view, key) == [Wish.ASK]
    assert (view.sort, texts(view)[0].endswith(f"by {sort}")) == (sort, True)


def test_what_is_typed_filters_at_once_and_letters_are_no_commands_meanwhile() -> None:
    view = view_of(1, 21, 22, 3)
    press(view, "/", "1", ".", "2")
    assert texts(view)[1] == "filter: 1.2_"
    assert [line.split()[1] for line in texts(view)[3:] if "239" in line] == [
        "239.1.1.21",
        "239.1.1.22",
    ]
    assert texts(view)[0].startswith("2 streams, 2 flow: 43.0 packets/s")
    press(view, "2")
    assert len(view.shown) == 1
    press(view, "backspace", "enter")
    assert texts(view)[1] == "filter: 1.2"
    press(view, "g")
    assert (view.sort, view.text) == ("group", "1.2")
    press(view, "escape")
    assert (view.text, len(view.shown)) == ("", 4)
    press(view, "/", "q", "r", " ")
    assert (view.text, view.typing, view.sort) == ("qr ", True, "group")
    press(view, "escape")
    assert (view.text, view.typing) == ("", False)


@pytest.mark.parametrize("text", ["ETH1", "eth3", "10.1.0", "239.1.1.5", ""])
def test_a_filter_finds_sources_groups_and_interfaces_in_any_case(text: str) -> None:
    view = view_of(5)
    press(view, "/", *text)
    assert len(view.shown) == 1


def test_what_the_service_has_chosen_by_an_address_is_not_filtered_again() -> None:
    view = View()
    press(view, "/", *"239.1.0.0/16")
    view.show([stream(1), stream(2)], narrowed=True)
    assert len(view.shown) == 2
    press(view, "backspace")
    assert len(view.shown) == 0


def test_a_pause_is_shown_and_its_end_asks_anew() -> None:
    view = view_of(1)
    assert press(view, " ") == [None]
    assert texts(view)[0].endswith("PAUSED")
    assert press(view, " ") == [Wish.ASK]
    assert not texts(view)[0].endswith("PAUSED")


def test_enter_wishes_for_an_explanation_and_escape_leads_back_from_it() -> None:
    view = view_of(1, 2)
    assert press(view, "down", "enter") == [None, Wish.EXPLAIN]
    view.page = ["ok: it flows", "  > a command " + "x " * 60]
    lines = texts(view)
    assert lines[0] == "ok: it flows"
    assert lines[1].startswith("  > a command")
    assert lines[2].startswith("    x x")
    assert lines[-1] == "escape back  q quit"
    assert press(view, "g", "/", "down") == [None] * 3
    assert (view.sort, view.typing) == ("rate", False)
    assert press(view, "escape") == [None]
    assert "239.1.1.2 " in chosen(view)


def test_q_ends_it_but_in_a_filter_it_is_a_letter() -> None:
    view = view_of(1)
    assert press(view, "q") == [Wish.END]
    assert press(view, "/", "q") == [None, Wish.ASK]
    press(view, "escape")
    view.page = ["a page"]
    assert press(view, "q") == [Wish.END]


def test_streams_that_the_service_leaves_out_are_told_of() -> None:
    assert texts(view_of(1, 2, more=98))[0].startswith("2 of 100 streams, 2 flow: ")


def test_a_message_takes_the_place_of_the_help() -> None:
    view = view_of(1)
    view.message = "The service is not running"
    assert texts(view)[-1] == "The service is not running"


def test_nothing_that_a_terminal_would_obey_gets_onto_the_screen() -> None:
    view = View()
    view.show([stream(1, iif="\x1b[2J", oifs=("\x9b1m", "a\nb"))])
    press(view, "/", "\x1b", "\x07", "\u202e")
    view.message = "\x1b[2J"
    assert all(line.isprintable() for line in texts(view, 200))
    view.page = ["\x1b[2J\u202e"]
    assert all(line.isprintable() for line in texts(view, 200))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0"),
        (0.004, "0.00"),
        (1.0, "1.00"),
        (9.99, "9.99"),
        (9.996, "10.0"),
        (99.9, "99.9"),
        (99.96, "100"),
        (999.4, "999"),
        (999.6, "1.00k"),
        (12_345, "12.3k"),
        (1.5e6, "1.50M"),
        (123e9, "123G"),
        (1e20, "100000P"),
    ],
)
def test_a_rate_is_written_short(value: float | None, text: str) -> None:
    assert rate(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.0, "0s"),
        (59.9, "59s"),
        (60, "1m"),
        (3599, "59m"),
        (7200, "2h"),
        (1e6, "11d"),
    ],
)
def test_a_time_is_written_short(seconds: float | None, text: str) -> None:
    assert span(seconds) == text
