"""The shells for which there is a completion, each on a terminal where somebody types."""

import contextlib
import os
import pty
import shlex
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lab.bus import DATA
from lab.daemon import PROGRAMS

# Asked what may be typed, it is the program; run, it tells its arguments and does nothing.
_PROGRAM = """\
#!/bin/sh
[ "$1" != __complete ] || exec {program} "$@"
printf '%s\\0' "$@" >{told}
"""


class Shell(NamedTuple):
    """How it is started without any configuration, and what has to be typed first."""

    command: Sequence[str]
    begin: str
    completion: str  # where the name of a file matters
    source: str


SHELLS = {
    "bash": Shell(
        ["bash", "--norc", "--noprofile", "-i"],
        "source ./mfc-dbus-cli.bash",
        "mfc-dbus-cli.bash",
        "mfc-dbus-cli.bash",
    ),
    "zsh": Shell(
        ["zsh", "-f", "-i"],
        "fpath=($PWD $fpath); autoload -Uz compinit; compinit -D -u",
        "_mfc-dbus-cli",
        "mfc-dbus-cli.zsh",
    ),
    "fish": Shell(
        ["fish", "--no-config", "-i"],
        "source ./mfc-dbus-cli.fish",
        "mfc-dbus-cli.fish",
        "mfc-dbus-cli.fish",
    ),
}


class Typist:
    """Types in a shell that runs in this directory; ends it with `close`."""

    def __init__(self, shell: Shell, directory: Path, environment: Mapping[str, str]) -> None:
        self._told = directory / "told"
        os.mkfifo(self._told)
        (directory / shell.completion).write_text((DATA / shell.source).read_text())
        program = directory / "mfc-dbus-cli"
        program.write_text(
            _PROGRAM.format(
                program=shlex.quote(str(PROGRAMS / program.name)), told=shlex.quote(str(self._told))
            )
        )
        program.chmod(0o755)
        self.shown = b""
        self._pid, self._fd = pty.fork()
        if not self._pid:
            os.chdir(directory)
            own = {"HOME": str(directory), "PATH": f"{directory}:{os.environ['PATH']}"}
            os.execvpe(
                shell.command[0],
                [*shell.command],
                {**environment, **own, "TERM": "xterm", "PS1": "$ "},
            )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self._enter(shell.begin)
        self.run("ready")

    def run(self, keys: str) -> list[str]:
        """Type this after the program's name, and Enter; return the arguments that it gets."""
        self._enter(f"mfc-dbus-cli {keys}")
        with self._told.open() as told:  # it waits for the program
            return told.read().split("\0")[:-1]

    def close(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._reader.join()
        os.close(self._fd)

    def _enter(self, keys: str) -> None:
        os.write(self._fd, f"{keys}\r".encode())

    def _read(self) -> None:
        """Read what it shows: it would wait for that."""
        with contextlib.suppress(OSError):  # EIO: it has ended
            while data := os.read(self._fd, 4096):
                self.shown += data


@contextlib.contextmanager
def typist(shell: str, directory: Path, environment: Mapping[str, str]) -> Iterator[Typist]:
    with contextlib.closing(Typist(SHELLS[shell], directory, environment)) as typist:
        yield typist
