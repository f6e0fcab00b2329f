"""Namespaces, a topology and a routing table for every test, in both families."""

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest
from lab.netns import Namespace
from lab.table import Table
from lab.topology import Topology


@pytest.fixture(scope="session", autouse=True)
def _namespaces() -> None:
    try:
        Namespace().close()
    except PermissionError:
        pytest.skip("network namespaces need root, or: unshare -Urnm")


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with closing(Namespace()) as namespace:
        yield namespace


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
def family(request: pytest.FixtureRequest) -> socket.AddressFamily:
    family: socket.AddressFamily = request.param
    return family


@pytest.fixture
def lab(family: socket.AddressFamily) -> Iterator[Topology]:
    """Two upstreams and two downstreams."""
    with Topology(family, downstreams=2, upstreams=2) as lab:
        yield lab


@pytest.fixture
def table(lab: Topology) -> Iterator[Table]:
    """The lab's routing table, ours, with a VIF for each of its links."""
    with Table(lab) as table:
        table.mroute.init()
        table.add_vifs(*lab.upstreams, *lab.downstreams)
        yield table
