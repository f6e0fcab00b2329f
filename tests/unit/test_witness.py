"""What others do to our tables is found out, and nothing of ours is taken for theirs."""

import errno
from collections.abc import Collection

import pytest
from lab.fake import FakeKernel
from lab.ground import Ground, expected, run

from mfc_dbus.addresses import FAMILIES
from mfc_dbus.kernel.changes import EntryChange
from mfc_dbus.kernel.dump import Held
from mfc_dbus.model import TableId
from mfc_dbus.witness import Witness

IPV4 = FAMILIES[0]
TABLE = TableId(IPV4)


@pytest.fixture
def ground() -> Ground:
    return Ground()


@pytest.fixture
def kernel(ground: Ground) -> FakeKernel:
    return ground.kernels[IPV4]


def test_what_could_not_be_looked_at_is_looked_at_again(ground: Ground, kernel: FakeKernel) -> None:
    route = ground.add("10.0.0.1", "239.1.1.1")
    changes = [EntryChange(kernel.held().entries[0], True)]
    kernel.del_mfc(next(iter(kernel.entries)))  # somebody else
    witness = Witness(ground.controller.tables, lambda: [changes.pop()] if changes else [])
    errors = [OSError(errno.EBUSY, "a device came or went")] * 2

    def read(ids: Collection[TableId]) -> dict[TableId, Held]:
        if errors:
            raise errors.pop()
        return {TABLE: kernel.held()} if ids else {}

    for _ in range(2):
        run(ground.controller.verify(witness.differing, read))
        assert ground.held() == set()
    run(ground.controller.verify(witness.differing, read))
    assert ground.held() == {expected(route)}


def test_a_table_that_was_given_up_meanwhile_is_looked_at_no_more(ground: Ground) -> None:
    asked: list[list[TableId]] = []

    def read(ids: Collection[TableId]) -> dict[TableId, Held]:
        asked.append([*ids])
        raise OSError(errno.EBUSY, "")

    run(ground.controller.verify(lambda: [TABLE], read))
    ground.configure(FAMILIES[1])
    run(ground.controller.verify(list, read))
    assert asked == [[TABLE], []]


def test_so_many_of_our_own_that_some_are_lost_are_nobody_elses(
    ground: Ground, kernel: FakeKernel
) -> None:
    ground.add("*", "239.0.0.0/8")
    lost = Witness(ground.controller.tables, lambda: None)
    lost.differing()
    for n in range(1500):
        kernel.arrive(bytes((10, 0, n >> 8, n & 255)), bytes((239, 1, 1, 1)), "eth0")
    while kernel.waiting:
        ground.controller.hear(TABLE)
    assert lost.differing() == set()
    assert lost.differing() == {TableId(family) for family in FAMILIES}
