"""Where the bands of the picture are."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfc_dbus.applet import layout
from mfc_dbus.applet.layout import Drawn, Kind, arrange, band_width, choose, natural

INTERFACES = ["eth1", "eth2", "eth10", "vlan3", "a-rather-long-1"]


def drawn(number: int, rate: float = 1e6, kind: Kind = Kind.FLOWING, **fields: object) -> Drawn:
    told = {"iif": "eth1", "oifs": ("eth2",), "group": "239.1.1.1"} | fields
    return Drawn((f"{number}",), kind, rate=rate, label=f"stream {number}", **told)  # type: ignore[arg-type]


streams = st.builds(
    Drawn,
    key=st.tuples(st.uuids().map(str)),
    kind=st.sampled_from(Kind),
    iif=st.sampled_from(INTERFACES),
    oifs=st.lists(st.sampled_from(INTERFACES), unique=True, max_size=4).map(tuple),
    rate=st.floats(0, 1e12),
    label=st.just("a stream"),
    group=st.just("239.1.1.1"),
    route=st.sampled_from(["", "one route", "another"]),
    learned=st.booleans(),
)


@given(st.lists(streams, max_size=250), st.integers(360, 2000), st.integers(200, 1500))
def test_everything_has_its_room(given_: list[Drawn], width: int, height: int) -> None:
    chosen, left_out = choose(given_)
    assert len(chosen) + left_out == len(given_)
    made = arrange(chosen, width, height, left_out)
    assert made.height >= height
    assert len(made.bands) == len(chosen) <= layout.MOST_BANDS
    for node in made.nodes:
        assert node.x >= 0
        assert node.x + node.width <= width
        assert node.y >= 0
        assert node.y + node.height <= made.height
    for side in (True, False):
        column = sorted((node.y, node.height) for node in made.nodes if node.is_iif is side)
        for (y, high), (below, _) in itertools.pairwise(column):
            assert y + high <= below
    for band in made.bands:
        assert 0 < band.width <= max(band.slot, 1.5)
        assert len(band.curves) == max(len(band.drawn.oifs), 1)
        assert all(curve.x0 < curve.x1 for curve in band.curves)


@given(st.lists(streams, min_size=1, max_size=60))
def test_no_two_bands_share_a_slot(given_: list[Drawn]) -> None:
    made = arrange(choose(given_)[0], 900, 600)
    begins = sorted(band.y for band in made.bands)
    assert all(b - a >= made.bands[0].slot * 0.99 for a, b in itertools.pairwise(begins))


def test_a_band_is_found_where_it_is_and_nowhere_else() -> None:
    made = arrange([drawn(1), drawn(2, oifs=("eth3",))], 900, 600)
    for band in made.bands:
        for curve in band.curves:
            for x in (curve.x0, (curve.x0 + curve.x1 * 3) / 4, curve.x1):
                assert made.nearest(x, curve.at(x)) == band
    assert made.nearest(450, 5) is None
    assert arrange([], 900, 600).nearest(1, 1) is None


def test_a_faster_stream_is_a_wider_band_up_to_its_slot() -> None:
    rates = [0, 10, 1e3, 1e5, 1e7, 1e9, 1e12]
    widths = [band_width(rate, 20) for rate in rates]
    assert widths == sorted(widths)
    assert widths[0] == widths[1] == 1
    assert widths[-1] == widths[-2] < 20


def test_a_rate_moves_nothing() -> None:
    slow, fast = (arrange([drawn(1, rate), drawn(2)], 900, 600) for rate in (1e3, 1e9))
    assert slow.nodes == fast.nodes
    assert [band.curves for band in slow.bands] == [band.curves for band in fast.bands]


def test_of_very_many_the_busiest_are_drawn_and_what_needs_somebody() -> None:
    many = [drawn(n, rate=float(n)) for n in range(300)]
    unrouted = [drawn(1000 + n, 0, Kind.UNROUTED, oifs=()) for n in range(3)]
    waiting = [drawn(2000 + n, 0, Kind.WAITING) for n in range(100)]
    chosen, left_out = choose([*many, *unrouted, *waiting])
    assert left_out == 203
    assert sum(each.kind is Kind.UNROUTED for each in chosen) == 3
    assert sum(each.kind is Kind.WAITING for each in chosen) == 47
    assert min(each.rate for each in chosen if each.kind is Kind.FLOWING) == 150


def test_streams_of_one_route_are_together_in_a_bracket() -> None:
    learned = [drawn(n, route=f"route {n % 2}", learned=True) for n in range(6)]
    made = arrange(choose([*learned, drawn(9, route="route 9")])[0], 900, 600)
    assert [bracket.route for bracket in made.brackets] == ["route 0", "route 1"]
    first, second = made.brackets
    assert first.y0 < first.y1 <= second.y0 < second.y1
    slot = made.bands[0].slot
    assert first.y1 - first.y0 == pytest.approx(3 * slot)


def test_interfaces_are_in_the_order_of_their_numbers() -> None:
    names = ["eth10", "eth2", "vlan3", "eth", "eth2.5", "", "lo"]
    assert sorted(names, key=natural) == ["", "eth", "eth2", "eth2.5", "eth10", "lo", "vlan3"]
