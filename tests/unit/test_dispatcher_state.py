"""What scripts have heard, and what is under way, outlive the dispatcher."""

import asyncio
import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfc_dbus.client import RouteInfo, StreamInfo
from mfc_dbus.dispatcher.backlog import Backlog
from mfc_dbus.dispatcher.comparison import Comparison, RunningService, Up, thing_of, value_of
from mfc_dbus.dispatcher.events import UNROUTED, CausedBy, Event, Kind
from mfc_dbus.dispatcher.heard import Heard, Imagined
from mfc_dbus.dispatcher.progress import Process, Progress

BOOT = "one"
ROUTES = [
    RouteInfo("10.1.0.10", f"239.1.2.{number}", "eth*", ("eth2",), state)
    for number in range(3)
    for state in ("active", "waiting")
]


class Nothing:
    """What scripts have heard that are new."""

    def things(self, kind: Kind) -> list[object]:
        return []

    def get(self, thing: object) -> None:
        return None


EVENT = next(Comparison({Kind.ROUTE: ROUTES[:1]}).events(Nothing()))  # type: ignore[arg-type]


def tell(heard: Heard, comparison: Comparison) -> list[str]:
    """Have scripts hear what a comparison finds."""
    told = []
    for event in comparison.events(heard):
        told.append(f"{event.action} {event.subject}")
        heard.finish(event, heard.number + 1)
    return told


def test_what_was_heard_is_known_after_a_restart(tmp_path: Path) -> None:
    all_ = Comparison({Kind.ROUTE: ROUTES[::2], Kind.INTERFACE: [Up("eth2")]})
    with closing(Heard(tmp_path, boot=BOOT)) as heard:
        assert len(tell(heard, all_)) == 7
    with closing(Heard(tmp_path, boot=BOOT)) as heard:
        assert heard.number == 7
        assert tell(heard, all_) == []
        assert heard.get(thing_of(ROUTES[0])) == value_of(ROUTES[0])
    with closing(Imagined(tmp_path)) as heard:
        assert tell(heard, Comparison({Kind.ROUTE: ROUTES[2::2]})) == [
            "route-down 10.1.0.10,239.1.2.0",
            "route-remove 10.1.0.10,239.1.2.0",
        ]
    with closing(Heard(tmp_path, boot=BOOT)) as heard:
        assert tell(heard, all_) == []


def test_after_a_boot_what_is_up_is_heard_again_and_what_is_there_is_not(tmp_path: Path) -> None:
    all_ = Comparison({Kind.ROUTE: [ROUTES[0], ROUTES[3]], Kind.INTERFACE: [Up("eth2")]})
    with closing(Heard(tmp_path, boot=BOOT)) as heard:
        tell(heard, all_)
    with closing(Heard(tmp_path, boot="two")) as heard:
        assert tell(heard, all_) == ["route-up 10.1.0.10,239.1.2.0", "interface-up eth2"]


def test_an_interface_that_no_route_uses_is_forgotten_and_not_down(tmp_path: Path) -> None:
    with closing(Heard(tmp_path, boot=BOOT)) as heard:
        tell(heard, Comparison({Kind.INTERFACE: [Up("eth1"), Up("br0")], Kind.ROUTE: []}))
        known = Comparison({Kind.INTERFACE: [], Kind.ROUTE: ROUTES[1:2]})
        assert tell(heard, known) == ["interface-down eth1", "route-add 10.1.0.10,239.1.2.0"]
        assert heard.things(Kind.INTERFACE) == []


def test_what_is_not_known_is_not_compared(tmp_path: Path) -> None:
    with closing(Heard(tmp_path, boot=BOOT)) as heard:
        tell(heard, Comparison({Kind.ROUTE: ROUTES[:1], Kind.SERVICE: [RunningService("1")]}))
        assert tell(heard, Comparison({Kind.SERVICE: []})) == ["service-down service"]
        assert tell(heard, Comparison({Kind.SERVICE: []}, resync=True)) == ["resync service"]


@given(st.lists(st.lists(st.sampled_from(ROUTES), unique_by=lambda route: route.key), max_size=4))
def test_whatever_comes_after_another_is_found_whole_with_or_without_restarts(
    tmp_path_factory: pytest.TempPathFactory, ways: list[list[RouteInfo]]
) -> None:
    directory = tmp_path_factory.mktemp("state")
    for routes in ways:
        with closing(Heard(directory, boot=BOOT)) as heard:
            tell(heard, Comparison({Kind.ROUTE: routes}))
            there = {thing: heard.get(thing) for thing in heard.things(Kind.ROUTE)}
            assert there == {thing_of(each): value_of(each) for each in routes}


@pytest.mark.parametrize("spoilt", [b"", b"nonsense" * 2000, b"SQLite format 3\0" + b"x" * 9000])
def test_a_damaged_file_is_begun_anew(spoilt: bytes, tmp_path: Path) -> None:
    (tmp_path / "heard.sqlite").write_bytes(spoilt)
    with closing(Heard(tmp_path, boot=BOOT)) as heard:
        assert len(tell(heard, Comparison({Kind.ROUTE: ROUTES[:1]}))) == 2
    with closing(Heard(tmp_path, boot=BOOT)) as heard:
        assert heard.number == 2


def test_another_programs_database_is_begun_anew(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "heard.sqlite")) as other:
        other.executescript("CREATE TABLE t(x); PRAGMA user_version = 7;")
    with closing(Heard(tmp_path, boot=BOOT)) as heard:
        assert heard.number == 0


@pytest.mark.parametrize("value", ["", "1", "{}", '{"state": "active"}', '{"group": 1}'])
def test_a_value_of_another_version_was_not_heard(value: str, tmp_path: Path) -> None:
    with closing(Heard(tmp_path, boot=BOOT)) as heard:
        tell(heard, Comparison({Kind.ROUTE: ROUTES[:1]}))
    with closing(sqlite3.connect(tmp_path / "heard.sqlite")) as database, database:
        database.execute("UPDATE heard SET value = ?", [value])
    with closing(Imagined(tmp_path)) as imagined:
        assert len(tell(imagined, Comparison({Kind.ROUTE: ROUTES[:1]}))) == 2
    with closing(Heard(tmp_path, boot=BOOT)) as heard:
        assert tell(heard, Comparison({Kind.ROUTE: []})) == []
        assert len(tell(heard, Comparison({Kind.ROUTE: ROUTES[:1]}))) == 2


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file can grow over 64 KiB: the disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_while_the_disk_is_full_it_is_kept_in_memory_and_written_later(
    tmp_path: Path, small_files: None, caplog: pytest.LogCaptureFixture
) -> None:
    routes = [ROUTES[0]._replace(group=f"239.2.0.{n}", comment="x" * 200) for n in range(200)]
    all_ = Comparison({Kind.ROUTE: routes})
    with closing(Heard(tmp_path, boot=BOOT)) as heard:
        tell(heard, all_)
        for _ in range(2):
            heard.commit()
        assert caplog.text.count("cannot be kept") == 1
        assert tell(heard, all_) == []
        for number in range(1000):
            tell(heard, Comparison({Kind.STREAM: [STREAMS[0]._replace(source=f"10.2.{number}.1")]}))
        assert len(heard._unwritten) == 201
        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
    with closing(Heard(tmp_path, boot=BOOT)) as heard:
        assert tell(heard, all_) == []


# What is under way


def test_a_script_that_was_started_is_known_and_whether_it_still_runs(tmp_path: Path) -> None:
    event = EVENT._replace(cause=CausedBy("call", "add", 0, "root"), generation=3, time=5)
    with Progress(tmp_path, "life") as progress:
        assert progress.read() is None
        progress.begin(EVENT, 6)
        progress.begin(event, 7)
        running, ended = (
            subprocess.Popen(["sleep", "100"], preexec_fn=progress.starting(name))  # noqa: PLW1509
            for name in ("a", "b c")
        )
        ended.kill()
        ended.wait()
    with Progress(tmp_path, "life") as progress:
        under_way = progress.read()
        assert under_way is not None
        assert (under_way.number, under_way.event) == (7, event)
        alive = {name: process.is_alive for name, process in under_way.started.items()}
        assert alive == {"a": True, "b c": False}
        assert under_way.started["a"].pid == running.pid
    running.kill()
    os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOWAIT)
    assert not under_way.started["a"].is_alive  # though nobody has waited for it yet
    running.wait()


@pytest.mark.parametrize("cut", range(1, 40, 7))
def test_what_was_cut_off_while_it_was_written_was_not_started(cut: int, tmp_path: Path) -> None:
    with Progress(tmp_path, "life") as progress:
        progress.begin(EVENT, 7)
        for name in ("a", "b"):
            progress.starting(name)()
    path = tmp_path / "under-way"
    os.truncate(path, path.stat().st_size - cut)
    with Progress(tmp_path, "life") as progress:
        under_way = progress.read()
        assert under_way is not None
        assert [*under_way.started] in (["a"], [])
        progress.starting("c")()
    with Progress(tmp_path, "life") as progress:
        again = progress.read()
        assert again is not None
        assert [*again.started] == [*under_way.started, "c"]


def test_what_was_under_way_ends_with_the_boot_and_with_what_was_heard(tmp_path: Path) -> None:
    def under_way(boot: str, *, begin: bool = False) -> bool:
        with closing(Heard(tmp_path, boot=boot)) as heard, Progress(tmp_path, heard.life) as kept:
            if begin:
                kept.begin(EVENT, 7)
            return kept.read() is not None

    assert under_way(BOOT, begin=True)
    assert under_way(BOOT)
    assert not under_way("two")
    assert under_way(BOOT, begin=True)
    (tmp_path / "heard.sqlite").write_bytes(b"damaged" * 1000)
    assert not under_way(BOOT)


@given(st.binary(max_size=200))
def test_nonsense_is_nothing_under_way(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    directory = tmp_path_factory.mktemp("state")
    (directory / "under-way").write_bytes(data)
    with Progress(directory, "life") as progress:
        assert progress.read() is None


def test_a_pid_that_another_process_has_now_is_not_the_script() -> None:
    assert not Process(os.getpid(), "1").is_alive
    assert not Process(2**22 + 1, "1").is_alive
    assert sys.executable  # the process that asks is there


# The backlog


class Ground:
    """A backlog, and what scripts have heard: nothing."""

    def __init__(self, limit: int = 1_000) -> None:
        self.backlog = Backlog(self._compare, self._compare_streams, limit)
        self.compared = 0

    def _compare(self) -> Comparison:
        self.compared += 1
        return Comparison({}, resync=True)

    def _compare_streams(self) -> Comparison:
        return Comparison({Kind.STREAM: ()}, resync=True)

    def put(self, *items: Event | Comparison) -> None:
        for item in items:
            self.backlog.put(item)

    def next(self) -> Event | None:
        return self.backlog.next(Nothing())  # type: ignore[arg-type]

    def taken(self) -> list[Event]:
        return [*iter(self.next, None)]


EVENTS = [EVENT._replace(time=number) for number in range(6)]
STREAMS = [
    StreamInfo(f"10.1.0.{number}", "239.1.1.1", "up", ("down",), True, "*", "239.0.0.0/8", "up")
    for number in (1, 2)
]
UNROUTED_EVENTS = [Event(UNROUTED, Kind.STREAM, {}, time=number) for number in range(6)]


def test_too_many_events_become_a_comparison_and_later_ones_follow_it() -> None:
    ground = Ground(limit=3)
    ground.put(*EVENTS[:5])
    event = ground.next()
    assert event is not None
    assert (event.action, ground.compared) == ("resync", 1)
    ground.put(EVENTS[5])
    assert ground.taken() == [EVENTS[5]]


def test_many_comparisons_are_one_since_each_has_all_routes() -> None:
    ground = Ground()
    for _ in range(3):
        for _ in range(10):
            ground.put(Comparison({}), EVENT)
        assert len(ground.backlog) == 20
        assert (ground.taken(), ground.compared) == ([EVENT] * 10, 0)
    ground.put(*[Comparison({})] * 30)
    assert [event.action for event in ground.taken()] == ["resync"]
    assert ground.compared == 1


def test_what_strangers_send_neither_holds_up_nor_ends_what_others_did() -> None:
    ground = Ground(limit=3)
    ground.put(EVENTS[0], *UNROUTED_EVENTS[:2], EVENTS[1])
    assert ground.taken() == [*EVENTS[:2], *UNROUTED_EVENTS[:2]]
    ground.put(EVENTS[0], *UNROUTED_EVENTS, EVENTS[1])
    assert ground.next() == EVENTS[0]
    ground.put(EVENTS[2])
    assert [ground.next(), ground.next()] == [*EVENTS[1:3]]
    assert [event.action for event in ground.taken()] == ["resync"]
    assert ground.compared == 0
    # A comparison of streams is interrupted.
    ground.put(Comparison({Kind.STREAM: STREAMS}))
    first = ground.next()
    ground.put(EVENTS[0])
    assert ground.next() == EVENTS[0]
    assert [event and event.action for event in (first, *ground.taken())] == ["stream-begin"] * 2


def test_events_are_taken_in_order_also_by_one_who_waits() -> None:
    async def run() -> None:
        ground = Ground()
        waiting = asyncio.create_task(ground.backlog.wait())
        await asyncio.sleep(0)
        ground.put(*EVENTS)
        assert await waiting
        assert ground.taken() == EVENTS
        ground.backlog.close()
        assert not await ground.backlog.wait()

    asyncio.run(run())
