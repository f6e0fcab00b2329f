"""What is left of root's power after drop_all, in a child, since it is for good."""

import errno
import os
import socket
from pathlib import Path

import pytest
from lab.netns import Namespace
from lab.privileges import (
    CAP_NET_ADMIN,
    CAP_NET_RAW,
    NOBODY,
    become,
    in_child,
    is_mapped,
    set_capabilities,
)
from lab.table import Table
from lab.topology import Topology

from mfc_dbus.kernel.capabilities import drop_all
from mfc_dbus.kernel.mroute import MRoute

NONE = "0" * 16


def status() -> dict[str, str]:
    lines = Path("/proc/thread-self/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def sets() -> set[str]:
    return {status()[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")}


def test_no_capability_is_left_and_none_can_come_back() -> None:
    def child() -> str:
        drop_all()
        assert sets() == {NONE}
        assert status()["CapBnd"] == NONE
        assert status()["NoNewPrivs"] == "1"
        with pytest.raises(PermissionError):
            set_capabilities([CAP_NET_RAW])
        return "none"

    assert in_child(child) == "none"


def test_a_service_user_loses_those_that_it_was_given() -> None:
    if not is_mapped(NOBODY):
        pytest.skip("this user namespace has one user only")

    def child() -> str:
        become(NOBODY, keep=[CAP_NET_ADMIN, CAP_NET_RAW])
        assert NONE not in {status()["CapPrm"], status()["CapEff"]}
        drop_all()
        assert sets() == {NONE}
        assert os.getresuid() == (NOBODY,) * 3
        return "none"

    assert in_child(child) == "none"


def test_no_routing_socket_can_be_opened_any_more(
    family: socket.AddressFamily, namespace: Namespace
) -> None:
    def child() -> str:
        namespace.enter()
        drop_all()
        with pytest.raises(PermissionError, check=lambda error: error.errno == errno.EPERM):
            MRoute(family)
        return "refused"

    assert in_child(child) == "refused"


def test_the_routing_socket_that_is_open_works_on(lab: Topology) -> None:
    up0, down0 = lab.ifindex("up0"), lab.ifindex("down0")
    with Table(lab) as table:

        def child() -> str:
            drop_all()
            table.mroute.init()
            table.mroute.add_vif(0, up0)
            table.mroute.add_vif(1, down0)
            return "done"

        assert in_child(child) == "done"
        assert lab.vifs() == {0: "up0", 1: "down0"}
