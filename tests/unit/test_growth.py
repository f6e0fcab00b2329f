"""What one change costs does not grow with the routes beside it, whatever their kind."""

import ipaddress
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from lab.ground import Ground, run
from lab.instructions import counted
from msgspec import structs

from mfc_dbus.config.settings import Settings
from mfc_dbus.model.addresses import FAMILIES, parse_stream
from mfc_dbus.model.membership import parse_memberships
from mfc_dbus.model.route import Route, TableId, parse_route

FEW = 60
MANY = 4 * FEW
VIFS = [f"eth{number}" for number in range(8)]
MORE = [f"up{number}" for number in range(29)]  # more than there is room for


def group(first: str, number: int) -> str:
    return str(ipaddress.ip_address(first) + number)


def exact(ground: Ground, number: int) -> list[Route]:
    return [parse_route("10.0.0.1", group("239.1.0.0", i), "eth0", ["eth1"]) for i in range(number)]


def from_any_source(ground: Ground, number: int) -> list[Route]:
    """Their oifs are the iif of others, and the other way round."""
    ways = [("eth0", "eth1"), ("eth1", "eth0")]
    return [
        parse_route("*", group("239.2.0.0", i), iif, [oif])
        for i in range(number)
        for iif, oif in [ways[i % 2]]
    ]


def of_one_group(ground: Ground, number: int) -> list[Route]:
    return [parse_route("*", "239.3.3.3", f"w{i}", ["eth1"]) for i in range(number)]


def of_one_group_to_a_pattern(ground: Ground, number: int) -> list[Route]:
    return [parse_route("*", "239.3.3.3", f"w{i}", ["eth[1-3]"]) for i in range(number)]


def of_prefixes(ground: Ground, number: int) -> list[Route]:
    return [
        parse_route("*", f"{group('239.4.0.0', 4 * i)}/30", "eth1", ["eth0"]) for i in range(number)
    ]


def from_source_prefixes(ground: Ground, number: int) -> list[Route]:
    """All are for one group prefix, and have the iif of each other's oif."""
    return [
        parse_route(f"{group('10.0.0.0', 4 * i)}/30", "239.2.0.0/16", "eth1", ["eth0"])
        for i in range(number)
    ]


def of_patterns(ground: Ground, number: int) -> list[Route]:
    return [
        parse_route("10.0.0.1", group("239.5.0.0", i), "eth*", ["eth[12]"]) for i in range(number)
    ]


def hairpins(ground: Ground, number: int) -> list[Route]:
    """They send back to their iif, so that the kernel's own entries are none for them."""
    return [
        parse_route(source, group("239.10.0.0", i), "eth0", ["eth0", "eth1"], hairpin=True)
        for i in range(number)
        for source in ["10.0.0.1" if i % 2 else "*"]
    ]


def timed(ground: Ground, number: int) -> list[Route]:
    later = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + 10**12
    return [
        structs.replace(each, persistent=False, expires=later) for each in exact(ground, number)
    ]


def waiting(ground: Ground, number: int) -> list[Route]:
    return [parse_route("10.0.0.1", group("239.6.0.0", i), "gone", ["eth1"]) for i in range(number)]


def starved(ground: Ground, number: int) -> list[Route]:
    """Two have taken all the room; the others wait for it."""
    return [
        *(
            parse_route(
                "10.0.0.1", f"239.7.255.{i}", "eth0", [*VIFS[1:3], *MORE[15 * i : 15 * i + 15]]
            )
            for i in range(2)
        ),
        *(parse_route("10.0.0.1", group("239.7.0.0", i), "eth0", ["full"]) for i in range(number)),
    ]


def learned(ground: Ground, number: int) -> list[Route]:
    """One route, and as many streams of it, which arrive when it is there."""
    return [parse_route("*", "239.8.0.0/16", "eth0", ["eth1"])]


def learned_by_patterns(ground: Ground, number: int) -> list[Route]:
    return [parse_route("*", "239.8.0.0/16", "eth*", ["eth1", "none*"])]


KINDS = [
    exact,
    from_any_source,
    of_one_group,
    of_one_group_to_a_pattern,
    of_prefixes,
    from_source_prefixes,
    of_patterns,
    hairpins,
    timed,
    waiting,
    starved,
    learned,
    learned_by_patterns,
]
ONE = ("10.9.9.9", "239.9.9.9", "eth0", "eth1")
ANY = ("*", "239.9.9.9", "eth0", "eth1")
WIDE = ("*", "239.9.9.8/30", "eth0", "eth1")
NEIGHBOUR = ("*", "239.3.3.3", "eth0", "eth1")
COVERED = ("*", "239.2.9.9", "eth0", "eth1")
TAKEN = ("10.0.0.1", "239.3.3.3", "eth2", "eth1")
BESIDE = ("*", "239.2.9.0/24", "eth1", "eth0")


def prepare_nothing(ground: Ground) -> None:
    pass


def adding(route: tuple[str, ...]) -> tuple[Callable[[Ground], Any], Callable[[Ground], Any]]:
    return prepare_nothing, lambda ground: ground.add(*route)


def deleting(route: tuple[str, ...]) -> tuple[Callable[[Ground], Any], Callable[[Ground], Any]]:
    return lambda ground: ground.add(*route), lambda ground: ground.delete(*route[:3])


def replacing(route: tuple[str, ...]) -> tuple[Callable[[Ground], Any], Callable[[Ground], Any]]:
    source, group_, iif, _ = route
    return (
        lambda ground: ground.add(*route),
        lambda ground: ground.add(source, group_, iif, "eth2", replace=True),
    )


def add_one_that_waits(ground: Ground) -> None:
    ground.add("10.9.9.9", "239.9.9.9", "new0", "eth1", wait=True)


def bring_its_interface(ground: Ground) -> None:
    ground.links.add("new0")
    ground.controller.follow()


def add_one_that_follows(ground: Ground) -> None:
    add_one_that_waits(ground)
    bring_its_interface(ground)


def take_its_interface(ground: Ground) -> None:
    ground.links.remove("new0")
    ground.controller.follow()


def add_wide_and_send(ground: Ground) -> None:
    ground.add("*", "239.9.0.0/16", "eth0", "eth1")
    source, group_ = parse_stream("10.9.9.9", "239.9.9.9")
    ground.kernels[FAMILIES[0]].arrive(source.address, group_.address, "eth0")


def add_to_their_group_and_send(ground: Ground) -> None:
    ground.add("*", "239.3.3.3", "eth[01]", "eth2")
    source, group_ = parse_stream("10.9.9.9", "239.3.3.3")
    ground.kernels[FAMILIES[0]].arrive(source.address, group_.address, "eth0")


def hear(ground: Ground) -> None:
    ground.controller.read_upcalls(TableId(FAMILIES[0]))


def add_timed(ground: Ground) -> None:
    route = parse_route("10.9.9.9", "239.9.9.9", "eth0", ["eth1"])
    run(ground.controller.add(structs.replace(route, persistent=False, expires=1)))


def expire(ground: Ground) -> None:
    run(ground.controller.expire(time.clock_gettime_ns(time.CLOCK_BOOTTIME)))


def join(ground: Ground) -> None:
    range_ = parse_memberships("239.9.9.9", "", "gone")
    run(ground.controller.joining.join(range_.memberships(), wait=True))


def leave(ground: Ground) -> None:
    run(ground.controller.joining.leave(parse_memberships("239.9.9.9", "", "gone")))


def turn_its_interface(ground: Ground) -> None:
    ground.links.turn("new0", up=False)
    ground.controller.follow()


def learn_one(ground: Ground) -> None:
    add_wide_and_send(ground)
    hear(ground)


def send_uncovered(ground: Ground) -> None:
    source, group_ = parse_stream("10.9.9.9", "239.11.9.9")
    ground.kernels[FAMILIES[0]].arrive(source.address, group_.address, "eth0")


def apply_one(ground: Ground) -> None:
    ground.apply(parse_route(*ONE[:3], [ONE[3]]), merge=True)


def mend(ground: Ground) -> None:
    # As many routes each time, however slow the machine is.
    with mock.patch("mfc_dbus.control.installer._RETRYING", 60):
        run(ground.controller.retry_refused())


def asking(route: tuple[str, ...]) -> tuple[Callable[[Ground], Any], Callable[[Ground], Any]]:
    """What a stranger can have looked at, who may add nothing."""
    source, group_, iif, oif = route
    parsed = parse_route(source, group_, iif, [oif])
    return prepare_nothing, lambda ground: ground.controller.check_add(parsed, replace=False)


CHANGES = {
    "adding one of one stream": adding(ONE),
    "adding one from any source": adding(ANY),
    "adding one of a prefix": adding(WIDE),
    "adding one of the others' group": adding(NEIGHBOUR),
    "adding one that others cover": adding(COVERED),
    "adding one whose iif is an oif of others": adding(BESIDE),
    "deleting one of one stream": deleting(ONE),
    "deleting one from any source": deleting(ANY),
    "deleting one of a prefix": deleting(WIDE),
    "deleting one of the others' group": deleting(NEIGHBOUR),
    "deleting one that others cover": deleting(COVERED),
    "asking to add one of one stream": asking(TAKEN),
    "asking to add one of a prefix": asking(BESIDE),
    "replacing one of one stream": replacing(ONE),
    "replacing one from any source": replacing(ANY),
    "replacing one of a prefix": replacing(WIDE),
    "replacing one of the others' group": replacing(NEIGHBOUR),
    "deleting one of a learned stream": (
        learn_one,
        lambda ground: ground.delete("*", "239.9.0.0/16", "eth0"),
    ),
    "adding one of a learned stream": (
        learn_one,
        lambda ground: ground.add(*ONE),
    ),
    "a stream that no route covers": (send_uncovered, hear),
    "an interface of one that turns": (add_one_that_follows, turn_its_interface),
    "merging one": (prepare_nothing, apply_one),
    "a leave": (join, leave),
    "a round of the upkeep": (prepare_nothing, mend),
    "a stream of one": (add_wide_and_send, hear),
    "a stream of the others' group": (add_to_their_group_and_send, hear),
    "an interface of one that comes": (add_one_that_waits, bring_its_interface),
    "an interface of one that goes": (add_one_that_follows, take_its_interface),
    "the end of one": (add_timed, expire),
    "a join": (prepare_nothing, join),
}


def cost(kind: Callable[[Ground, int], list[Route]], change: str, number: int) -> int:
    ground = Ground(*VIFS, *MORE, "full")
    ground.begin([], settings=Settings(max_routes=10_000))
    ground.links.begin_anew()
    ground.begin(kind(ground, number), settings=Settings(max_routes=10_000))
    if kind in (learned, learned_by_patterns):
        for number_ in range(number):
            ground.arrive("10.0.0.1", group("239.8.0.0", number_))
        assert len(ground.controller.tables[TableId(FAMILIES[0])].learned) == number
    prepare, do = CHANGES[change]
    ground.add("10.8.8.8", "239.9.9.9")  # after a start, the first change looks at what has no room
    expire(ground)  # and the first second at all timeouts
    prepare(ground)
    with counted() as count:
        do(ground)
    return count.instructions


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_one_change_costs_does_not_grow_with_the_routes_beside_it(
    kind: Callable[[Ground, int], list[Route]], change: str
) -> None:
    # From Python 3.12 on, code is not counted when it runs for the first time.
    _, few, many = (cost(kind, change, number) for number in (FEW, FEW, MANY))
    assert few > 0
    assert many < 1.2 * few + 200
