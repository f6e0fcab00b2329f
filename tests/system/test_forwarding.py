"""Streams of 1,000 packets a second, IPv4 and IPv6, while things happen to the service."""

from lab.flows import Flows
from lab.igmp import groups
from lab.installed import Installed, eventually
from lab.stage import STREAMS, Network

ENTRIES = {stream.entry for stream in STREAMS}


def assert_untouched(flows: Flows) -> None:
    """Every packet arrived, and the kernel has counted each since the flows began."""
    flows.go_on()
    flows.stop()
    assert not flows.wrong
    assert flows.counters() == flows.sent


def test_a_restart_loses_no_packet(installed: Installed, flows: Flows) -> None:
    before = installed.show("MainPID")
    installed.systemctl("restart", "mfc-dbus")
    assert installed.show("MainPID") != before
    assert_untouched(flows)


def test_twenty_kills_in_a_row_lose_no_packet(installed: Installed, flows: Flows) -> None:
    installed.configure("RestartSec=100ms")
    for _ in range(20):
        installed.kill()
        installed.wait()
    assert int(installed.show("NRestarts")) >= 20
    assert_untouched(flows)


def test_an_upgrade_loses_no_packet(installed: Installed, flows: Flows) -> None:
    installed.make("install", "install-service")
    installed.systemctl("restart", "mfc-dbus")
    assert_untouched(flows)


def test_a_hung_daemon_is_replaced_and_no_packet_lost(installed: Installed, flows: Flows) -> None:
    installed.configure("WatchdogSec=2", "RestartSec=100ms")
    installed.systemctl("restart", "mfc-dbus")
    before = installed.show("MainPID")
    installed.machine.run("sh", "-c", f"kill -STOP {before}")
    eventually(lambda: installed.show("MainPID") not in (before, "0"))
    installed.wait()
    assert_untouched(flows)


def test_a_lost_bus_is_found_again_and_no_packet_lost(installed: Installed, flows: Flows) -> None:
    installed.systemctl("restart", "dbus")
    installed.wait()
    assert_untouched(flows)


def test_routes_can_be_changed_after_a_restart(installed: Installed, network: Network) -> None:
    first, second, *_ = STREAMS
    installed.add(first)
    installed.systemctl("restart", "mfc-dbus")
    installed.add(second)
    assert network.entries() == {first.entry, second.entry}
    installed.cli("mfc", "flush")
    assert not network.entries()


def test_stop_ends_the_routes_and_start_brings_them_back(
    installed: Installed, network: Network
) -> None:
    for stream in STREAMS:
        installed.add(stream)
    assert network.entries() == ENTRIES
    installed.systemctl("stop", "mfc-dbus")
    assert not network.entries()
    installed.systemctl("start", "mfc-dbus")
    assert network.entries() == ENTRIES


def test_groups_stay_joined_over_a_restart_and_are_left_by_a_stop(
    installed: Installed, network: Network
) -> None:
    joined = {("up", "239.1.1.1"), ("up", "ff3e::1:1")}
    for interface, group in joined:
        installed.cli("group", "join", "--group", group, "--interface", interface)
    assert groups(network.router) == joined
    for _ in range(2):
        installed.systemctl("restart", "mfc-dbus")
        # Each family has its table and a socket of its memberships, and none twice.
        eventually(lambda: installed.show("NFileDescriptorStore") == "4")
        assert groups(network.router) == joined
    installed.systemctl("stop", "mfc-dbus")
    assert groups(network.router) == set()
    installed.systemctl("start", "mfc-dbus")
    assert groups(network.router) == joined
    for interface, group in joined:
        installed.cli("group", "leave", "--group", group, "--interface", interface)
    assert groups(network.router) == set()
