"""Routes by JSON on a Unix socket, asked for by a client that knows only the requests' description.

jason is in the group that may connect, alice is not.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from lab.installed import Installed, eventually
from lab.machine import Machine
from lab.stage import STREAMS, Network

UNIT = "mfc-dbus-json.socket"
PATHS = ("/run/mfc_daemon.sock", "/var/run/mfc_daemon.sock")
# Sends a request, waits for what answers it, and sends the next one; neither ends a line nor says
# that it has sent all. Each argument is a connection: the JSON array of its requests.
CLIENT = """
import json, socket, sys

def ask(sock, request):
    sock.sendall(json.dumps(request).encode())
    text = ""
    while True:
        part = sock.recv(4096).decode()
        if not part:
            raise SystemExit("closed after " + repr(text))
        text += part
        try:
            return json.loads(text)
        except ValueError:
            pass

answers = []
for requests in sys.argv[2:]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(sys.argv[1])
        answers += [ask(sock, request) for request in json.loads(requests)]
print(json.dumps(answers))
"""
SHOW = {"action": "SHOW"}


@pytest.fixture(scope="module")
def _jason(machine: Machine, _installed: Installed) -> None:
    machine.run("useradd", "jason", "--groups", "mfc-daemon")


@pytest.fixture
def listening(installed: Installed, _jason: None) -> Iterator[Installed]:
    installed.systemctl("start", UNIT)
    yield installed
    installed.systemctl("stop", UNIT)


def ask(
    machine: Machine, *connections: list[dict[str, Any]], path: str = PATHS[0]
) -> list[dict[str, Any]]:
    """What is answered to all requests of these connections."""
    written = map(json.dumps, connections)
    shown = machine.run("/usr/bin/python3", "-c", CLIENT, path, *written, user="jason").stdout
    answers: list[dict[str, Any]] = json.loads(shown)
    return answers


def addition(number: int) -> dict[str, Any]:
    stream = STREAMS[number]
    payload = {"source": stream.source, "group": stream.group, "iif": "up", "oifs": stream.oifs}
    return {"action": "ADD_MFC", "payload": payload}


def deletion(number: int) -> dict[str, Any]:
    stream = STREAMS[number]
    return {"action": "DEL_MFC", "payload": {"source": stream.source, "group": stream.group}}


def test_it_is_installed_and_off(installed: Installed, machine: Machine) -> None:
    assert machine.run("systemctl", "is-enabled", UNIT, check=False).stdout.strip() == "disabled"
    assert machine.run("ls", PATHS[0], check=False).returncode


def test_a_route_is_added_shown_and_deleted(
    listening: Installed, machine: Machine, network: Network
) -> None:
    added, shown = ask(machine, [addition(0), SHOW])
    assert added["status"] == "success"
    (route,) = shown["payload"]["mfc_rules"]
    assert (route["source"], route["group"]) == (STREAMS[0].source, STREAMS[0].group)
    assert set(shown["payload"]["vif_map"]) == {"up", *STREAMS[0].oifs}
    assert network.entries() == {STREAMS[0].entry}

    again, deleted, missing = ask(
        machine, [addition(0)], [deletion(0)], [deletion(0)], path=PATHS[1]
    )
    assert (again["status"], again["error"]) == ("error", "RouteExists")
    assert deleted["status"] == "success"
    assert (missing["status"], missing["error"]) == ("error", "NoSuchRoute")
    assert not network.entries()


def test_a_user_outside_the_group_cannot_connect(listening: Installed, machine: Machine) -> None:
    done = machine.run(
        *("/usr/bin/python3", "-c", CLIENT, PATHS[0], json.dumps([SHOW])),
        user="alice",
        check=False,
    )
    assert "PermissionError" in done.stdout
    assert "mfc-daemon" in machine.run("stat", "-c", "%G %a", PATHS[0]).stdout
    assert machine.run("stat", "-c", "%a", PATHS[0]).stdout.strip() == "660"


def test_its_user_may_no_more_than_manage(listening: Installed, machine: Machine) -> None:
    asked = machine.run(
        *("mfc-dbus-cli", "--no-ask-password", "reload"), user="mfc-dbus-json", check=False
    )
    assert asked.returncode == 4


def test_a_process_that_answers_has_no_power(listening: Installed, machine: Machine) -> None:
    script = f"""
{CLIENT.partition("answers = []")[0]}
import subprocess
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect({PATHS[0]!r})
    ask(sock, {SHOW!r})
    for command in ("ps -eo user:32,args", "systemctl list-units --plain mfc-dbus-json@*"):
        print(subprocess.run(command.split(), capture_output=True, text=True).stdout)
"""
    lines = machine.run("/usr/bin/python3", "-c", script, user="root").stdout.splitlines()
    users = {line.split()[0] for line in lines if line.endswith("mfc-dbus-cli batch -")}
    assert users == {"mfc-dbus-json"}
    (unit,) = (line.split()[0] for line in lines if line.startswith("mfc-dbus-json@"))
    assert unit.endswith("-0.service")  # who has connected


def test_connections_end_with_the_socket_and_share_their_memory(
    listening: Installed, machine: Machine
) -> None:
    script = f"""
{CLIENT.partition("answers = []")[0]}
import subprocess
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect({PATHS[0]!r})
    ask(sock, {SHOW!r})
    subprocess.run("systemd-cgls --no-pager --unit system-mfcdbusjson.slice".split())
    subprocess.run(["systemctl", "stop", {UNIT!r}], check=True)
    print(sock.recv(1))
"""
    *cgroups, read = machine.run("/usr/bin/python3", "-c", script).stdout.splitlines()
    assert any("mfc-dbus-json@" in line for line in cgroups)
    assert read == "b''"
    eventually(lambda: "mfc-dbus-json@" not in units(machine))


def test_three_hundred_connections_in_a_row_do_not_close_it(
    listening: Installed, machine: Machine
) -> None:
    script = f"""
import socket
for _ in range(300):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect({PATHS[0]!r})
"""
    machine.run("/usr/bin/python3", "-c", script, user="jason")
    eventually(lambda: "mfc-dbus-json@" not in units(machine))
    (shown,) = ask(machine, [SHOW])
    assert shown["status"] == "success"


def units(machine: Machine) -> str:
    return machine.run("systemctl", "list-units", "--plain", "mfc-dbus-json@*").stdout


def test_a_connection_starts_the_service(listening: Installed, machine: Machine) -> None:
    listening.systemctl("stop", "mfc-dbus")
    (shown,) = ask(machine, [SHOW])
    assert shown["status"] == "success"
    assert listening.show("ActiveState") == "active"
