"""The fake kernel and the real one, held to the same tests: what both do, unit tests may rely on.

        router
eth0 ──┐      ┌── eth1
       ├──────┤
eth2 ──┘      └── eth3

The far ends of all four are elsewhere, and go with them.
"""

import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest
from lab.fake import FakeKernel, FakeLinks
from lab.netns import Namespace
from lab.witness import entries

from mfc_dbus.kernel import dump
from mfc_dbus.kernel.dump import Held, HeldEntry
from mfc_dbus.kernel.mroute import MFCEntry, MRoute
from mfc_dbus.routing.table import Kernel

DEVICES = ("eth0", "eth1", "eth2", "eth3")
SOURCE, GROUP = bytes([10, 0, 0, 1]), bytes([239, 1, 2, 3])
ANY_SOURCE = bytes(4)

# Source, group, iif, and pairs of oif and TTL threshold.
Shown = tuple[object, ...]


@dataclass(frozen=True)
class Ground:
    """A kernel whose table is ours, its devices, and how to see what it holds.

    held: what a new process finds that takes it up.
    """

    kernel: Kernel
    ifindex: Callable[[str], int]
    shown: Callable[[], set[Shown]]
    held: Callable[[], Held]
    add_device: Callable[[str], object]
    delete_device: Callable[[str], object]
    rename_device: Callable[[str, str], object]

    def add_vifs(self, *names: str) -> None:
        for number, name in enumerate(names):
            self.kernel.add_vif(number, self.ifindex(name))


def fake() -> Iterator[Ground]:
    links = FakeLinks(*DEVICES)
    kernel = FakeKernel(links)
    yield Ground(
        kernel,
        lambda name: links.links[name].ifindex,
        lambda: kernel.named(links.links),
        kernel.held,
        links.add,
        links.remove,
        links.rename,
    )


def real() -> Iterator[Ground]:
    with closing(Namespace()) as namespace, closing(Namespace()) as outside:
        yield from in_namespaces(namespace, outside)


def in_namespaces(namespace: Namespace, outside: Namespace) -> Iterator[Ground]:
    def add_device(name: str) -> None:
        namespace.ip(f"link add name {name} type veth peer name {name} netns {outside.path}")

    for name in DEVICES:
        add_device(name)
    with namespace:
        mroute = MRoute(socket.AF_INET)

    def ifindex(name: str) -> int:
        with namespace:
            return socket.if_nametoindex(name)

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

    def held() -> Held:
        with namespace:
            return dump.held(mroute)

    with mroute:
        yield Ground(
            mroute,
            ifindex,
            shown,
            held,
            add_device,
            lambda name: namespace.ip(f"link delete dev {name}"),
            lambda name, new: namespace.ip(f"link set dev {name} name {new}"),
        )


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


def test_nothing_can_be_said_on_a_device_that_has_gone(ground: Ground) -> None:
    eth0 = ground.ifindex("eth0")
    ground.delete_device("eth0")
    fails_with(errno.ENODEV, lambda: ground.kernel.advertise(eth0, 20))
    fails_with(errno.ENODEV, lambda: ground.kernel.terminate(eth0))


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


# Devices that come and go


def test_a_device_that_is_deleted_takes_its_vif_and_leaves_the_entries(ground: Ground) -> None:
    ground.add_vifs("eth0", "eth1", "eth2")
    ground.kernel.add_mfc(MFCEntry(SOURCE, GROUP, 0, ((1, 1), (2, 1))))
    ground.delete_device("eth1")
    assert ground.shown() == {(SOURCE, GROUP, "eth0", frozenset({("eth2", 1)}))}
    fails_with(errno.EADDRNOTAVAIL, lambda: ground.kernel.vif_count(1))
    ground.kernel.del_vif(1)
    ground.add_device("eth1")
    assert ground.shown() == {(SOURCE, GROUP, "eth0", frozenset({("eth2", 1)}))}
    ground.kernel.add_vif(1, ground.ifindex("eth3"))
    assert ground.shown() == {(SOURCE, GROUP, "eth0", frozenset({("eth2", 1), ("eth3", 1)}))}


def test_a_device_that_is_renamed_keeps_its_vif(ground: Ground) -> None:
    ground.add_vifs("eth0", "eth1")
    ground.kernel.add_mfc(MFCEntry(SOURCE, GROUP, 0, ((1, 1),)))
    ground.rename_device("eth1", "lan0")
    assert ground.shown() == {(SOURCE, GROUP, "eth0", frozenset({("lan0", 1)}))}
    fails_with(errno.EADDRINUSE, lambda: ground.kernel.add_vif(1, ground.ifindex("eth2")))


def test_an_entry_can_be_rewritten_and_deleted_when_its_devices_have_gone(ground: Ground) -> None:
    ground.add_vifs("eth0", "eth1", "eth2")
    ground.kernel.add_mfc(MFCEntry(SOURCE, GROUP, 0, ((1, 1), (2, 1))))
    ground.kernel.add_mfc(MFCEntry(ANY_SOURCE, GROUP, 0, ((1, 1),)))
    ground.delete_device("eth1")
    ground.kernel.add_mfc(MFCEntry(SOURCE, GROUP, 0, ((2, 1),)))
    ground.delete_device("eth0")
    for source in (SOURCE, ANY_SOURCE):
        ground.kernel.del_mfc(MFCEntry(source, GROUP, 0, ()))
    assert ground.shown() == set()


# What a new process finds


def test_what_is_held_is_told_by_ifindex(ground: Ground) -> None:
    eth0, eth1, eth2 = (ground.ifindex(name) for name in ("eth0", "eth1", "eth2"))
    ground.add_vifs("eth0", "eth1", "eth2")
    ground.kernel.add_mfc(MFCEntry(SOURCE, GROUP, 0, ((1, 1), (2, 16))))
    assert ground.held() == Held(
        {0: eth0, 1: eth1, 2: eth2}, [HeldEntry(SOURCE, GROUP, eth0, {eth1: 1, eth2: 16})]
    )
    ground.kernel.done()
    ground.kernel.init()
    # The kernel must have an any-source entry's iif among its oifs, and shows it.
    ground.add_vifs("eth0", "eth1")
    ground.kernel.add_mfc(MFCEntry(ANY_SOURCE, GROUP, 0, ((1, 7),)))
    assert ground.held() == Held(
        {0: eth0, 1: eth1}, [HeldEntry(ANY_SOURCE, GROUP, eth0, {eth0: 1, eth1: 7})]
    )


def test_what_has_gone_is_not_held_and_still_named(ground: Ground) -> None:
    eth0, eth2 = ground.ifindex("eth0"), ground.ifindex("eth2")
    ground.add_vifs("eth0", "eth1", "eth2")
    ground.kernel.add_mfc(MFCEntry(SOURCE, GROUP, 0, ((1, 1), (2, 1))))
    ground.delete_device("eth1")
    assert ground.held() == Held({0: eth0, 2: eth2}, [HeldEntry(SOURCE, GROUP, eth0, {eth2: 1})])
    ground.delete_device("eth0")
    assert ground.held() == Held({2: eth2}, [HeldEntry(SOURCE, GROUP, 0, {eth2: 1})])


def test_an_end_leaves_nothing(ground: Ground) -> None:
    ground.add_vifs("eth0", "eth1")
    ground.kernel.add_mfc(MFCEntry(SOURCE, GROUP, 0, ((1, 1),)))
    ground.kernel.add_mfc(MFCEntry(ANY_SOURCE, GROUP, 0, ((1, 1),)))
    ground.kernel.done()
    assert ground.held() == Held({}, [])
    ground.kernel.init()
    ground.add_vifs("eth1", "eth0")
    assert ground.shown() == set()
