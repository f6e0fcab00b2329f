"""What Explain looks at: the route that decides, or what has to be said before one does."""

import pytest
from lab.ground import Ground, run

from mfc_dbus.explain.situation import Situation, StreamQuestion
from mfc_dbus.model.addresses import parse_asked
from mfc_dbus.model.errors import InvalidArgs

GROUP = "239.1.1.1"


@pytest.fixture
def ground() -> Ground:
    return Ground()


def look(ground: Ground, source: str = "*", iif: str = "") -> Situation:
    question = StreamQuestion(*parse_asked(source, GROUP), iif=iif)
    return run(ground.controller.observer.look(question))


@pytest.mark.parametrize("source", ["*", "10.0.0.1"])
def test_of_several_any_source_routes_the_iif_has_to_be_said(ground: Ground, source: str) -> None:
    first = ground.add("*", GROUP, "eth0")
    assert look(ground, source).route == first
    second = ground.add("*", GROUP, "eth3")
    with pytest.raises(InvalidArgs, match=r"which iif is meant: .*'eth0', 'eth3'"):
        look(ground, source)
    assert look(ground, source, "eth0").route == first
    assert look(ground, source, "eth3").route == second


def test_where_a_route_of_its_own_decides_no_iif_has_to_be_said(ground: Ground) -> None:
    for iif in ("eth0", "eth3"):
        ground.add("*", GROUP, iif)
    own = ground.add("10.0.0.1", GROUP, "eth4")
    assert look(ground, "10.0.0.1").route == own


def test_a_route_that_is_disabled_does_not_make_it_two(ground: Ground) -> None:
    first = ground.add("*", GROUP, "eth0")
    ground.add("*", GROUP, "eth3", enabled=False)
    assert look(ground).route == first
