"""What is there after a reboot of the machine."""

from contextlib import ExitStack, closing

from lab.installed import Installed, eventually
from lab.machine import Machine
from lab.stage import STREAMS, Network

PERSISTENT, TRANSIENT, TIMED = "239.1.1.1", "239.1.1.2", "239.1.1.3"


def test_persistent_routes_outlive_a_reboot_and_no_others(
    installed: Installed, machine: Machine
) -> None:
    add = ("mfc", "add", "-i", "in", "-o", "out", "--wait", "-g")
    installed.cli(*add, PERSISTENT)
    installed.cli(*add, TRANSIENT, "--transient")
    installed.cli(*add, TIMED, "--timeout", "600")
    installed.systemctl("restart", "mfc-dbus")
    assert installed.states().keys() == {PERSISTENT, TRANSIENT, TIMED}
    machine.reboot()
    assert installed.show("ActiveState") == "active"
    assert installed.states().keys() == {PERSISTENT}


def test_stop_ends_routes_that_are_not_persistent(installed: Installed) -> None:
    add = ("mfc", "add", "-i", "in", "-o", "out", "--wait", "-g")
    installed.cli(*add, PERSISTENT)
    installed.cli(*add, TRANSIENT, "--transient")
    installed.cli(*add, TIMED, "--timeout", "600")
    installed.systemctl("stop", "mfc-dbus")
    installed.systemctl("start", "mfc-dbus")
    assert installed.states().keys() == {PERSISTENT}


def test_routes_wait_for_interfaces_that_come_after_the_boot(
    installed: Installed, machine: Machine
) -> None:
    for stream in STREAMS:
        installed.add(stream, "--wait")
    machine.reboot()
    assert set(installed.states().values()) == {"waiting"}
    with ExitStack() as stack:
        network = Network(stack, stack.enter_context(closing(machine.network())))
        eventually(lambda: set(installed.states().values()) == {"active"})
        assert network.entries() == {stream.entry for stream in STREAMS}
