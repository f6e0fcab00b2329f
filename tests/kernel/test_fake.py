"""The fake kernel and the real one, held to the same tests: what both do, unit tests may rely on.

        router
eth0 ──┐      ┌── eth1
       ├──────┤
eth2 ──┘      └── eth3
"""

import errno
import socket
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from lab.fake import FakeKernel, FakeLinks
from lab.netns import Namespace
from lab.witness import entries

from mfc_dbus.kernel.links import Links
from mfc_dbus.kernel.mroute import MFCEntry, MRoute
from mfc_dbus.table import Kernel

DEVICES = ("eth0", "eth1", "eth2", "eth3")
SOURCE, GROUP = bytes([10, 0, 0, 1]), bytes([239, 1, 2, 3])
ANY_SOURCE = bytes(4)

# Source, group, iif, and pairs of oif and TTL threshold.
Shown = tuple[object, ...]


class Ground(NamedTuple):
    """A kernel whose table is ours, and how to see what it holds."""

    kernel: Kernel
    ifindex: Callable[[str], int]
    shown: Callable[[], set[Shown]]

    def add_vifs(self, *names: str) -> None:
        for number, name in enumerate(names):
            self.kernel.add_vif(number, self.ifindex(name))


def fake() -> Iterator[Ground]:
    links = FakeLinks(*DEVICES)
    kernel = FakeKernel(links)
    yield Ground(kernel, lambda name: links.lookup(name).ifindex, lambda: kernel.named(links.links))


def real() -> Iterator[Ground]:
    namespace = Namespace()
    namespace.ip(
        "link add name eth0 type veth peer name eth1", "link add name eth2 type veth peer name eth3"
    )
    with namespace:
        mroute, links = MRoute(socket.AF_INET), Links()

    def shown() -> set[Shown]:
        return {
            (
                socket.inet_aton(entry.source),
                socket.inet_aton(entry.group),
                entry.iif,
                # For any source the kernel must have the iif among the oifs; nobody asked for it.
                frozenset(
                    oif for oif in entry.oifs if entry.source != "0.0.0.0" or oif[0] != entry.iif
                ),
            )
            for entry in entries(namespace, socket.AF_INET)
        }

    with mroute, links:
        yield Ground(mroute, lambda name: links.lookup(name).ifindex, shown)
    namespace.close()


@pytest.fixture(params=[fake, real])
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    for ground in request.param():
        ground.kernel.init()
        yield ground


def fails_with(expected: int, call: Callable[[], object]) -> None:
    with pytest.raises(OSError, check=lambda error: error.errno == expected):
        call()


def test_a_vif_needs_a_device_and_a_free_number_below_32(ground: Ground) -> None:
    eth0, eth1 = ground.ifindex("eth0"), ground.ifindex("eth1")
    fails_with(errno.EADDRNOTAVAIL, lambda: ground.kernel.add_vif(0, 9999))
    fails_with(errno.ENFILE, lambda: ground.kernel.add_vif(32, eth0))
    ground.kernel.add_vif(0, eth0)
    fails_with(errno.EADDRINUSE, lambda: ground.kernel.add_vif(0, eth1))
    ground.kernel.add_vif(31, eth1)


def test_a_vif_can_be_deleted_again_and_again(ground: Ground) -> None:
    ground.add_vifs("eth0")
    ground.kernel.del_vif(0)
    ground.kernel.del_vif(0)
    ground.add_vifs("eth1")


def test_a_vif_that_is_not_there_has_no_counters(ground: Ground) -> None:
    ground.add_vifs("eth0", "eth1")
    ground.kernel.del_vif(0)
    fails_with(errno.EADDRNOTAVAIL, lambda: ground.kernel.vif_count(0))
    assert ground.kernel.vif_count(1) == (0, 0, 0, 0)


def test_an_entry_needs_a_multicast_group(ground: Ground) -> None:
    ground.add_vifs("eth0", "eth1")
    fails_with(errno.EINVAL, lambda: ground.kernel.add_mfc(MFCEntry(SOURCE, SOURCE, 0, ((1, 1),))))
    assert ground.shown() == set()


def test_an_entry_is_what_was_asked_for(ground: Ground) -> None:
    ground.add_vifs("eth0", "eth1", "eth2")
    ground.kernel.add_mfc(MFCEntry(SOURCE, GROUP, 0, ((1, 1), (2, 16))))
    ground.kernel.add_mfc(MFCEntry(ANY_SOURCE, GROUP, 2, ((0, 7),)))
    assert ground.shown() == {
        (SOURCE, GROUP, "eth0", frozenset({("eth1", 1), ("eth2", 16)})),
        (ANY_SOURCE, GROUP, "eth2", frozenset({("eth0", 7)})),
    }


def test_an_entry_of_the_same_key_takes_the_place_of_the_first(ground: Ground) -> None:
    ground.add_vifs("eth0", "eth1", "eth2")
    for source in (SOURCE, ANY_SOURCE):
        ground.kernel.add_mfc(MFCEntry(source, GROUP, 0, ((1, 1),)))
        ground.kernel.add_mfc(MFCEntry(source, GROUP, 0, ((2, 1),)))
    ground.kernel.add_mfc(MFCEntry(SOURCE, GROUP, 2, ((1, 1),)))
    assert ground.shown() == {
        (SOURCE, GROUP, "eth2", frozenset({("eth1", 1)})),
        (ANY_SOURCE, GROUP, "eth0", frozenset({("eth2", 1)})),
    }


def test_any_source_has_an_entry_for_each_iif(ground: Ground) -> None:
    ground.add_vifs("eth0", "eth1", "eth2")
    ground.kernel.add_mfc(MFCEntry(ANY_SOURCE, GROUP, 0, ((1, 1),)))
    ground.kernel.add_mfc(MFCEntry(ANY_SOURCE, GROUP, 2, ((1, 1),)))
    assert len(ground.shown()) == 2
    ground.kernel.del_mfc(MFCEntry(ANY_SOURCE, GROUP, 0, ()))
    assert ground.shown() == {(ANY_SOURCE, GROUP, "eth2", frozenset({("eth1", 1)}))}
    fails_with(errno.ENOENT, lambda: ground.kernel.del_mfc(MFCEntry(ANY_SOURCE, GROUP, 0, ())))


def test_an_entry_is_deleted_once_whatever_its_iif(ground: Ground) -> None:
    ground.add_vifs("eth0", "eth1")
    ground.kernel.add_mfc(MFCEntry(SOURCE, GROUP, 0, ((1, 1),)))
    ground.kernel.del_mfc(MFCEntry(SOURCE, GROUP, 1, ()))
    assert ground.shown() == set()
    fails_with(errno.ENOENT, lambda: ground.kernel.del_mfc(MFCEntry(SOURCE, GROUP, 0, ())))


def test_an_oif_without_a_vif_is_left_out_for_good(ground: Ground) -> None:
    ground.add_vifs("eth0", "eth1")
    ground.kernel.add_mfc(MFCEntry(SOURCE, GROUP, 0, ((1, 1), (2, 1))))
    ground.kernel.add_vif(2, ground.ifindex("eth2"))
    assert ground.shown() == {(SOURCE, GROUP, "eth0", frozenset({("eth1", 1)}))}


def test_an_entry_gives_its_stream_to_the_next_vif_of_a_number(ground: Ground) -> None:
    ground.add_vifs("eth0", "eth1")
    ground.kernel.add_mfc(MFCEntry(SOURCE, GROUP, 0, ((1, 1),)))
    ground.kernel.del_vif(1)
    ground.kernel.add_vif(1, ground.ifindex("eth3"))
    assert ground.shown() == {(SOURCE, GROUP, "eth0", frozenset({("eth3", 1)}))}
