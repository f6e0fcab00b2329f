"""What a document would change, as lines."""

import pytest

from mfc_dbus.cli.diff import write
from mfc_dbus.client import Snapshot
from mfc_dbus.client.differences import diff
from mfc_dbus.documents.entries import RouteEntry


def test_what_comes_is_a_line_each_and_a_stop_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    routes = [
        RouteEntry(group="239.1.1.1", iif="eth1", oifs=["eth2", "eth3"], ttls={"eth3": 16}),
        RouteEntry(group="239.1.1.2", iif="eth1", oifs=[], table=100, comment="no more"),
    ]
    write(diff(Snapshot([], [], 0), routes, merge=False))
    assert capsys.readouterr().out.splitlines() == [
        "+ * 239.1.1.1 iif eth1 oifs eth2,eth3(ttl>16)",
        "+ * 239.1.1.2 iif eth1 oifs (stop) table 100 comment no more",
    ]
