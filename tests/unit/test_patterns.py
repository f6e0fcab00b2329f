"""Patterns that are for very many interfaces: which of them a route gets, and what that costs."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from lab.ground import Ground
from lab.instructions import counted
from lab.strategies import effort

from mfc_dbus.config.settings import Settings
from mfc_dbus.model.addresses import FAMILIES
from mfc_dbus.model.quoting import MAX_NAMED
from mfc_dbus.model.route import MAX_VIFS, TableId, parse_route

FEW = 100
MANY = 4 * FEW
IPV4 = FAMILIES[0]


class Rooms(RuleBasedStateMachine):
    """A pattern keeps the interfaces that it has, and takes the first of the others as room comes.

    All on one interface at a time, so that this is the whole rule.
    """

    names = st.integers(0, 49).map("v{:02}".format)

    @initialize(many=st.integers(20, 50))
    def begin(self, many: int) -> None:
        self.ground = Ground("in0", *(f"v{n:02}" for n in range(many)))
        self.ground.add("*", "239.0.0.0/8", "in0", "v*")
        self.had: list[str] = []

    @rule(name=names, multicast=st.booleans())
    def comes(self, name: str, multicast: bool) -> None:
        if name not in self.ground.links.links:
            self.ground.links.add(name, multicast=multicast)

    @rule(name=names)
    def goes(self, name: str) -> None:
        if name in self.ground.links.links:
            self.ground.links.remove(name)

    @rule(name=names, new=names)
    def is_renamed(self, name: str, new: str) -> None:
        links = self.ground.links.links
        if name in links and new not in links:
            self.ground.links.rename(name, new)

    @rule(name=names)
    def turns(self, name: str) -> None:
        if name in self.ground.links.links:
            self.ground.links.turn(name, up=not self.ground.links.links[name].up)

    @invariant()
    def it_has_those_that_it_had_and_the_first_others(self) -> None:
        self.ground.controller.follow()
        links = self.ground.links.links
        wanted = sorted(name for name in links if name[0] == "v" and links[name].multicast)
        stay = [name for name in self.had if name in wanted]
        others = [name for name in wanted if name not in stay]
        room = MAX_VIFS - 1 - len(stay)
        table = self.ground.controller.tables[TableId(IPV4)]
        self.had = [vif.name for vif in table.vifs if vif.name != "in0"]
        assert sorted(self.had) == sorted([*stay, *others[:room]])
        assert {vif.number: vif.ifindex for vif in table.vifs} == self.ground.kernels[IPV4].vifs
        (status,) = self.ground.controller.view.routes.values()
        left_out = others[room:]
        assert ("left out" in status.reason) == bool(left_out)
        if left_out:
            shown = ", ".join(f"'{name}'" for name in left_out[:MAX_NAMED])
            more = len(left_out) - MAX_NAMED
            more_said = f" and {more} more" if more > 0 else ""
            assert status.reason.endswith(f": {shown}{more_said} left out")


TestRooms = Rooms.TestCase
TestRooms.settings = effort(50, 50)


def test_patterns_that_share_interfaces_with_names_place_what_has_a_vif_first() -> None:
    ground = Ground("in0", *(f"v{n:03}" for n in range(200)))
    ground.apply(
        parse_route("*", "239.1.0.0/16", "in0", ["v19*", "v150"]),
        parse_route("*", "239.2.0.0/16", "in0", ["v*"]),
    )
    table = ground.controller.tables[TableId(IPV4)]
    one, other = (table.installed[route.key] for route in table.routes)
    assert {oif.name for oif in one.oifs} == {"v150", *(f"v19{n}" for n in range(10))}
    assert {oif.name for oif in other.oifs} == {vif.name for vif in table.vifs} - {"in0"}
    assert "v019" in {oif.name for oif in other.oifs}


# What it costs

HAPPENINGS: dict[str, Callable[[Ground], Any]] = {
    "one comes": lambda ground: ground.links.add("v0000a"),
    "one that has a VIF goes": lambda ground: ground.links.remove("v0003"),
    "one that has no VIF goes": lambda ground: ground.links.remove("v0077"),
    "one turns": lambda ground: ground.links.turn("v0003", up=False),
    "one is renamed": lambda ground: ground.links.rename("v0077", "v0000a"),
    "one is renamed, and no pattern is for it": lambda ground: ground.links.rename("v0003", "x"),
    "one that no pattern is for comes": lambda ground: ground.links.add("x"),
    "a route of a pattern is added": lambda ground: ground.add("*", "238.0.0.0/8", "in0", "v*"),
    "a route of a pattern is replaced": lambda ground: ground.add(
        "*", "239.0.0.0/8", "in0", "v* in1", replace=True
    ),
    "a route that names one is added": lambda ground: ground.add(
        "10.0.0.1", "239.1.1.1", "in0", "v0077"
    ),
    "a route of a pattern is applied": lambda ground: ground.apply(
        parse_route("*", "239.9.0.0/16", "v*", ["v*"]), merge=True
    ),
    "a route of a pattern is deleted": lambda ground: ground.delete("*", "239.0.0.0/8"),
}


def cost(happening: str, number: int) -> int:
    ground = Ground("in0", "in1", *(f"v{n:04}" for n in range(number)))
    ground.links.begin_anew()
    ground.begin([], settings=Settings(discovery_interfaces=("v*",)))
    ground.add("*", "239.0.0.0/8", "in0", "v*")
    ground.add("*", "239.0.0.0/8", "v*", "v*")
    ground.delete("*", "239.0.0.0/8", "v*")
    while ground.controller.work():
        pass
    with counted() as count:
        HAPPENINGS[happening](ground)
        ground.controller.follow()
        while ground.controller.work():
            pass
    return count.instructions


@pytest.mark.parametrize("happening", HAPPENINGS)
def test_what_happens_costs_the_same_beside_any_number_of_interfaces(happening: str) -> None:
    # From Python 3.12 on, code is not counted when it runs for the first time.
    _, few, many = (cost(happening, number) for number in (FEW, FEW, MANY))
    assert few > 0
    assert many < 1.1 * few + 200
