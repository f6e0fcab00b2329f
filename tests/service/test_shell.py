"""Commands line by line, in one process."""

import socket
import subprocess
from pathlib import Path

import pytest
from lab.cli import CLI
from lab.daemon import PROGRAMS

ADD = "mfc add -s 10.1.0.10 -g 239.1.2.{} -i eth1 -o eth2"

pytestmark = pytest.mark.usefixtures("daemon")


def groups(cli: CLI) -> list[str]:
    return [route["group"] for route in cli.json("show")]


def test_lines_are_commands(cli: CLI, tmp_path: Path) -> None:
    file = tmp_path / "routes"
    file.write_text(
        "\n".join(["# two routes", "", *map(ADD.format, (1, 2)), "show --group 239.1.2.2"])
    )
    for done in (cli("shell", str(file)), cli("shell", given=file.read_text().replace("2.", "3."))):
        assert (done.returncode, done.stderr) == (0, "")
        assert len(done.stdout.splitlines()) == 2, "a header and a route"
    assert len(groups(cli)) == 4


@pytest.mark.parametrize(
    ("line", "status", "told"),
    [
        ("mfc del -g 239.9.9.9", 6, "(*, 239.9.9.9)"),
        ("mfc add --nonsense", 2, "--nonsense"),
        ("mfc add -g 'quote", 2, "quotation"),
        ("apply /nonexistent", 1, "/nonexistent"),
        ("monitor", 2, "'monitor' has no place in a shell"),
        ("batch -", 2, "'batch' has no place in a shell"),
        ("--json batch -", 2, "'batch' has no place in a shell"),
        ("--json she", 2, "'shell' has no place in a shell"),
        ("-H there show", 2, "--host has no place in a shell"),
        ("mfc flush --may", 2, "--may has no place in a shell"),
        ("mfc add -g \udc80 -i eth1 -o eth2", 2, "UTF-8"),
    ],
)
def test_the_first_line_that_fails_ends_it(
    line: str, status: int, told: str, cli: CLI, tmp_path: Path
) -> None:
    file = tmp_path / "routes"
    lines = [ADD.format(1), line, ADD.format(2)]
    file.write_text("\n".join(lines), errors="surrogateescape")
    done = cli("shell", str(file))
    assert done.returncode == status
    assert told in done.stderr
    assert f"line 2 of {file} has failed" in done.stderr
    assert groups(cli) == ["239.1.2.1"]


@pytest.mark.parametrize("line", ["apply -", "check /nonexistent -", "import -"])
def test_nothing_else_reads_the_lines(line: str, cli: CLI) -> None:
    done = cli("shell", given=f"{line}\n{ADD.format(1)}\n")
    assert done.returncode == 2
    assert "The standard input has the shell's own lines: name a file" in done.stderr
    assert groups(cli) == []


def test_a_file_of_lines_leaves_the_standard_input_to_them(cli: CLI, tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("apply -\n")
    document = '[[route]]\ngroup = "239.1.2.9"\niif = "eth1"\noifs = ["eth2"]\n'
    assert cli("shell", str(tmp_path / "lines"), given=document).returncode == 0
    assert groups(cli) == ["239.1.2.9"]


def test_lines_may_come_by_a_socket(cli: CLI) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(ADD.format(1).encode())
        ours.shutdown(socket.SHUT_WR)
        command = [str(PROGRAMS / "mfc-dbus-cli"), "shell"]
        subprocess.run(command, env=cli.environment, stdin=theirs.fileno(), check=True, timeout=20)
    assert groups(cli) == ["239.1.2.1"]


def test_help_is_shown_and_it_goes_on(cli: CLI) -> None:
    done = cli("shell", given=f"mfc add --help\n{ADD.format(1)}\n")
    assert done.returncode == 0
    assert "usage: mfc-dbus-cli mfc add" in done.stdout
    assert groups(cli) == ["239.1.2.1"]


def test_json_is_written_where_it_was_asked_for(cli: CLI) -> None:
    done = cli("--json", "shell", given="show\nmfc del -g 239.9.9.9\n")
    assert done.stdout == "[]\n"
    assert '"error": "NoSuchRoute"' in done.stderr
