"""Clients of the bus that are not ours, as processes."""

import os
import subprocess
from collections.abc import Sequence

from lab.daemon import BUS_NAME

_TIMEOUT = 30


def run(
    address: str, *command: str, uid: int = 0, given: str = ""
) -> "subprocess.CompletedProcess[str]":
    """Run a program on a bus, as another user where one is given. given: its standard input."""
    as_user = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--"] if uid else []
    return subprocess.run(
        [*as_user, *command],
        env=os.environ | {"DBUS_SYSTEM_BUS_ADDRESS": address, "LC_ALL": "C.UTF-8"},
        input=given,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
    )


def output(address: str, *command: str) -> str:
    """Run a program that must succeed; what it prints."""
    done = run(address, *command)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def busctl(address: str, *arguments: str) -> str:
    return output(address, "busctl", "--system", *arguments)


def add_route(group: str, oifs: Sequence[str] = ("eth2",)) -> list[str]:
    """The command line of a busctl that adds a route from eth1."""
    place = [BUS_NAME, "/" + BUS_NAME.replace(".", "/"), BUS_NAME]
    arguments = ["10.1.0.10", group, "eth1", str(len(oifs)), *oifs, "0"]
    return ["busctl", "--system", "call", *place, "AddRoute", "sssasa{sv}", *arguments]
