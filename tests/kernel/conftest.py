"""A namespace, and a routing table on the lab's router, in both families."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from lab.netns import Namespace
from lab.routing import Routing
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


@pytest.fixture
def table(lab: Topology) -> Iterator[Table]:
    """The lab's routing table, ours, with a VIF for each of its links."""
    with Table(lab) as table:
        table.mroute.init()
        table.add_vifs(*lab.upstreams, *lab.downstreams)
        yield table


@pytest.fixture
def routing(request: pytest.FixtureRequest, lab: Topology) -> Iterator[Routing]:
    """The controller of the lab's tables, as the daemon has it: see the mark `watching`."""
    marker = request.node.get_closest_marker("watching")
    watched, arguments = (marker.args, marker.kwargs) if marker else ((), {})
    with Routing(lab.router, watched=watched, **arguments) as routing:
        yield routing


@pytest.fixture(params=["one source", "any source"])
def source(request: pytest.FixtureRequest, lab: Topology) -> str:
    return "*" if request.param == "any source" else lab.addresses.source
