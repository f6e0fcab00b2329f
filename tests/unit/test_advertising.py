"""When switches are told of a router, on a kernel in memory: how often, where, and at what cost."""

import errno
import itertools
import logging
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.fake import FakeKernel, FakeLinks
from lab.ground import Ground, expected, run
from msgspec.structs import replace

from mfc_dbus.config.settings import CurrentSettings, Settings
from mfc_dbus.control.router_discovery import FIRST, FIRST_WAIT, MOST, SHORTEST, RouterDiscovery
from mfc_dbus.model.addresses import FAMILIES, Family
from mfc_dbus.model.errors import StoreError
from mfc_dbus.model.route import TableId, parse_route
from mfc_dbus.routing.table import Table

IPV4, IPV6 = FAMILIES
SECOND = 1_000_000_000
BOTH = Settings().tables
HERE = Settings(router_discovery_interfaces=("eth1", "lan*"))
ADVERTISEMENT, TERMINATION = "advertisement", "termination"


class Clock:
    """RouterDiscovery on both tables and these interfaces, at a time that the test makes."""

    def __init__(
        self,
        *names: str,
        settings: Settings = HERE,
        spread: Callable[[], float] = lambda: 0.5,
        silent: tuple[str, ...] = (),
    ) -> None:
        self.links = FakeLinks(*names, silent=silent)
        self.kernels = {family: FakeKernel(self.links) for family in FAMILIES}
        self.tables = {
            TableId(family): Table(TableId(family), kernel)
            for family, kernel in self.kernels.items()
        }
        for table in self.tables.values():
            table.acquire()
        self.settings = CurrentSettings(settings)
        self.advertising = RouterDiscovery(self.tables, self.settings, spread)
        self.now = 0
        self.looks = 0
        self.follow()

    def follow(self) -> None:
        for event in self.links.update():
            self.advertising.see(event)

    def configure(self, settings: Settings) -> None:
        self.settings.now = settings
        self.advertising.configure(self.links.links)

    def run(self, seconds: float) -> list[tuple[float, str, str]]:
        """Let this time pass; what IPv4's kernel said, when in seconds, and where."""
        end = self.now + int(seconds * SECOND)
        kernel = self.kernels[IPV4]
        known = len(kernel.said)
        said: list[tuple[float, str, str]] = []
        while (when := self.advertising.next_due) is not None and when <= end:
            self.now = max(self.now, when)
            self.advertising.do_due(self.now)
            self.looks += 1
            said += [(self.now / SECOND, what, name) for what, name, _ in kernel.said[known:]]
            known = len(kernel.said)
        self.now = end
        return said

    def said(self, family: Family = IPV4) -> list[tuple[str, str]]:
        """What was said since the last look, and where."""
        said, self.kernels[family].said = self.kernels[family].said, []
        return [(what, name) for what, name, _ in said]


# How often


def test_it_is_said_three_times_at_the_start_and_then_at_each_interval() -> None:
    clock = Clock("eth1")
    times = [when for when, _, _ in clock.run(60)]
    assert times[:FIRST] == [1, 2, 3]
    assert times[FIRST:] == [3 + 17.5 * n for n in range(1, 4)]
    assert clock.kernels[IPV6].said == clock.kernels[IPV4].said
    assert set(clock.kernels[IPV4].said) == {(ADVERTISEMENT, "eth1", 20)}


@given(st.iterables(st.floats(0, 1, exclude_max=True)), st.integers(4, 180))
def test_the_times_are_those_that_the_rfc_allows(spread: Iterator[float], interval: int) -> None:
    settings = Settings(
        router_discovery_interfaces=("eth1",), advertising_interval=interval * SECOND
    )
    clock = Clock("eth1", settings=settings, spread=lambda: next(spread, 0.0))
    times = [0.0] + [when for when, _, _ in clock.run(4 * interval)]
    waits = [after - before for before, after in itertools.pairwise(times)]
    assert all(0 <= wait < FIRST_WAIT / SECOND for wait in waits[:FIRST])
    later = [wait / interval for wait in waits[FIRST:]]
    assert all(SHORTEST - 1e-6 <= part <= 1 + 1e-6 for part in later)
    assert times[-1] >= 3 * interval  # and it goes on


def test_interfaces_do_not_speak_all_at_once() -> None:
    numbers = iter(range(10_000))
    names = [f"lan{n}" for n in range(50)]
    clock = Clock(*names, spread=lambda: next(numbers) % 97 / 97)
    assert len({when for when, _, _ in clock.run(2)}) > 40


def test_one_look_says_no_more_than_it_may_and_the_next_goes_on() -> None:
    names = [f"lan{n}" for n in range(5 * MOST)]
    clock = Clock(*names)
    clock.advertising.do_due(0)
    for looks in range(1, 11):
        clock.advertising.do_due(SECOND)
        assert sum(len(kernel.said) for kernel in clock.kernels.values()) == MOST * looks
    everywhere = {(ADVERTISEMENT, name) for name in names}
    assert set(clock.said(IPV4)) == set(clock.said(IPV6)) == everywhere


def test_looks_are_no_more_than_there_is_to_say() -> None:
    clock = Clock("eth1", "lan0", "other")
    said = clock.run(3600)
    assert clock.looks <= len(said) + 1
    assert len(said) == 2 * (FIRST + (3600 - 3) * 10 // 175)


# Where


def test_it_is_said_where_the_settings_say_so_and_multicast_is_carried() -> None:
    clock = Clock("eth0", "eth1", "lan0", silent=("lan1", "lo"))
    assert {name for _, _, name in clock.run(20)} == {"eth1", "lan0"}


def test_nothing_is_said_unless_it_is_asked_for() -> None:
    clock = Clock("eth1", settings=Settings())
    assert clock.run(60) == []
    assert clock.advertising.next_due is None


def test_an_interface_that_comes_or_goes_up_is_new() -> None:
    clock = Clock("eth1")
    clock.run(60)
    clock.links.add("lan0")
    clock.follow()
    assert [when for when, _, name in clock.run(3) if name == "lan0"] == [61, 62, 63]
    clock.links.turn("lan0", up=False)
    clock.follow()
    assert "lan0" not in {name for _, _, name in clock.run(37)}
    clock.links.turn("lan0", up=True)
    clock.follow()
    assert [when for when, _, name in clock.run(3) if name == "lan0"] == [101, 102, 103]


def test_what_has_gone_or_has_another_name_is_left_alone() -> None:
    clock = Clock("eth1", "lan0")
    clock.run(60)
    clock.links.remove("lan0")
    clock.links.rename("eth1", "other")
    clock.follow()
    clock.said()
    assert clock.run(60) == []
    assert len(clock.advertising) == 0
    clock.links.rename("other", "lan7")
    clock.follow()
    assert [name for _, _, name in clock.run(3)] == ["lan7"] * FIRST


def test_the_same_name_may_be_another_device() -> None:
    clock = Clock("eth1")
    clock.run(60)
    clock.links.add("eth1")
    clock.follow()
    assert len(clock.run(3)) == FIRST


def test_nothing_is_said_from_a_table_that_is_not_ours() -> None:
    clock = Clock("eth1")
    clock.tables[TableId(IPV4)].release()
    assert clock.run(60) == []
    assert len(clock.kernels[IPV6].said) == FIRST + 3
    clock.tables[TableId(IPV4)].acquire()
    assert [when for when, _, _ in clock.run(3)] == [61, 62, 63]


def test_of_more_tables_the_default_ones_speak() -> None:
    links = FakeLinks("eth1")
    kernel = FakeKernel(links)
    table = Table(TableId(IPV4, 100), kernel)
    table.acquire()
    settings = Settings((*BOTH, table.id), router_discovery_interfaces=("eth1",))
    advertising = RouterDiscovery({table.id: table}, CurrentSettings(settings))
    for event in links.update():
        advertising.see(event)
    assert advertising.next_due is None


# Other settings


def test_what_the_settings_do_not_name_any_more_is_told_once() -> None:
    clock = Clock("eth1", "lan0", "lan1")
    clock.run(60)
    clock.said(), clock.said(IPV6)
    clock.configure(Settings(router_discovery_interfaces=("lan1",)))
    gone = {(TERMINATION, "eth1"), (TERMINATION, "lan0")}
    assert set(clock.said()) == set(clock.said(IPV6)) == gone
    clock.configure(Settings(router_discovery_interfaces=("lan1",)))
    assert clock.said() == []
    assert {name for _, _, name in clock.run(60)} == {"lan1"}


def test_what_stays_is_not_said_anew() -> None:
    clock = Clock("eth1", "lan0")
    clock.run(3)
    clock.configure(Settings(router_discovery_interfaces=("*",)))
    assert clock.run(17) == []
    clock.links.add("new")
    clock.follow()
    assert [name for _, _, name in clock.run(1)] == ["eth1", "lan0", "new"]


def test_another_interval_is_said_at_once() -> None:
    clock = Clock(
        "eth1",
        settings=Settings(router_discovery_interfaces=("eth1",), advertising_interval=180 * SECOND),
    )
    clock.run(20)
    clock.configure(
        Settings(router_discovery_interfaces=("eth1",), advertising_interval=4 * SECOND)
    )
    assert [when for when, _, _ in clock.run(10)] == [21, 22, 23, 26.5, 30]
    assert clock.kernels[IPV4].said[-1] == (ADVERTISEMENT, "eth1", 4)


def test_where_nothing_was_said_no_goodbye_is() -> None:
    clock = Clock("eth1", "lan0")
    clock.kernels[IPV4].mute = errno.EADDRNOTAVAIL
    clock.run(60)
    clock.kernels[IPV4].mute = None
    clock.said(IPV6)
    clock.configure(Settings())
    assert clock.said() == []
    assert clock.said(IPV6) == [(TERMINATION, "eth1"), (TERMINATION, "lan0")]


def test_a_table_that_is_given_up_says_goodbye_before() -> None:
    ground = Ground("eth1")
    ground.links.begin_anew()
    ground.begin([], settings=HERE)
    for now in range(0, 10 * SECOND, SECOND):
        ground.controller.do_due(now)
    run(
        ground.controller.documents.configure(
            Settings(BOTH[:1], router_discovery_interfaces=("eth1",))
        )
    )
    assert ground.kernels[IPV6].said[-1] == (TERMINATION, "eth1", 0)
    assert ground.kernels[IPV6].owner is None
    assert TERMINATION not in {what for what, _, _ in ground.kernels[IPV4].said}
    run(ground.controller.documents.configure(HERE))
    ground.controller.do_due(20 * SECOND)
    ground.controller.do_due(22 * SECOND)
    assert ground.kernels[IPV6].said[-1] == (ADVERTISEMENT, "eth1", 20)


def test_after_a_reload_that_fails_all_is_said_as_before() -> None:
    ground = Ground("eth0", "eth1")
    run(ground.controller.documents.configure(HERE))
    route = replace(parse_route("*", "239.1.1.1", "eth0", ["eth1"]), file="a.toml")
    ground.keeper.broken = True
    with pytest.raises(StoreError):
        run(
            ground.controller.documents.configure(
                Settings(router_discovery_interfaces=("eth0",)), [route]
            )
        )
    ground.controller.do_due(0)
    ground.controller.do_due(FIRST_WAIT)
    assert ground.kernels[IPV4].said == [(ADVERTISEMENT, "eth1", 20)]


def test_a_controller_looks_when_something_is_due() -> None:
    ground = Ground("eth0", "eth1")
    assert ground.controller.next_due is None
    run(ground.controller.documents.configure(HERE))
    ground.controller.do_due(0)
    due = ground.controller.next_due
    assert due is not None
    assert 0 <= due < FIRST_WAIT
    ground.controller.do_due(FIRST_WAIT)
    assert ground.kernels[IPV4].said == [(ADVERTISEMENT, "eth1", 20)]
    ground.controller.announce_termination()
    assert ground.kernels[IPV4].said[1:] == [(TERMINATION, "eth1", 0)]


def test_routes_stay_in_the_kernel_when_a_link_goes_down() -> None:
    ground = Ground("eth0", "eth1")
    route = ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1")
    calls = ground.kernels[IPV4].calls
    ground.links.turn("eth1", up=False)
    ground.controller.follow()
    assert ground.held() == {expected(route)}
    assert ground.kernels[IPV4].calls == calls


# What goes wrong


def test_an_error_is_logged_once_and_it_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock("eth1", settings=Settings(BOTH[:1], router_discovery_interfaces=("eth1",)))
    clock.kernels[IPV4].mute = errno.EADDRNOTAVAIL
    with caplog.at_level(logging.WARNING):
        clock.run(600)
        (line,) = caplog.messages
        assert "eth1" in line
        assert "Cannot assign requested address" in line
        clock.kernels[IPV4].mute = errno.ENOBUFS
        clock.run(600)
        assert len(caplog.messages) == 2
        clock.kernels[IPV4].mute = None
        assert clock.run(20)
        clock.kernels[IPV4].mute = errno.ENOBUFS
        clock.run(600)
        assert len(caplog.messages) == 3


def test_what_heals_at_the_start_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock("eth1")
    clock.kernels[IPV4].mute = errno.EADDRNOTAVAIL
    with caplog.at_level(logging.WARNING):
        clock.run(2)
        clock.kernels[IPV4].mute = None
        assert len(clock.run(60)) == 1 + 3
    assert caplog.messages == []


# Memory

NAMES = ["eth0", "eth1", "lan0", "lan1"]
STEPS = st.one_of(
    st.tuples(st.sampled_from(["add", "remove", "up", "down"]), st.sampled_from(NAMES)),
    st.tuples(st.just("rename"), st.sampled_from(["lan0", "eth1"])),
    st.tuples(st.just("configure"), st.sampled_from(["*", "eth*", "lan1", "none"])),
    st.tuples(st.sampled_from(["leave", "take", "wait"]), st.just("")),
)


@given(st.lists(STEPS, max_size=30))
def test_whatever_happens_it_is_said_where_it_should_be_and_nothing_else_is_remembered(
    steps: list[tuple[str, str]],
) -> None:
    clock = Clock(*NAMES, settings=Settings())
    pattern = "none"
    links = clock.links
    for step, name in steps:
        if step == "add":
            links.add(name)
        elif step == "remove" and name in links.links:
            links.remove(name)
        elif step in ("up", "down") and name in links.links:
            links.turn(name, up=step == "up")
        elif step == "rename" and name in links.links and "new" not in links.links:
            links.rename(name, "new")
        elif step == "configure":
            pattern = name
            clock.configure(Settings(router_discovery_interfaces=(pattern,)))
        elif step == "leave":
            clock.tables[TableId(IPV4)].release()
        elif step == "take":
            clock.tables[TableId(IPV4)].acquire()
        elif step == "wait":
            clock.run(1)
        clock.follow()
    prefix = pattern.removesuffix("*")
    there = {name: link.up for name, link in links.links.items() if name.startswith(prefix)}
    assert len(clock.advertising) == len(there) * len(BOTH)
    clock.said(IPV6)
    said = {name for _, _, name in clock.run(20)}
    up = {name for name, is_up in there.items() if is_up}
    assert {name for _, name in clock.said(IPV6)} == up
    assert said == (up if clock.tables[TableId(IPV4)].owned else set())
