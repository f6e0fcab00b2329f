"""What was stored is counted, and what the disk refused."""

import pytest
from lab.ground import Ground

from mfc_dbus.model.errors import StoreError
from mfc_dbus.model.status import StoreCounters


def test_commits_and_failures_of_the_store_are_counted() -> None:
    ground = Ground()
    ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1")
    ground.keeper.broken = True
    with pytest.raises(StoreError):
        ground.add("10.0.0.1", "239.1.1.2", "eth0", "eth1")
    store: StoreCounters = ground.controller.store
    assert store[:2] == (1, 1)
    assert store.seconds > 0
