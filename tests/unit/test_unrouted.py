"""What is told of streams that no route covers: each once in 10 s, and few of a flood."""

from hypothesis import given
from hypothesis import strategies as st

from mfc_dbus.model.status import UnroutedStream
from mfc_dbus.streams.unrouted import BURST, INTERVAL, RATE, Unrouted

SECOND = 1_000_000_000
LATE = 10**15  # after some days


def stream(number: int, iif: str = "eth0", table: int = 0) -> UnroutedStream:
    return UnroutedStream(bytes([10, 0, 0, 1]), b"\xef" + number.to_bytes(3, "big"), iif, table)


def test_a_stream_is_told_of_once_in_ten_seconds() -> None:
    unrouted = Unrouted()
    told = [unrouted.admit(stream(1), LATE + tenth * SECOND // 10) for tenth in range(301)]
    assert [tenth for tenth, each in enumerate(told) if each] == [0, 100, 200, 300]


def test_it_is_one_stream_on_whichever_interface_and_another_in_another_table() -> None:
    unrouted = Unrouted()
    assert unrouted.admit(stream(1), LATE)
    assert not unrouted.admit(stream(1, "eth1"), LATE)
    assert unrouted.admit(stream(1, table=7), LATE)
    assert unrouted.admit(stream(2), LATE)


def test_of_a_flood_as_many_are_told_as_the_limits_say_and_remembered() -> None:
    unrouted = Unrouted()
    seconds, rate = 30, 2_000
    told, most = 0, 0
    for number in range(seconds * rate):
        told += unrouted.admit(stream(number), LATE + number * SECOND // rate)
        most = max(most, len(unrouted))
    assert BURST + (seconds - 1) * RATE <= told <= BURST + seconds * RATE
    assert most <= BURST + RATE * INTERVAL // SECOND


def test_after_a_flood_and_a_second_of_silence_a_new_stream_is_told_of() -> None:
    unrouted = Unrouted()
    told = [unrouted.admit(stream(number), LATE) for number in range(1000)]
    assert sum(told) == BURST
    assert not unrouted.admit(stream(1001), LATE + SECOND // RATE - 1)
    assert unrouted.admit(stream(1002), LATE + SECOND // RATE)


@given(st.lists(st.tuples(st.integers(0, 150), st.integers(0, SECOND)), max_size=300))
def test_no_stream_is_told_of_twice_in_its_interval(steps: list[tuple[int, int]]) -> None:
    unrouted = Unrouted()
    now, last = LATE, dict[int, int]()
    for number, later in steps:
        now += later
        if unrouted.admit(stream(number), now):
            assert now - last.get(number, 0) >= INTERVAL
            last[number] = now
