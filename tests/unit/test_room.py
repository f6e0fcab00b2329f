"""With 32 VIFs in use: what routes name goes before what only a pattern wants."""

import pytest
from lab.ground import Ground

from mfc_dbus.model.addresses import FAMILIES
from mfc_dbus.model.errors import StoreError, TooManyInterfaces
from mfc_dbus.model.route import MAX_VIFS, TableId, parse_route

IPV4 = FAMILIES[0]
STREAM = ("10.0.0.1", "239.1.1.1")
WIDE = "(*, 239.0.0.0/8)"
NAMED = "(10.0.0.1, 239.1.1.1)"
LEFT = "The kernel knows 32 interfaces a table"


@pytest.fixture
def ground() -> Ground:
    """A pattern that has all VIFs: in0, and 31 of d00 to d33."""
    ground = Ground("in0", "in1", "x0", "x1", *(f"d{n:02}" for n in range(34)))
    ground.add("*", "239.0.0.0/8", "in0", "d*")
    return ground


def vifs(ground: Ground) -> set[str]:
    table = ground.controller.tables[TableId(IPV4)]
    assert {vif.number: vif.ifindex for vif in table.vifs} == ground.kernels[IPV4].vifs
    return {vif.name for vif in table.vifs}


def reason(ground: Ground, route: str) -> tuple[str, str]:
    found = {str(each.route): each for each in ground.controller.view.routes.values()}[route]
    return found.state, found.reason


def leave(ground: Ground, source: str, group: str, iif: str) -> set[str]:
    """The interfaces by which a packet leaves that arrives now."""
    return {name for name, _ in ground.arrive(source, group, iif) or ()}


def outside(*numbers: int) -> str:
    names = ", ".join(f"'d{n:02}'" for n in numbers)
    return f"{LEFT}: {names} left out"


def test_a_pattern_gives_up_its_last_interfaces_to_those_that_a_route_names(
    ground: Ground,
) -> None:
    assert reason(ground, WIDE) == ("partial", outside(31, 32, 33))
    ground.add(*STREAM, "in1", "x0")
    assert reason(ground, NAMED) == ("active", "")
    assert reason(ground, WIDE) == ("partial", outside(29, 30, 31, 32, 33))
    assert vifs(ground) == {"in0", "in1", "x0", *(f"d{n:02}" for n in range(29))}
    assert leave(ground, *STREAM, "in1") == {"x0"}
    ground.delete(*STREAM)
    assert reason(ground, WIDE) == ("partial", outside(31, 32, 33))
    assert vifs(ground) == {"in0", *(f"d{n:02}" for n in range(31))}


def test_what_flows_goes_on_by_the_interfaces_that_stay(ground: Ground) -> None:
    def leaves() -> set[str]:
        return leave(ground, "10.0.0.9", "239.9.9.9", "in0")

    assert leaves() == {f"d{n:02}" for n in range(31)}
    ground.add(*STREAM, "in1", "x0")
    assert leaves() == {f"d{n:02}" for n in range(29)}
    ground.delete(*STREAM)
    assert leaves() == {f"d{n:02}" for n in range(31)}


def test_an_interface_that_a_route_waits_for_has_its_place_as_soon_as_it_comes(
    ground: Ground,
) -> None:
    ground.add(*STREAM, "in0", "later", wait=True)
    assert reason(ground, NAMED) == ("waiting", "Interface 'later' is missing")
    ground.links.add("later")
    ground.controller.follow()
    assert reason(ground, NAMED) == ("active", "")
    assert reason(ground, WIDE) == ("partial", outside(30, 31, 32, 33))
    ground.links.remove("later")
    ground.controller.follow()
    assert reason(ground, WIDE) == ("partial", outside(31, 32, 33))


def test_an_interface_that_a_pattern_has_and_a_route_names_stays(ground: Ground) -> None:
    ground.add("10.0.0.2", "239.2.2.2", "in0", "d30")
    ground.add(*STREAM, "in1", "x0")
    assert reason(ground, WIDE) == ("partial", outside(28, 29, 31, 32, 33))
    assert {"d30", "in1", "x0"} <= vifs(ground)


def test_a_pattern_of_iifs_gives_up_too_and_what_arrives_there_is_not_forwarded() -> None:
    ground = Ground("out0", "x0", "x1", *(f"i{n:02}" for n in range(31)))
    ground.add("*", "239.0.0.0/8", "i*", "out0")
    assert leave(ground, "10.0.0.9", "239.9.9.9", "i30") == {"out0"}
    ground.add(*STREAM, "x0", "out0")
    assert reason(ground, WIDE) == ("partial", f"{LEFT}: 'i30' left out")
    assert leave(ground, "10.0.0.9", "239.9.9.9", "i30") == set()
    assert leave(ground, "10.0.0.9", "239.9.9.9", "i00") == {"out0"}


def test_where_all_are_named_the_33rd_is_refused_and_nothing_is_changed() -> None:
    ground = Ground(*(f"e{n}" for n in range(MAX_VIFS + 2)))
    ground.add("10.0.0.1", "239.1.1.1", "e0", " ".join(f"e{n}" for n in range(1, 17)))
    ground.add("10.0.0.1", "239.1.1.2", "e17", " ".join(f"e{n}" for n in range(18, 31)))
    ground.add("*", "239.0.0.0/8", "e0", "e3*")
    before = ground.snapshot()
    with pytest.raises(TooManyInterfaces):
        ground.add("10.0.0.1", "239.1.1.3", "e32", "e33")  # and a pattern has but one
    assert ground.snapshot() == before
    ground.add("10.0.0.1", "239.1.1.3", "e0", "e33")
    assert reason(ground, WIDE)[0] == "partial"


def test_what_could_not_be_stored_gives_the_pattern_its_own_back(ground: Ground) -> None:
    before = vifs(ground), reason(ground, WIDE)
    ground.keeper.broken = True
    with pytest.raises(StoreError):
        ground.add(*STREAM, "in1", "x0")
    assert (vifs(ground), reason(ground, WIDE)) == before


def test_the_order_of_a_document_does_not_matter() -> None:
    ground = Ground("in0", "in1", "x0", *(f"d{n:02}" for n in range(34)))
    wide = parse_route("*", "239.0.0.0/8", "in0", ["d*"])
    named = parse_route(*STREAM, "in1", ["x0"])
    for routes in ([wide, named], [named, wide]):
        ground.apply(*routes)
        assert reason(ground, NAMED) == ("active", "")
        assert reason(ground, WIDE) == ("partial", outside(29, 30, 31, 32, 33))
        ground.apply()
    ground.apply(wide)
    ground.apply(wide, named)
    assert reason(ground, WIDE) == ("partial", outside(29, 30, 31, 32, 33))


@pytest.mark.parametrize("kept", [False, True])
def test_a_new_process_finds_it_so(ground: Ground, kept: bool) -> None:
    ground.add(*STREAM, "in1", "x0")
    before = vifs(ground)
    if not kept:
        for kernel in ground.kernels.values():
            kernel.clear()
    ground.links.begin_anew()
    ground.begin([*ground.keeper.routes.values()], kept_sockets=kept)
    assert vifs(ground) == before
    assert reason(ground, NAMED) == ("active", "")
    assert reason(ground, WIDE) == ("partial", outside(29, 30, 31, 32, 33))
