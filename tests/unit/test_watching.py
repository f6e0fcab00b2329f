"""Interfaces that are watched have VIFs though no route uses them, as long as there is room."""

import logging
import socket
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.ground import Ground, run

from mfc_dbus.config.settings import Settings
from mfc_dbus.kernel.links import Came
from mfc_dbus.model.addresses import FAMILIES, Family
from mfc_dbus.model.errors import RequestError
from mfc_dbus.model.interfaces import matches
from mfc_dbus.model.route import MAX_VIFS, Route, TableId, parse_route
from mfc_dbus.model.status import UnroutedStream

IPV4 = FAMILIES[0]
WATCH_ALL = Settings(discovery_interfaces=("eth*",))


class Discoverer:
    def __init__(self, ground: Ground) -> None:
        self.streams: list[UnroutedStream] = []
        self.news = 0
        ground.controller.set_discoverer(self)

    def arrived(self, stream: UnroutedStream) -> None:
        self.streams.append(stream)

    def watched(self) -> None:
        self.news += 1

    @property
    def groups(self) -> list[int]:
        return [stream.group[-1] for stream in self.streams]


def start(ground: Ground, settings: Settings = WATCH_ALL, routes: Sequence[Route] = ()) -> None:
    ground.links.begin_anew()
    ground.begin(routes, settings=settings)


def vifs(ground: Ground, family: Family = IPV4) -> dict[str, int]:
    """References by name; the kernel and the table must agree on what there is."""
    table = ground.controller.tables[TableId(family)]
    assert {vif.number: vif.ifindex for vif in table.vifs} == ground.kernels[family].vifs
    return {vif.name: vif.references for vif in table.vifs}


def test_what_is_watched_has_vifs_in_both_families() -> None:
    ground = Ground("eth0", "eth1", "other")
    start(ground, Settings(discovery_interfaces=("eth*", "lo", "none")))
    assert [vifs(ground, family) for family in FAMILIES] == [{"eth0": 0, "eth1": 0}] * 2


def test_nothing_is_watched_unless_it_is_asked_for() -> None:
    assert vifs(Ground()) == {}


def test_it_follows_the_interfaces() -> None:
    ground = Ground("eth0", "eth1", "other")
    start(ground)
    discoverer = Discoverer(ground)
    ground.links.remove("eth0")
    ground.links.add("eth7")
    ground.links.rename("eth1", "eth2")
    ground.links.rename("other", "eth3")
    ground.controller.follow()
    assert vifs(ground) == {"eth2": 0, "eth3": 0, "eth7": 0}
    ground.links.add("eth7")  # another device of that name
    ground.links.rename("eth3", "other")
    ground.controller.follow()
    assert vifs(ground) == {"eth2": 0, "eth7": 0}
    assert discoverer.news
    discoverer.news = 0
    ground.controller.follow()
    assert discoverer.news == 0


def test_it_follows_the_configuration() -> None:
    ground = Ground("eth0", "eth1", "other")
    ground.add("10.0.0.1", "239.1.1.1", "eth0", "other")
    run(ground.controller.documents.configure(WATCH_ALL))
    assert set(vifs(ground)) == {"eth0", "eth1", "other"}
    run(ground.controller.documents.configure(Settings(discovery_interfaces=("other",))))
    assert vifs(ground) == {"eth0": 1, "other": 1}
    run(ground.controller.documents.configure(Settings(())))
    run(ground.controller.documents.configure(WATCH_ALL))
    assert vifs(ground) == {"eth0": 1, "other": 1, "eth1": 0}


def test_a_vif_stays_when_its_last_route_goes() -> None:
    ground = Ground("eth0", "eth1", "other")
    start(ground)
    ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1 other")
    assert vifs(ground) == {"eth0": 1, "eth1": 1, "other": 1}
    ground.links.remove("eth0")
    ground.controller.follow()
    assert vifs(ground) == {"eth1": 0}
    ground.links.add("eth0")
    ground.controller.follow()
    ground.flush()
    assert vifs(ground) == {"eth0": 0, "eth1": 0}


def test_routes_come_first(caplog: pytest.LogCaptureFixture) -> None:
    names = [f"eth{n}" for n in range(40)]
    ground = Ground(*names, "a", "b", "c")
    with caplog.at_level(logging.WARNING):
        start(ground)
    assert "32 interfaces a table: 8 are not watched" in caplog.text
    assert len(vifs(ground)) == MAX_VIFS
    ground.add("10.0.0.1", "239.1.1.1", "a", "b c")
    ground.add("10.0.0.1", "239.1.1.2", "a", "c eth39")
    found = vifs(ground)
    assert {name: uses for name, uses in found.items() if uses} == {
        "a": 2,
        "b": 1,
        "c": 2,
        "eth39": 1,
    }
    assert len(found) == MAX_VIFS
    ground.add("10.0.0.1", "239.0.0.0/8", "a", "eth*")
    (reason,) = [each.reason for each in ground.controller.view.routes.values() if each.reason]
    assert reason.count("'eth") == 40 + 3 - MAX_VIFS
    assert all(uses for uses in vifs(ground).values())
    ground.flush()
    assert list(vifs(ground).values()) == [0] * MAX_VIFS


@pytest.mark.parametrize("calls", range(5))
def test_a_change_that_fails_gives_a_watched_interface_its_vif_back(calls: int) -> None:
    names = [f"eth{n}" for n in range(MAX_VIFS)]
    ground = Ground(*names, "a", "b")
    start(ground)
    before = ground.snapshot()
    ground.kernels[IPV4].fail_in = calls
    with pytest.raises(Exception, match="refused"):
        ground.add("10.0.0.1", "239.1.1.1", "a", "b")
    assert ground.snapshot() == before


def test_the_next_process_watches_too_and_the_routes_are_not_touched() -> None:
    ground = Ground("eth0", "eth1", "other")
    route = parse_route("10.0.0.1", "239.1.1.1", "eth0", ["other"])
    start(ground, routes=[route])
    ground.links.begin_anew()
    ground.begin([route], kept_sockets=True, settings=WATCH_ALL)
    assert vifs(ground) == {"eth0": 1, "other": 1, "eth1": 0}


def test_an_interface_that_carries_multicast_no_more_is_watched_no_more() -> None:
    ground = Ground("eth0", "eth1")
    run(ground.controller.documents.configure(WATCH_ALL))
    assert vifs(ground) == {"eth0": 0, "eth1": 0}
    link = ground.links.links["eth1"]._replace(multicast=False)
    ground.links.links["eth1"] = link
    ground.links._events.append(Came(link))
    ground.controller.follow()
    assert vifs(ground) == {"eth0": 0}


def test_a_stream_is_told_of_that_no_route_covers() -> None:
    ground = Ground()
    start(ground)
    discoverer = Discoverer(ground)
    ground.add("10.0.0.0/24", "239.1.1.0/30", "eth0", "eth1")
    ground.add("*", "239.1.1.4/30", "eth0", "")
    ground.add("10.0.0.1", "239.1.1.9", "eth7", "eth1", wait=True)
    for last in (1, 5, 9, 17, 18, 17):
        ground.arrive("10.0.0.1", f"239.1.1.{last}")
    ground.arrive("10.0.0.1", "239.1.1.2", "eth2")
    ground.arrive("10.0.1.1", "239.1.1.3")
    kernel = ground.kernels[IPV4]
    for source, group in (("0.0.0.0", "239.1.1.33"), ("10.0.0.1", "224.0.0.251")):
        kernel.arrive(socket.inet_aton(source), socket.inet_aton(group), "eth0")
    ground.controller.read_upcalls(TableId(IPV4))
    assert discoverer.groups == [17, 18, 2, 3]
    assert discoverer.streams[2] == UnroutedStream(
        bytes([10, 0, 0, 1]), bytes([239, 1, 1, 2]), "eth2", 0
    )


def test_it_is_told_of_when_its_route_was_deleted() -> None:
    ground = Ground()
    start(ground)
    discoverer = Discoverer(ground)
    ground.add("10.0.0.1", "239.1.1.1")
    ground.arrive("10.0.0.1", "239.1.1.1")
    assert discoverer.streams == []
    ground.delete("10.0.0.1", "239.1.1.1")
    ground.arrive("10.0.0.1", "239.1.1.1")
    assert discoverer.groups == [1]


NAMES = ["eth0", "eth1", "eth2", "up0", "up1"]
STEPS = st.one_of(
    st.tuples(st.just("add"), st.sampled_from(NAMES), st.sampled_from([*NAMES, "eth*", "up?"])),
    st.tuples(st.just("delete"), st.sampled_from(NAMES), st.just("")),
    st.tuples(st.just("come"), st.sampled_from(NAMES), st.just("")),
    st.tuples(st.just("go"), st.sampled_from(NAMES), st.just("")),
    st.tuples(st.just("rename"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
    st.tuples(st.just("watch"), st.sampled_from(["eth*", "*", "up1", "none"]), st.just("")),
    st.tuples(st.just("break"), st.just(""), st.just("")),
    st.tuples(st.just("restart"), st.just(""), st.just("")),
)


@given(st.lists(STEPS, max_size=30))
def test_whatever_happens_the_vifs_are_those_of_routes_and_of_what_is_watched(
    steps: list[tuple[str, str, str]],
) -> None:
    ground = Ground(*NAMES)
    pattern = "none"
    for step, one, other in steps:
        links = ground.links
        if step == "break":
            ground.keeper.broken = not ground.keeper.broken
        elif step == "add":
            with suppress(RequestError):
                ground.add("*", f"239.1.0.{NAMES.index(one)}", one, other, replace=True, wait=True)
        elif step == "delete":
            with suppress(RequestError):
                ground.delete("*", f"239.1.0.{NAMES.index(one)}", one)
        elif step == "come":
            links.add(one)
        elif step == "go" and one in links.links:
            links.remove(one)
        elif step == "rename" and one in links.links and other not in links.links:
            links.rename(one, other)
        elif step == "watch":
            pattern = one
            run(ground.controller.documents.configure(Settings(discovery_interfaces=(pattern,))))
        elif step == "restart":
            links.begin_anew()
            routes = list(ground.keeper.routes.values())
            ground.begin(
                routes, kept_sockets=True, settings=Settings(discovery_interfaces=(pattern,))
            )
        ground.controller.follow()
        watched = {name for name in links.links if name != "lo" and matches(pattern, name)}
        found = vifs(ground)
        used = {name for name, uses in found.items() if uses}
        assert set(found) == used | watched
        table = ground.controller.tables[TableId(IPV4)]
        assert used == {name for each in table.installed.values() for name in each.interfaces}
        assert {vif.ifindex for vif in table.vifs} == {links.links[n].ifindex for n in found}
