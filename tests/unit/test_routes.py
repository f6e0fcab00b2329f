"""The most specific route and the kinds of routes, beside a scan over all of them."""

import itertools

from hypothesis import given
from hypothesis import strategies as st
from lab.reference import forwards, placed_oifs
from lab.strategies import GROUPS, INTERFACES, NAMES, SOURCES, routes
from msgspec import structs

from mfc_dbus.kernel.links import Link
from mfc_dbus.model.addresses import parse_stream
from mfc_dbus.model.errors import InvalidArgs
from mfc_dbus.model.interfaces import expand, is_pattern, matches, may_meet
from mfc_dbus.model.route import Route, RouteKey, parse_route
from mfc_dbus.routing.placement import place
from mfc_dbus.routing.present_links import PresentLinks
from mfc_dbus.routing.routes import Routes


def held(several: list[Route]) -> tuple[Routes, dict[RouteKey, Route]]:
    index = Routes()
    for route in several:
        index.put(route)
    return index, {route.key: route for route in several}


def unique(several: list[Route]) -> dict[RouteKey, Route]:
    return {route.key: route for route in several}


def is_native(route: Route, others: list[Route]) -> bool:
    """By what the kernel would take for its (*,G) entry, and a look at every other route."""
    if route.is_sg_on_one_iif:
        return True
    if route.source.length or not route.group.exact or is_pattern(route.iif):
        return False
    return not any(
        other.group.covers(route.group)
        and (
            (other.group.exact and other.source.length and may_meet(other.iif, route.iif))
            or any(may_meet(other.iif, oif.name) for oif in route.oifs)
        )
        for other in others
        if not other.is_sg_on_one_iif
    )


@given(
    st.lists(routes(), max_size=12),
    st.sampled_from(SOURCES),
    st.sampled_from(GROUPS),
    st.sampled_from(INTERFACES),
)
def test_the_most_specific_route_is_the_one_that_a_scan_finds(
    several: list[Route], source: str, group: str, iif: str
) -> None:
    index, model = held(several)
    # A route of one stream has the last word also where it does not match: that is learned's.
    wide = [route for route in model.values() if not route.is_sg_on_one_iif]
    for route in model.values():
        if route.is_sg_on_one_iif:
            index.remove(route)
    packed = [prefix.address for prefix in parse_stream(source, group)]
    best = index.best(packed[0], packed[1], iif)
    expected = forwards(wide, INTERFACES, packed[0], packed[1], iif)
    assert (placed_oifs(best, INTERFACES, iif) if best else None) == expected


@given(
    st.lists(routes(), max_size=12),
    st.lists(routes(), max_size=3),
    st.lists(routes(), max_size=3),
)
def test_no_kind_changes_but_of_those_that_a_change_decides(
    several: list[Route], old: list[Route], new: list[Route]
) -> None:
    old, new = [*unique(old).values()], [*unique(new).values()]
    changing = {*unique(old), *unique(new)}
    index, model = held([*(route for route in several if route.key not in changing), *old])
    before = {key: index.native_routes.native(route) for key, route in model.items()}
    for route in old:
        index.remove(route)
    for route in new:
        index.put(route)
    decided = set(index.native_routes.may_change_kind_with(old, new))
    for key, route in model.items():
        if key not in changing and index.native_routes.native(route) != before[key]:
            assert key in decided


@given(st.lists(routes(), max_size=12))
def test_a_route_is_native_where_no_other_decides_within_it(several: list[Route]) -> None:
    index, model = held(several)
    for route in model.values():
        others = [other for other in model.values() if other.key != route.key]
        assert index.native_routes.native(route) == is_native(route, others)
        assert index.native_routes.native(route) == is_native(route, others)  # asked again
    for key in list(model)[:6]:
        index.remove(model.pop(key))
    for route in model.values():
        others = [other for other in model.values() if other.key != route.key]
        assert index.native_routes.native(route) == is_native(route, others)


@given(st.lists(routes(), max_size=12))
def test_what_was_put_and_removed_leaves_nothing(several: list[Route]) -> None:
    index, model = held(several)
    assert {route.key: route for route in index} == model
    for name in INTERFACES:
        assert {route.key for route in index.naming(name)} == {
            key
            for key, route in model.items()
            if any(matches(each, name) for each in route.interfaces)
        }
    for route in model.values():
        index.remove(route)
    empty = Routes()
    assert vars(index) | {"native_routes": None} == vars(empty) | {"native_routes": None}
    assert vars(index.native_routes) == vars(empty.native_routes)


@given(st.lists(routes(), max_size=12), st.sets(st.integers(0, 11)))
def test_disabled_routes_are_found_by_key_and_stream_and_decide_nothing(
    several: list[Route], off: set[int]
) -> None:
    switched = [
        structs.replace(route, enabled=number not in off)
        for number, route in enumerate(unique(several).values())
    ]
    index, model = held(switched)
    without, _ = held([route for route in switched if route.enabled])
    assert ({*index}, len(index)) == ({*model.values()}, len(model))
    for key, route in model.items():
        assert index.get(key) is route
        assert route in index.of_stream(route.source, route.group)
        assert index.of_stream(route.source, route.group, route.iif) == [route]
        assert index.native_routes.native(route) == without.native_routes.native(route)
        sharing = index.sharing(route.source, route.group, route.iif)
        assert [*sharing] == [*without.sharing(route.source, route.group, route.iif)]
    for source, group, iif in itertools.product(SOURCES, GROUPS, INTERFACES):
        sources, groups = (prefix.address for prefix in parse_stream(source, group))
        assert index.best(sources, groups, iif) is without.best(sources, groups, iif)
    for name in INTERFACES:
        assert index.naming(name) == without.naming(name)
    for route in switched:
        index.remove(route)
    assert vars(index) | {"native_routes": None} == vars(Routes()) | {"native_routes": None}


@given(NAMES, NAMES)
def test_names_that_share_an_interface_may_meet(one: str, other: str) -> None:
    shared = set(expand(one, INTERFACES)) & set(expand(other, INTERFACES))
    assert may_meet(one, other) or not shared
    assert not may_meet(one, other) or shared or (is_pattern(one) and is_pattern(other))


@given(st.text(min_size=1), st.text())
def test_any_pattern_that_is_taken_can_be_expanded(pattern: str, name: str) -> None:
    try:
        route = parse_route("*", "239.1.1.1", pattern, [])
    except InvalidArgs:
        return
    assert list(expand(route.iif, [name])) == ([name] if matches(route.iif, name) else [])


def test_what_patterns_stand_for_is_shared_by_routes() -> None:
    names = ("eth0", "v1")
    present = PresentLinks({name: Link(name, n, multicast=True) for n, name in enumerate(names, 1)})
    routes = (parse_route("*", group, "eth0", ["v*"]) for group in ("239.1.0.0/16", "239.2.0.0/16"))
    one, other = (place(route, present, native=False) for route in routes)
    assert one
    assert other
    assert one.oifs[0] is other.oifs[0]
