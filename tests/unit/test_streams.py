"""What the kernel forwards, as it is listed: in slices, as it was then, filtered, sorted, cut."""

import asyncio
from typing import Any
from unittest import mock

import pytest
from lab.fake import PACKET, FakeKernel
from lab.ground import Ground, run
from lab.listing import Listing
from lab.parts import in_small_parts

from mfc_dbus.model.addresses import FAMILIES
from mfc_dbus.model.errors import InvalidArgs
from mfc_dbus.service.listed_streams import StreamsQuery, parse_question

IPV4, IPV6 = FAMILIES


@pytest.fixture
def ground() -> Ground:
    return Ground()


@pytest.fixture
def kernel(ground: Ground) -> FakeKernel:
    return ground.kernels[IPV4]


@pytest.fixture
def listing(ground: Ground) -> Listing:
    return Listing(ground)


def groups(streams: list[dict[str, Any]]) -> list[str]:
    return [stream["group"] for stream in streams]


def send(
    ground: Ground, group: str, count: int, source: str = "10.0.0.1", iif: str = "eth0"
) -> None:
    for _ in range(count):
        ground.arrive(source, group, iif)


def test_what_flows_by_a_route_is_told_with_the_rates_since_it_was_asked_for_before(
    ground: Ground, listing: Listing
) -> None:
    ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1 eth2")
    send(ground, "239.1.1.1", 7)
    (first,) = listing.ask()
    assert first == {
        "table": 0,
        "source": "10.0.0.1",
        "group": "239.1.1.1",
        "iif": "eth0",
        "oifs": ["eth1", "eth2"],
        "learned": False,
        "route-source": "10.0.0.1",
        "route-group": "239.1.1.1",
        "route-iif": "eth0",
        "packets": 7,
        "bytes": 7 * PACKET,
        "wrong-if": 0,
    }
    send(ground, "239.1.1.1", 5)
    listing.pass_time(2)
    (second,) = listing.ask()
    rates = {"packets-per-second": 2.5, "bits-per-second": 2.5 * 8 * PACKET, "idle": 0.0}
    assert second == first | {"packets": 12, "bytes": 12 * PACKET} | rates


def test_what_a_wide_route_has_learned_names_that_route(ground: Ground, listing: Listing) -> None:
    ground.add("10.0.0.0/8", "239.1.0.0/16", "eth[01]", "eth2")
    send(ground, "239.1.2.3", 3)
    (stream,) = listing.ask()
    assert (stream["learned"], stream["source"], stream["group"]) == (True, "10.0.0.1", "239.1.2.3")
    route = [stream[f"route-{name}"] for name in ("source", "group", "iif")]
    assert route == ["10.0.0.0/8", "239.1.0.0/16", "eth[01]"]


def test_a_stream_that_stops_is_idle_from_the_look_on_that_saw_its_last_packets(
    ground: Ground, listing: Listing
) -> None:
    ground.add("10.0.0.1", "239.1.1.1")
    send(ground, "239.1.1.1", 3)
    listing.ask()
    idle = []
    for sent in (1, 0, 0, 2):
        send(ground, "239.1.1.1", sent)
        listing.pass_time(2)
        (stream,) = listing.ask()
        idle.append((stream["idle"], stream["packets-per-second"]))
    assert idle == [(0.0, 0.5), (2.0, 0.0), (4.0, 0.0), (0.0, 1.0)]


def test_of_what_never_flowed_since_it_was_asked_for_nobody_says_how_long_it_is_idle(
    ground: Ground, listing: Listing
) -> None:
    ground.add("10.0.0.1", "239.1.1.1")
    send(ground, "239.1.1.1", 3)
    for _ in range(3):
        listing.pass_time(2)
        (stream,) = listing.ask()
    assert stream["packets-per-second"] == 0.0
    assert "idle" not in stream


def test_packets_that_come_by_another_interface_are_no_part_of_a_rate(
    ground: Ground, listing: Listing
) -> None:
    ground.add("10.0.0.1", "239.1.1.1")
    ground.add("10.0.0.1", "239.1.1.2", "eth3")
    listing.ask()
    send(ground, "239.1.1.1", 4)
    send(ground, "239.1.1.1", 12, iif="eth3")
    listing.pass_time(2)
    stream = listing.ask(group="239.1.1.1")[0]
    assert (stream["packets"], stream["wrong-if"], stream["bytes"]) == (4, 12, 4 * PACKET)
    assert (stream["packets-per-second"], stream["bits-per-second"]) == (2.0, 2 * 8 * PACKET)


def test_counters_that_began_anew_make_no_rate(
    ground: Ground, kernel: FakeKernel, listing: Listing
) -> None:
    ground.add("10.0.0.1", "239.1.1.1")
    send(ground, "239.1.1.1", 9)
    listing.ask()
    kernel._counts.clear()
    send(ground, "239.1.1.1", 3)
    listing.pass_time(2)
    (stream,) = listing.ask()
    assert stream["packets"] == 3
    assert "packets-per-second" not in stream


def test_of_any_source_routes_that_the_kernel_cannot_tell_apart_nothing_is_counted(
    ground: Ground, listing: Listing
) -> None:
    ground.add("*", "239.1.1.1", "eth0", "eth1")
    send(ground, "239.1.1.1", 4)
    assert listing.ask()[0]["packets"] == 4
    ground.add("*", "239.1.1.1", "eth2", "eth3")
    listing.pass_time(2)
    streams = listing.ask()
    assert [("packets" in stream, stream["source"]) for stream in streams] == [(False, "*")] * 2
    ground.delete("*", "239.1.1.1", "eth2")
    listing.pass_time(2)
    assert "packets" in listing.ask()[0]


# One look for all


def test_all_who_ask_within_a_second_are_told_by_one_look(
    ground: Ground, kernel: FakeKernel, listing: Listing
) -> None:
    for number in range(50):
        ground.add("10.0.0.1", f"239.1.1.{number}")
    with mock.patch.object(kernel, "sg_count", wraps=kernel.sg_count) as read:
        for number in range(64):
            listing.ask(limit=1 + number)
            listing.pass_time(1 / 65)
        assert read.call_count == 50
        listing.pass_time(1)
        listing.ask()
        assert read.call_count == 100


def test_a_look_that_took_long_is_followed_by_a_rest_of_three_times_that(
    ground: Ground, kernel: FakeKernel, listing: Listing
) -> None:
    ground.add("10.0.0.1", "239.1.1.1")

    def slowly(source: bytes, group: bytes) -> Any:
        listing.pass_time(2)
        return count(source, group)

    count = kernel.sg_count
    with mock.patch.object(kernel, "sg_count", side_effect=slowly) as read:
        for seconds, looks in ((0, 1), (5.9, 1), (0.2, 2)):
            listing.pass_time(seconds)
            listing.ask()
            assert read.call_count == looks


def test_who_wants_the_number_alone_has_nothing_read(
    ground: Ground, kernel: FakeKernel, listing: Listing
) -> None:
    for number in range(5):
        ground.add("10.0.0.1", f"239.1.1.{number}")
    with mock.patch.object(kernel, "sg_count") as read:
        assert (listing.ask(limit=0), listing.total) == ([], 5)
        assert (listing.ask(limit=0, group="239.1.1.2"), listing.total) == ([], 1)
    assert not read.called


def test_what_was_read_is_forgotten_when_nobody_asks_any_more(
    ground: Ground, listing: Listing
) -> None:
    controller = ground.controller
    before = controller.next_due
    ground.add("10.0.0.1", "239.1.1.1")
    listing.ask()
    assert controller.next_due == listing.now + 10_000_000_000
    listing.pass_time(9)
    listing.ask()
    due = listing.now + 10_000_000_000
    controller.do_due(due - 1)
    assert controller.next_due == due
    controller.do_due(due)
    assert controller.next_due == before
    listing.pass_time(11)
    assert "packets-per-second" not in listing.ask()[0]


def test_what_came_shortly_before_a_look_has_a_rate_by_the_next_one(
    ground: Ground, listing: Listing
) -> None:
    ground.add("10.0.0.1", "239.1.1.1")
    listing.ask()
    ground.add("10.0.0.1", "239.1.1.2")
    listing.pass_time(0.9)
    listing.ask()  # its counters are read outside of a look
    send(ground, "239.1.1.2", 3)
    rates = []
    for seconds in (0.1, 2):
        listing.pass_time(seconds)
        (stream,) = listing.ask(group="239.1.1.2")
        rates.append((stream["packets"], stream.get("packets-per-second"), stream.get("idle")))
    assert rates == [(3, None, 0.0), (3, 0.0, 2.0)]


def test_a_route_is_told_of_at_once_and_one_that_was_deleted_no_more(
    ground: Ground, listing: Listing
) -> None:
    ground.add("10.0.0.1", "239.1.1.1")
    assert groups(listing.ask()) == ["239.1.1.1"]
    ground.add("10.0.0.1", "239.1.1.2")
    send(ground, "239.1.1.2", 2)
    streams = listing.ask(sort="group")
    assert [stream["packets"] for stream in streams] == [0, 2]
    ground.delete("10.0.0.1", "239.1.1.1")
    assert groups(listing.ask()) == ["239.1.1.2"]


def test_streams_that_go_while_they_are_listed_are_in_the_answer_and_its_number(
    ground: Ground, listing: Listing
) -> None:
    ground.add("*", "239.1.0.0/16", "eth0", "eth1")
    for number in range(9):
        ground.arrive("10.0.0.1", f"239.1.{number % 2}.{number}")
    served = 0

    def flush() -> None:
        nonlocal served
        served += 1
        if served == 25:  # all was read, and some is listed
            ground.links.remove("eth0")
            ground.controller.follow()

    with in_small_parts(flush):
        streams = listing.ask(group="239.1.1.0/24", sort="group")
    assert served > 25
    assert listing.total == 4
    assert groups(streams) == [f"239.1.1.{n}" for n in (1, 3, 5, 7)]
    listing.pass_time(2)
    assert listing.ask() == []


# Which, and in what order


def test_streams_are_chosen_and_counted_by_all_that_they_say(
    ground: Ground, listing: Listing
) -> None:
    ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1")
    ground.add("*", "239.1.1.2", "eth0", "eth2")
    ground.add("10.0.0.0/8", "239.2.0.0/16", "eth3", "eth4")
    ground.add("*", "ff3e::1", "eth0", "eth1")
    ground.add("10.9.9.9", "239.3.3.3", "eth5", "")
    ground.change("10.0.0.0/8", "239.2.0.0/16", comment="The Lobby")
    send(ground, "239.2.2.2", 1, iif="eth3")
    one, any_, learned, six, stop = "239.1.1.1", "239.1.1.2", "239.2.2.2", "ff3e::1", "239.3.3.3"
    for options, found in (
        ({}, [one, any_, learned, stop, six]),
        ({"group": "239.1.0.0/16"}, [one, any_]),
        ({"group": "239.1.1.2"}, [any_]),
        ({"source": "10.0.0.1"}, [one, any_, learned]),
        ({"source": "10.0.0.0/8"}, [one, any_, learned, stop]),
        ({"source": "*"}, [any_, six]),
        ({"source": "0.0.0.0"}, [any_]),
        ({"source": "::"}, [six]),
        ({"iif": "eth3"}, [learned]),
        ({"iif": "eth[35]"}, [learned, stop]),
        ({"oif": "eth1"}, [one, six]),
        ({"oif": "eth?"}, [one, any_, learned, six]),
        ({"learned": True}, [learned]),
        ({"learned": False}, [one, any_, stop, six]),
        ({"table": 0, "iif": "eth0", "group": "ff00::/8"}, [six]),
        ({"table": 7}, []),
        ({"comment": "lobby"}, [learned]),
        ({"comment": "LOB", "learned": False}, []),
    ):
        assert groups(listing.ask(sort="group", **options)) == found, options
        assert listing.total == len(found)


def test_the_first_are_told_by_rate_packets_group_or_silence(
    ground: Ground, listing: Listing
) -> None:
    for number in (1, 2, 3, 4):
        ground.add("10.0.0.1", f"239.1.1.{number}")
    send(ground, "239.1.1.4", 100)
    listing.ask()
    for sent in ((2, 9, 0), (3, 0, 1)):
        for number, count in enumerate(sent, 1):
            send(ground, f"239.1.1.{number}", count)
        listing.pass_time(2)
        listing.ask()
    for sort, order in {
        "rate": [1, 3, 2, 4],
        "packets": [4, 2, 1, 3],
        "group": [1, 2, 3, 4],
        "idle": [2, 1, 3, 4],
    }.items():
        wanted = [f"239.1.1.{number}" for number in order]
        assert groups(listing.ask(sort=sort)) == wanted, sort
        assert groups(listing.ask(sort=sort, limit=2)) == wanted[:2]
        assert listing.total == 4
    assert groups(listing.ask()) == groups(listing.ask(sort="rate"))


@pytest.mark.slow
def test_no_more_than_1000_are_told_however_many_there_are(
    ground: Ground, listing: Listing
) -> None:
    for number in range(1100):
        ground.add("10.0.0.1", f"239.1.{number >> 8}.{number & 255}")
    assert len(listing.ask()) == 1000
    assert listing.total == 1100


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("sort", "speed", "'speed' is nothing to sort by; there are 'rate', 'packets', 'group'"),
        ("limit", 1001, "Option 'limit' is at most 1000, and not 1001"),
        ("group", "10.0.0.1", "'10.0.0.1' is no prefix of multicast groups"),
        ("source", "x", "Source 'x' is not an IPv4 or IPv6 address"),
        ("iif", "a b", "'a b' is not an interface name"),
        ("oif", "", "'' is not an interface name"),
    ],
)
def test_a_bad_option_is_refused_with_its_value(option: str, value: object, sentence: str) -> None:
    with pytest.raises(InvalidArgs, match=sentence.split(";", maxsplit=1)[0].replace("(", r"\(")):
        parse_question({option: value})


def test_answers_are_kept_for_a_time_only(
    ground: Ground, listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mfc_dbus.service.listed_streams._KEPT", 0.0)
    ground.add("10.0.0.1", "239.1.1.1")

    async def ask() -> None:
        await listing._listed.answer(StreamsQuery(), ":1.1", 0)
        assert listing._listed._answers
        later = asyncio.Event()
        asyncio.get_running_loop().call_later(0.001, later.set)
        await later.wait()
        assert not listing._listed._answers

    run(ask())


def test_what_is_kept_of_answers_is_bounded(ground: Ground, listing: Listing) -> None:
    ground.add("10.0.0.1", "239.1.1.1")
    for limit in range(1, 100):
        listing.ask(limit=limit)
    assert len(listing._listed._answers) <= 8
