"""What the applet knows, and what of it deserves attention."""

import pytest

from mfc_dbus.applet import state
from mfc_dbus.applet.coroutines import Done, Pending, spawn
from mfc_dbus.applet.state import Overview, State, known, known_route, stream_key, stream_of
from mfc_dbus.client.info import RouteInfo, StreamInfo, UnroutedEvent
from mfc_dbus.model.members import Action, Permission

ROUTE = RouteInfo("10.0.0.1", "239.1.1.1", "eth1", ("eth2",), "active")
STREAM = StreamInfo(
    "10.0.0.1", "239.1.1.1", "eth1", ("eth2",), False, "10.0.0.1", "239.1.1.1", "eth1"
)
UNROUTED = UnroutedEvent("10.0.0.9", "239.9.9.9", "eth1", 0)


@pytest.fixture
def known_state() -> State:
    known_state = State()
    known_state.available = True
    known_state.set_routes([ROUTE])
    return known_state


def test_all_is_well_where_nothing_is_wrong(known_state: State) -> None:
    assert known_state.overview == Overview("well", 0, 0, 0, 1)


def test_the_service_is_away_whatever_was_known(known_state: State) -> None:
    known_state.put_routes([ROUTE._replace(state="waiting")])
    known_state.available = False
    assert known_state.overview == Overview("away", 1, 0, 0, 1)


@pytest.mark.parametrize("name", ["waiting", "partial", "unavailable"])
def test_a_route_that_waits_deserves_attention_until_it_is_well(
    known_state: State, name: str
) -> None:
    known_state.put_routes([ROUTE._replace(state=name)])
    assert known_state.overview == Overview("attention", 1, 0, 0, 1)
    known_state.put_routes([ROUTE])
    assert known_state.overview.level == "well"


def test_a_route_that_has_gone_waits_no_longer(known_state: State) -> None:
    known_state.put_routes([ROUTE._replace(state="waiting")])
    known_state.drop_routes([ROUTE, ROUTE])
    assert known_state.overview == Overview("well", 0, 0, 0, 0)


def test_a_stream_is_idle_that_was_seen_to_flow(known_state: State) -> None:
    never, idle = STREAM, STREAM._replace(group="239.1.1.2", idle=state.IDLE)
    stopped = idle._replace(group="239.1.1.3", oifs=())
    known_state.set_streams([never, idle, stopped], 3)
    assert known_state.overview == Overview("attention", 0, 1, 0, 1)


def test_the_rates_of_the_last_minute_are_kept_of_streams_that_are_there(
    known_state: State,
) -> None:
    for number in range(70):
        known_state.set_streams([STREAM._replace(bits_per_second=float(number))], 4)
    assert [*known_state.rates[stream_key(STREAM)]] == [float(n) for n in range(10, 70)]
    assert known_state.more_streams == 3
    known_state.set_streams([], 0)
    assert not known_state.rates


def test_an_unrouted_stream_is_forgotten_when_it_is_told_of_no_longer(known_state: State) -> None:
    known_state.see_unrouted(UNROUTED, 100.0)
    assert known_state.overview.unrouted == 1
    known_state.see_unrouted(UNROUTED, 110.0)
    assert not known_state.forget_unrouted(130.0)
    assert known_state.forget_unrouted(140.0)
    assert known_state.overview.level == "well"


def test_a_stream_that_has_an_entry_is_unrouted_no_longer(known_state: State) -> None:
    covered = UNROUTED._replace(group="239.1.1.1", source="10.0.0.1")
    by_any = UNROUTED._replace(group="239.2.2.2")
    for each in (covered, by_any, UNROUTED):
        known_state.see_unrouted(each, 100.0)
    known_state.set_streams([STREAM, STREAM._replace(source="*", group="239.2.2.2")], 2)
    assert [*known_state.unrouted] == [UNROUTED]


def test_streams_that_were_learned_of_a_route_are_told_together(known_state: State) -> None:
    wide = ROUTE._replace(source="*", group="239.1.0.0/16")
    learned = STREAM._replace(
        learned=True, route_source="*", route_group="239.1.0.0/16", packets=5, bits_per_second=1e3
    )
    known_state.set_streams([learned, learned._replace(source="10.0.0.2")], 2)
    told = stream_of(known_state, wide)
    assert told is not None
    assert (told.packets, told.bits_per_second, told.idle) == (10, 2e3, None)
    assert stream_of(known_state, ROUTE) is None  # that of its addresses was learned
    assert stream_of(known_state, ROUTE._replace(group="239.9.9.9")) is None


def test_nobody_may_what_the_service_has_not_said(known_state: State) -> None:
    assert known_state.may(Action.RELOAD) is Permission.NO
    known_state.permissions = {Action.RELOAD: "auth", Action.MANAGE_ROUTES: "perhaps"}
    assert known_state.may(Action.RELOAD) is Permission.AUTH
    assert known_state.may(Action.MANAGE_ROUTES) is Permission.NO


def test_what_a_newer_service_tells_besides_is_left_out() -> None:
    fields = ["10.0.0.1", "239.1.1.1", "eth1", ["eth2"], {"state": "active", "colour": "red"}]
    assert known_route(fields) == ROUTE
    told = {name.replace("_", "-"): value for name, value in STREAM._asdict().items()}
    assert known(StreamInfo, told | {"oifs": ["eth2"], "new": 1}) == STREAM


def test_a_coroutine_goes_on_as_its_results_come() -> None:
    waiting: list[Done] = []
    came: list[object] = []

    async def work() -> None:
        came.append(await Pending(waiting.append))
        try:
            await Pending(waiting.append)
        except ValueError as error:
            came.append(str(error))

    spawn(work())
    assert not came
    waiting.pop()(1, None)
    assert came == [1]
    waiting.pop()(None, ValueError("no"))
    assert came == [1, "no"]
