"""What the applet says, and what of the state it draws and proposes."""

import pytest

from mfc_dbus.applet import texts, tooltips
from mfc_dbus.applet.checking import membership_problems, route_problems
from mfc_dbus.applet.documents import export, propose
from mfc_dbus.applet.drawing import candidates, key_of_route, key_of_stream, key_of_unrouted
from mfc_dbus.applet.layout import Kind
from mfc_dbus.applet.state import State
from mfc_dbus.client.info import MembershipInfo, RouteInfo, StreamInfo, UnroutedEvent

ROUTE = RouteInfo("10.0.0.1", "239.1.1.1", "eth1", ("eth2",), "active", comment="<the lobby>")
WIDE = RouteInfo("*", "239.2.0.0/16", "eth1", ("eth2",), "active")
STREAM = StreamInfo(
    *("10.0.0.1", "239.1.1.1", "eth1", ("eth2",), False, "10.0.0.1", "239.1.1.1", "eth1"),
    packets=1234,
    bytes=5_000_000,
    packets_per_second=100.0,
    bits_per_second=4.2e6,
)
LEARNED = STREAM._replace(
    group="239.2.3.4", learned=True, route_source="*", route_group="239.2.0.0/16"
)
UNROUTED = UnroutedEvent("10.0.0.9", "239.9.9.9", "eth1", 0)


@pytest.fixture
def state() -> State:
    state = State()
    state.set_routes([ROUTE, WIDE])
    state.set_streams([STREAM, LEARNED], 2)
    state.see_unrouted(UNROUTED, 0.0)
    state.set_memberships([MembershipInfo("*", "239.1.1.1", "eth1", "joined")])
    return state


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        (None, "–"),
        (0.0, "0 bit/s"),
        (0.4, "0.4 bit/s"),
        (999.4, "999 bit/s"),
        (999.6, "1.00 kbit/s"),
        (43_210.0, "43.2 kbit/s"),
        (4.2e6, "4.20 Mbit/s"),
        (1.234e11, "123 Gbit/s"),
        (5e16, "50000 Tbit/s"),
    ],
)
def test_a_rate_has_three_digits(bits: float | None, text: str) -> None:
    assert texts.rate(bits) == text


def test_a_span_is_told_in_one_unit() -> None:
    assert [*map(texts.span, (5.9, 60.0, 3599.0, 7300.0))] == ["5 s", "1 min", "59 min", "2 h"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "4.20 Mbit/s"),
        ({"idle": 1.0}, "4.20 Mbit/s"),
        ({"idle": 65.0}, "idle for 1 min"),
        ({"bits_per_second": 0.0}, "nothing arrives"),
        ({"bits_per_second": None}, "no rate yet"),
        ({"bits_per_second": None, "packets": None}, "not counted"),
    ],
)
def test_a_stream_says_how_fast_it_is(changes: dict[str, float | None], text: str) -> None:
    assert texts.flow(STREAM._replace(**changes)) == text  # type: ignore[arg-type]


def test_each_thing_is_one_band(state: State) -> None:
    third = ROUTE._replace(group="239.1.1.3", state="waiting", iif="eth9")
    stopped = ROUTE._replace(group="239.1.1.4", oifs=())
    off = ROUTE._replace(group="239.1.1.5", enabled=False, state="disabled")
    state.put_routes([third, stopped, off])
    drawn = {each.key: each for each in candidates(state)}
    assert {key: each.kind for key, each in drawn.items()} == {
        key_of_route(ROUTE.key): Kind.FLOWING,
        key_of_stream(LEARNED): Kind.FLOWING,
        key_of_unrouted(UNROUTED): Kind.UNROUTED,
        key_of_route(third.key): Kind.WAITING,
        key_of_route(stopped.key): Kind.STOPPED,
    }
    learned = drawn[key_of_stream(LEARNED)]
    assert (learned.learned, learned.route) == (True, "239.2.0.0/16 from any source")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (key_of_route(ROUTE.key), "<b>239.1.1.1 from 10.0.0.1</b>|eth1 → eth2|4.20 Mbit/s"),
        (key_of_route(ROUTE.key), "100 packets/s|1\u202f234 packets, 5.00 MB|&lt;the lobby&gt;"),
        (key_of_stream(LEARNED), "of the route 239.2.0.0/16 from any source"),
        (key_of_unrouted(UNROUTED), "arrives on eth1, and no route covers it"),
    ],
)
def test_a_band_that_is_pointed_to_says_all(state: State, key: tuple[str, ...], words: str) -> None:
    markup = tooltips.markup(state, key)
    for each in words.split("|"):
        assert each in markup


def test_nothing_is_said_of_what_is_gone(state: State) -> None:
    key = key_of_unrouted(UNROUTED)
    state.unrouted.clear()
    assert tooltips.markup(state, key) == ""
    assert tooltips.find(state, key) is None


def test_each_field_says_what_is_wrong_with_it() -> None:
    fine = ("10.0.0.1", "239.1.1.1", "eth1", ["eth2"], "")
    assert route_problems(*fine) == {}
    assert route_problems("", "239.1.1.0/24", "eth*", [], "for all") == {}
    assert route_problems("239.1.1.2", *fine[1:]).keys() == {"source"}
    wrong = route_problems("what", "10.0.0.1", "", ["a b", "c/d"], "\n")
    assert wrong.keys() == {"group", "iif", "oifs", "comment"}
    assert "'a b' is not an interface name" in wrong["oifs"]
    same = route_problems(*fine[:3], ["eth1"], "")
    assert "both the iif and an oif" in same["oifs"]
    assert membership_problems("", "239.1.1.1", "eth1", "") == {}
    wrong = membership_problems("239.1.1.1", "239.1.1.1", "eth*", "")
    assert wrong.keys() == {"source", "interface"}
    assert "1024" in membership_problems("", "239.0.0.0/8", "eth1", "")["group"]


def test_what_is_exported_changes_nothing(state: State) -> None:
    for as_json in (True, False):
        proposal = propose(state, export(state, as_json=as_json), merge=False)
        assert (proposal.lines, proposal.problems, proposal.is_change) == ([], (), False)


def test_a_document_is_compared_with_what_is_known(state: State) -> None:
    text = (
        '[[route]]\nsource = "10.0.0.1"\ngroup = "239.1.1.1"\niif = "eth1"\noifs = ["eth3"]\n'
        '[[membership]]\ngroup = "239.1.1.2"\ninterface = "eth1"\n'
    )
    proposal = propose(state, text, merge=False)
    assert [line[0] for line in proposal.lines] == ["+", "~", "−", "−"]
    assert "eth1 → eth2" in proposal.lines[1]
    assert "eth1 → eth3" in proposal.lines[1]
    assert len(propose(state, text, merge=True).lines) == 2
    assert propose(state, "[[route]]\ngroup = 7\n", merge=True).problems
