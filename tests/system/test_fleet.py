"""Three routers and Ansible, by the chapter for a hundred of them: its files and its commands.

The tests build on each other in the order of the chapter.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.ansible import NAME
from lab.fleet import HOSTS, Fleet
from lab.installed import TOP, eventually, make
from lab.packets import Collector, Flow, Run, Sender
from lab.stage import kept

CHAPTER = (TOP / "data/doc/fleet.md").read_text()
FILE = re.compile(r"^```\w+\n# (\S+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
DEPLOY = ("ansible-playbook", f"{NAME}.deploy")
AT_ONCE = ("-e", "multicast_serial=100%")
FIRST_ALONE = ("-e", '{"multicast_serial": [1, "100%"]}')
FLOWS = ("ansible-playbook", f"{NAME}.flows", "-e", "@streams.yml")
SOURCE, GROUP = "10.0.1.10", "239.1.1.1"
OTHER = '[[route]]\ngroup = "239.2.2.2"\niif = "eth1"\noifs = ["eth2"]\n'

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not shutil.which("apt-get"), reason="this is no Debian"),
    pytest.mark.skipif(not shutil.which("sshd"), reason="there is no sshd"),
]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    if os.geteuid() != 0 or not shutil.which("systemd-nspawn"):
        pytest.skip("containers need root and systemd-nspawn")
    make(TOP, "deb")
    with contextlib.ExitStack() as stack:
        fleet = Fleet(stack, tmp_path_factory.mktemp("fleet"))
        repository = fleet.ansible.repository
        files = dict(FILE.findall(CHAPTER))
        files |= {f"documents/{name}.toml": files["documents/hop1.toml"] for name in HOSTS}
        for name, text in files.items():
            path = repository / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (repository / "packages").mkdir()
        for package in (TOP / "build").glob("*.deb"):
            shutil.copy2(package, repository / "packages")
        yield fleet


@pytest.fixture
def documents(fleet: Fleet) -> Iterator[Path]:
    """The directory of the documents; they are as before afterwards, and so are the routes."""
    directory = fleet.ansible.repository / "documents"
    texts = {path: path.read_text() for path in directory.iterdir()}
    yield directory
    for path, text in texts.items():
        path.write_text(text)


def test_a_dry_run_before_the_first_installation_changes_nothing(fleet: Fleet) -> None:
    done = fleet.ansible.run(*DEPLOY, "--check", "--diff", "--limit", "hop1")
    assert recap(done.stdout)["hop1"]["changed"] == 2  # the package files, and their directory
    machine = fleet.machines["hop1"]
    assert machine.run("ls", "/usr/bin/mfc-dbus-cli", "/var/cache/mfc-dbus", check=False).returncode


def test_all_are_installed_and_a_stream_passes_three_routers(fleet: Fleet) -> None:
    fleet.ansible.run(*DEPLOY, *AT_ONCE)
    for machine in fleet.machines.values():
        assert machine.run("systemctl", "is-enabled", "mfc-dbus").stdout.strip() == "enabled"
        assert machine.run("mfc-dbus-cli", "check").stdout == "2 files in order\n"
    with sending(fleet) as (flow, collector):
        flow.wait_for(100)
        flow.stop()
        arrived: list[int] = []

        def all_have_arrived() -> bool:
            arrived.extend(packet.number for packet in collector.so_far())
            return len(arrived) >= len(flow.sent)

        eventually(all_have_arrived)
        assert arrived == flow.sent


def test_prometheus_is_answered_where_the_chapter_says(fleet: Fleet) -> None:
    with fleet.controller, urllib.request.urlopen(f"http://{HOSTS['edge']}:9942/metrics") as page:
        assert b"mfc_up 1" in page.read()


def test_a_second_run_changes_nothing(fleet: Fleet) -> None:
    counts = recap(fleet.ansible.run(*DEPLOY, *AT_ONCE).stdout)
    assert counts.keys() == HOSTS.keys()
    assert all(each["changed"] == each["failed"] == 0 for each in counts.values())


def test_a_dry_run_tells_the_difference_and_changes_nothing(fleet: Fleet, documents: Path) -> None:
    before = fleet.routes()
    path = documents / "hop2.toml"
    path.write_text(path.read_text().replace('["eth2"]', '["eth0", "eth2"]'))
    append(documents / "edge.toml", OTHER)
    done = fleet.ansible.run(*DEPLOY, *AT_ONCE, "--check", "--diff", "--tags", "routes")
    assert f'-({SOURCE}, {GROUP}) oifs = ["eth2"]' in done.stdout
    assert f'+({SOURCE}, {GROUP}) oifs = ["eth0", "eth2"]' in done.stdout
    assert '+(*, 239.2.2.2) iif = "eth1"' in done.stdout
    changed = {name: counts["changed"] for name, counts in recap(done.stdout).items()}
    assert changed == {"hop1": 0, "hop2": 1, "edge": 1}
    assert fleet.routes() == before


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[[route]]\ngroup = 239\n", "document:7: "),
        (OTHER.replace("eth2", "eth7"), "Interface 'eth7' not found"),
    ],
    ids=["what nobody can read", "an interface that this router has not"],
)
def test_a_broken_document_changes_nothing_anywhere(
    fleet: Fleet, documents: Path, text: str, problem: str
) -> None:
    before = fleet.routes()
    append(documents / "hop1.toml", OTHER)
    append(documents / "edge.toml", text)
    done = fleet.ansible.run(*DEPLOY, check=False)
    assert done.returncode
    assert problem in done.stdout
    assert {
        name: counts["changed"] for name, counts in recap(done.stdout).items()
    } == dict.fromkeys(HOSTS, 0)
    assert fleet.routes() == before


def test_one_that_is_away_is_named_and_the_others_are_done(fleet: Fleet, documents: Path) -> None:
    for path in documents.iterdir():
        append(path, OTHER)
    with fleet.away("hop2"):
        done = fleet.ansible.run(*DEPLOY, *FIRST_ALONE, "--tags", "routes", check=False)
    assert done.returncode == 4
    assert done.stdout.count("PLAY [Change the hosts") == 2
    assert "Done: hop1, edge. Left out, since they did not answer or failed: hop2." in done.stdout
    assert groups(fleet) == {"hop1": 3, "hop2": 2, "edge": 3}


def test_the_way_back_is_the_way_there(fleet: Fleet) -> None:
    done = fleet.ansible.run(*DEPLOY, *AT_ONCE, "--diff", "--tags", "routes")
    assert '-(*, 239.2.2.2) iif = "eth1"' in done.stdout
    assert groups(fleet) == dict.fromkeys(HOSTS, 2)
    backups = fleet.machines["hop1"].run("ls", "/var/backups/mfc-dbus").stdout.split()
    assert len(backups) == 3  # one for each change, the first one too


def test_files_that_the_inventory_does_not_name_are_deleted(fleet: Fleet) -> None:
    files = {"mfc_dbus_routes_d": {"other": OTHER}, "mfc_dbus_routes_d_exclusive": True}
    only = ("--limit", "edge", "--tags", "configure", "-e", json.dumps(files))
    fleet.ansible.run(*DEPLOY, *only)
    assert fleet.machines["edge"].run("ls", "/etc/mfc-dbus/routes.d").stdout == "other.toml\n"
    assert {route["dst"] for route in fleet.routes()["edge"]} == {GROUP, "239.2.2.2"}


def test_a_stream_is_followed_over_all_hops(fleet: Fleet) -> None:
    with sending(fleet):
        done = fleet.ansible.run(*FLOWS)
        assert "It flows through hop1, hop2, edge" in done.stdout
        delete = ("mfc-dbus-cli", "mfc", "del", "-s", SOURCE, "-g", GROUP)
        fleet.machines["hop2"].run(*delete)
        done = fleet.ansible.run(*FLOWS, check=False)
    assert done.returncode
    assert re.search(r"It ends at hop2: .+ \[no-route\]", done.stdout)


@contextlib.contextmanager
def sending(fleet: Fleet) -> Iterator[tuple[Flow, Collector]]:
    """Send the chapter's stream from the head-end, and collect what the receiver gets."""
    run = Run(socket.AF_INET)
    with contextlib.ExitStack() as stack:
        collector = kept(stack, Collector(run, fleet.receiver))
        sender = kept(stack, Sender(run, fleet.head_end, "eth2", SOURCE, GROUP))
        yield stack.enter_context(sender.flow(rate=200)), collector


def groups(fleet: Fleet) -> dict[str, int]:
    """Count the routes of each router's kernel."""
    return {name: len(routes) for name, routes in fleet.routes().items()}


def recap(output: str) -> dict[str, dict[str, int]]:
    """Read how often what happened on each host."""
    lines = re.findall(r"^(\w+) +: (ok=.*)$", output.partition("PLAY RECAP")[2], re.MULTILINE)
    return {
        name: {key: int(count) for key, count in re.findall(r"(\w+)=(\d+)", counts)}
        for name, counts in lines
    }


def append(path: Path, text: str) -> None:
    path.write_text(f"{path.read_text()}\n{text}")
