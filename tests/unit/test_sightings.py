"""Where streams were seen is remembered for some seconds, and of no more than so many."""

from mfc_dbus.kernel.abi import IGMPMSG_NOCACHE, Upcall
from mfc_dbus.streams.sightings import LASTS, MOST, Sightings

SOURCE, OTHER, GROUP = b"\x0a\0\0\1", b"\x0a\0\0\2", b"\xef\1\1\1"
NAMES = {0: "up0", 1: "up1"}


def upcall(vif: int = 0, source: bytes = SOURCE, group: bytes = GROUP) -> Upcall:
    return Upcall(IGMPMSG_NOCACHE, vif, source, group)


def test_a_stream_is_remembered_on_each_interface_with_how_long_ago_it_was_seen() -> None:
    seen = Sightings()
    seen.note([upcall(0), upcall(1)], NAMES, 100)
    seen.note([upcall(0), upcall(0, OTHER)], NAMES, 200)
    found = {(each.source, each.iif): each.ago for each in seen.of(GROUP, 250)}
    assert found == {(SOURCE, "up1"): 150, (SOURCE, "up0"): 50, (OTHER, "up0"): 50}
    assert not seen.of(b"\xef\1\1\2", 250)


def test_what_was_seen_long_ago_is_forgotten() -> None:
    seen = Sightings()
    seen.note([upcall(0)], NAMES, 0)
    seen.note([upcall(1)], NAMES, LASTS // 2)
    assert [each.iif for each in seen.of(GROUP, LASTS)] == ["up1"]
    assert len(seen) == 1
    assert not seen.of(GROUP, 2 * LASTS)
    assert len(seen) == 0


def test_of_a_flood_the_newest_are_remembered() -> None:
    seen = Sightings()
    for number in range(MOST + 10):
        seen.note([upcall(group=number.to_bytes(4))], NAMES, number)
    assert len(seen) == MOST
    assert not seen.of((9).to_bytes(4), MOST)
    assert seen.of((10).to_bytes(4), MOST)


def test_neither_a_vif_that_has_gone_nor_a_packet_that_the_kernel_made_up_is_a_sighting() -> None:
    seen = Sightings()
    made_up = Upcall(IGMPMSG_NOCACHE, 0, SOURCE, GROUP, has_packet=False)
    seen.note([upcall(7), made_up], NAMES, 0)
    assert not seen.of(GROUP, 0)
