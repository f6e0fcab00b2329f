"""Who may change routes on a system as it is installed, by its own polkit."""

from collections.abc import Iterator

import pytest
from lab.installed import Installed, eventually
from lab.machine import Machine

# alice is an ordinary user, mona a member of the group that the example lets in.
ADD = ("--no-ask-password", "mfc", "add", "-i", "in", "-o", "out", "--wait", "-g")
EXAMPLE = "/usr/local/share/doc/mfc-dbus/50-mfc-dbus.rules"
RULE = "/etc/polkit-1/rules.d/50-mfc-dbus.rules"
REFUSED = 4


def status(installed: Installed, user: str, group: str = "239.1.1.1") -> int:
    """How the command of a user ends that adds a route."""
    return installed.cli(*ADD, group, user=user, check=False).returncode


@pytest.fixture
def _example_is_on(installed: Installed, machine: Machine) -> Iterator[None]:
    machine.run("cp", EXAMPLE, RULE)
    yield
    machine.run("rm", RULE)


def test_an_ordinary_user_may_read_and_change_nothing(installed: Installed) -> None:
    assert status(installed, "alice") == REFUSED
    assert installed.cli("--json", "show", user="alice").stdout.strip() == "[]"


def test_root_may_change_routes(installed: Installed) -> None:
    assert status(installed, "root") == 0


@pytest.mark.usefixtures("_example_is_on")
def test_the_example_lets_a_group_in_and_nobody_else(installed: Installed) -> None:
    eventually(lambda: status(installed, "mona") == 0)  # polkit has seen the file
    assert status(installed, "alice", "239.1.1.2") == REFUSED


def test_the_example_does_nothing_where_it_is_installed(installed: Installed) -> None:
    assert status(installed, "mona") == REFUSED
