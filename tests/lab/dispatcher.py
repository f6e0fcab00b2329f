"""mfc-dbus-dispatcher as a process on a bus, with scripts that write down what they hear."""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from lab.daemon import PROGRAMS

# Each script appends to a file of its name: its arguments, with what it reads, as JSON.
_LISTENER = """\
#!/bin/sh
printf '%s\\t%s\\t%s\\n' "$1" "$2" "$(cat)" >>{heard}/{name}
{more}
"""


class Dispatcher:
    """It runs within `with`; its directories outlive it and begin empty."""

    def __init__(self, address: str, home: Path, *words: str) -> None:
        self.home = home
        self.scripts = home / "dispatcher.d"
        self.heard = home / "heard"
        self.state = home / "state"
        for each in (self.scripts, self.scripts / "no-wait.d", self.heard, self.state):
            each.mkdir(exist_ok=True, mode=0o755)
        self.environment = os.environ | {
            "DBUS_SYSTEM_BUS_ADDRESS": address,
            "STATE_DIRECTORY": str(self.state),
        }
        self.command = [
            str(PROGRAMS / "mfc-dbus-dispatcher"),
            f"--directory={self.scripts}",
            *words,
        ]
        self._log = home / "log"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        with self._log.open("a") as log:
            self.process = subprocess.Popen(self.command, env=self.environment, stderr=log)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            [*self.command, *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def log(self) -> str:
        return self._log.read_text()

    def add(self, name: str, more: str = "", *, waits: bool = True) -> Path:
        """Add a script that writes down what it hears, and does more after that."""
        text = _LISTENER.format(heard=self.heard, name=name, more=more)
        return self.write(name if waits else f"no-wait.d/{name}", text)

    def write(self, name: str, text: str) -> Path:
        """Write a script, which is there whole or not at all."""
        path = self.scripts / name
        with tempfile.NamedTemporaryFile("w", dir=self.home, delete=False) as file:
            file.write(text)
        Path(file.name).chmod(0o755)
        Path(file.name).rename(path)
        return path

    def events(self, name: str = "a") -> list[dict[str, Any]]:
        """What a script has read."""
        return [json.loads(line.split("\t", 2)[2]) for line in self._lines(name)]

    def told(self, name: str = "a", *, without: str = "") -> list[str]:
        """What a script was told, in short: its arguments, without those of some actions."""
        pairs = (line.split("\t")[:2] for line in self._lines(name))
        return [f"{action} {subject}" for subject, action in pairs if action != without]

    def _lines(self, name: str) -> list[str]:
        path = self.heard / name
        return path.read_text().splitlines() if path.exists() else []

    def until(self, condition: Callable[[], bool], seconds: float = 30) -> None:
        """Return when it holds: scripts tell nobody when they are done."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, (self.log, [*self.heard.iterdir()])
            time.sleep(0.02)

    def until_told(self, *told: str, name: str = "a") -> None:
        """Return when a script was told exactly this since it was last asked for, in order."""
        self.until(lambda: len(self.told(name)) >= len(told))
        assert self.told(name) == [*told]
        (self.heard / name).unlink()
