"""The command line as a process on a bus: run to its end, or talked with line by line."""

import json
import os
import subprocess
from typing import Any, Self

from lab.daemon import PROGRAMS


class CLI:
    """mfc-dbus-cli on a bus, and the D-Bus library that it uses."""

    def __init__(self, address: str, library: str = "") -> None:
        self.environment = os.environ | {"DBUS_SYSTEM_BUS_ADDRESS": address}
        if library:
            self.environment["MFC_DBUS_BACKEND"] = library

    def __call__(self, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAMS / "mfc-dbus-cli", *words],
            env=self.environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=30,
        )

    def busctl(self, *words: str) -> int:
        command = ["busctl", f"--address={self.environment['DBUS_SYSTEM_BUS_ADDRESS']}", *words]
        return subprocess.run(command, stderr=subprocess.DEVNULL, timeout=30).returncode

    def json(self, *words: str) -> Any:
        done = self("--json", *words)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    def add(self, *streams: tuple[str, str]) -> None:
        """Add routes, by group and iif, to eth3."""
        payloads = [{"group": group, "iif": iif, "oifs": ["eth3"]} for group, iif in streams]
        requests = [{"action": "ADD_MFC", "payload": payload} for payload in payloads]
        assert self("batch", "-", given="\n".join(map(json.dumps, requests))).returncode == 0

    def apply(self, document: str, *words: str) -> list[str]:
        """The lines that it writes."""
        done = self("apply", "-", *words, given=document)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    def start(self, *words: str) -> "Running":
        return Running(
            subprocess.Popen(
                [PROGRAMS / "mfc-dbus-cli", *words],
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )


class Running:
    """A command with which one talks line by line; it ends with the context."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        assert process.stdin
        assert process.stdout
        self.stdin, self.stdout = process.stdin, process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.stdin.close()
        self.stdout.close()

    def line(self) -> str:
        return self.stdout.readline().rstrip("\n")

    def ask(self, request: object) -> Any:
        self.stdin.write(request if isinstance(request, str) else json.dumps(request) + "\n")
        self.stdin.flush()
        return json.loads(self.line())
