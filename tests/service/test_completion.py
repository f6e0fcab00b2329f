"""Completion in the real shells: what is typed, and what the program gets."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.cli import CLI
from lab.netns import Namespace
from lab.shells import SHELLS, Typist, typist

ODD = "w$(>x)"
DOCUMENT = f"""\
[[route]]
source = "10.7.0.10"
group = "239.77.1.1"
iif = "eth1"
oifs = ["eth3", "vlan*"]

[[route]]
source = "10.8.0.10"
group = "239.88.1.1"
iif = "eth2"
oifs = ["gone7", "{ODD}"]

[[route]]
group = "ff3e::77:1"
iif = "eth1"
oifs = ["eth2"]

[[membership]]
group = "232.66.1.1"
interface = "eth1"
"""


# The shells and the program that they ask know no library.
pytestmark = pytest.mark.parametrize("library", ["dbus_fast"], indirect=True, scope="session")


@pytest.fixture(params=SHELLS)
def shell(
    request: pytest.FixtureRequest, cli: CLI, network: Namespace, tmp_path: Path
) -> Iterator[Typist]:
    """A shell in the router's network, beside a file; the service has some routes."""
    if not shutil.which(request.param):
        pytest.skip(f"there is no {request.param}")
    cli.apply(DOCUMENT, "--wait")
    (tmp_path / "lobby's screens.toml").touch()
    with network, typist(request.param, tmp_path, cli.environment) as shell:
        yield shell


def test_a_shell_completes_what_is_typed(shell: Typist, tmp_path: Path) -> None:
    for keys, words in {
        "mf\ta\t": ["mfc", "add"],
        "--js\tmf\td\t": ["--json", "mfc", "del"],
        "help gr\tj\t": ["help", "group", "join"],
        "mfc add --ii\tl\t": ["mfc", "add", "--iif", "lo"],
        "mfc add --iif=l\t": ["mfc", "add", "--iif=lo"],
        "mfc add --oifs x l\t": ["mfc", "add", "--oifs", "x", "lo"],
        "mfc add --oifs x,l\t": ["mfc", "add", "--oifs", "x,lo"],
        "mfc add --ttl l\t16": ["mfc", "add", "--ttl", "lo=16"],
        "show --sta\twa\t": ["show", "--state", "waiting"],
        # Of the service
        "mfc del -g 239.7\t": ["mfc", "del", "-g", "239.77.1.1"],
        "mfc del -g ff3\t": ["mfc", "del", "-g", "ff3e::77:1"],
        "mfc del -g ff3e::7\t": ["mfc", "del", "-g", "ff3e::77:1"],
        "mfc del --group=ff3e::7\t": ["mfc", "del", "--group=ff3e::77:1"],
        "mfc del -s 10.8\t": ["mfc", "del", "-s", "10.8.0.10"],
        "mfc del -g 239.77.1.1 -s 10\t": ["mfc", "del", "-g", "239.77.1.1", "-s", "10.7.0.10"],
        "mfc change -g 239.88.1.1 --rem\tgo\t": [
            *("mfc", "change", "-g", "239.88.1.1"),
            *("--remove-oifs", "gone7"),
        ],
        "group leave -g 232\t": ["group", "leave", "-g", "232.66.1.1"],
        "show 239.8\t": ["show", "239.88.1.1"],
        # What a shell would expand
        "show --oif vl\t": ["show", "--oif", "vlan*"],
        "mfc flush -i w\t": ["mfc", "flush", "-i", ODD],
        "apply lob\t": ["apply", "lobby's screens.toml"],
    }.items():
        assert shell.run(keys) == words, (keys, shell.shown.decode(errors="replace"))
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", SHELLS)
def test_what_is_completed_inside_an_open_quote_stays_quoted(
    name: str, cli: CLI, network: Namespace, tmp_path: Path
) -> None:
    if not shutil.which(name):
        pytest.skip(f"there is no {name}")
    single, double = "q';>x;'", 'z";>x;"'
    oifs = f"""oifs = ["gone7", "{ODD}", "{single}", '{double}']"""
    cli.apply(DOCUMENT.replace(f'oifs = ["gone7", "{ODD}"]', oifs), "--wait")
    with network, typist(name, tmp_path, cli.environment) as shell:
        for keys, word in {
            "'q\t": single,
            '"q\t': single,
            '"z\t': double,
            "'z\t": double,
            '"w\t': ODD,
            "'w\t": ODD,
        }.items():
            ran = shell.run(f"mfc flush -i {keys}")
            assert ran == ["mfc", "flush", "-i", word], shell.shown.decode(errors="replace")
    assert not (tmp_path / "x").exists()


def test_another_machine_is_not_asked_and_this_one_is_not_offered(
    shell: Typist, tmp_path: Path
) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\n")
    ssh.chmod(0o755)
    words = ["-H", "router", "mfc", "del", "-g", "239.7"]
    assert shell.run("-H router mfc del -g 239.7\t") == words
    assert shell.run("-H router mfc add -i l\t") == ["-H", "router", "mfc", "add", "-i", "l"]
    assert not (tmp_path / "asked").exists()


def test_of_very_many_routes_those_are_offered_that_begin_so(cli: CLI) -> None:
    cli.add(*((f"239.{n % 4}.{n // 4 % 250}.{n // 1000}", "eth1") for n in range(1100)))
    assert offered(cli, "mfc", "del", "-g", "239.") == []
    assert len(offered(cli, "mfc", "del", "-g", "239.3.")) == 275
    assert offered(cli, "mfc", "del", "-g", "239.3.7.1") == ["239.3.7.1"]
    assert offered(cli, "mfc", "add", "-i", "eth1") == ["eth1"]  # by the service's word
    assert offered(cli, "mfc", "del", "-g", "239.3.7.1", "-s", "") == ["*"]


def offered(cli: CLI, *words: str) -> list[str]:
    return [line.partition("\t")[0] for line in cli("__complete", *words).stdout.splitlines()]
