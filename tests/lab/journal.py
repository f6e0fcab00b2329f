"""A journal: the socket of systemd's, and what was written to it; or the real one."""

import json
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

JOURNALD = Path("/lib/systemd/systemd-journald")

_LONGEST = 1 << 18

Entry = Mapping[str, Sequence[str]]


class Journal:
    """Binds a socket at a path, and reads the messages that come, each with its fields."""

    def __init__(self, path: Path, room: int = 0) -> None:
        """room: bytes that may wait to be read; 0 is the system's default."""
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        if room:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        self._socket.bind(str(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self.path.unlink()

    def read(self, timeout: float = 20) -> Entry:
        """Wait for a message. Raises TimeoutError."""
        self._socket.settimeout(timeout)
        return parse(self._socket.recv(_LONGEST))

    def read_all(self) -> list[Entry]:
        """Return what waits."""
        self._socket.setblocking(False)
        found = []
        try:
            while True:
                found.append(parse(self._socket.recv(_LONGEST)))
        except BlockingIOError:
            return found

    def until(self, text: str) -> list[Entry]:
        """Return all messages up to the first one that has this text in its sentence."""
        found = [self.read()]
        while text not in found[-1]["MESSAGE"][0]:
            found.append(self.read())
        return found


class Journald:
    """systemd's own, in a mount namespace where it has what it needs; `socket` is here, too."""

    def __init__(self, directory: Path) -> None:
        self._logs = directory / "journal"
        self.socket = directory / "journald/socket"
        for path in (self._logs, self.socket.parent):
            path.mkdir()
        script = (
            "mount -t tmpfs none /run && mkdir -p /run/systemd/journal /run/log/journal"
            ' && mount --bind "$1" /run/systemd/journal && mount --bind "$2" /run/log/journal'
            ' && exec "$3"'
        )
        command = ["unshare", "--mount", "sh", "-c", script, "sh"]
        paths = map(str, (self.socket.parent, self._logs, JOURNALD))
        self._process = subprocess.Popen([*command, *paths])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)

    def wait_until_ready(self) -> None:
        """Return when it takes messages."""
        deadline = time.monotonic() + 20
        while not self.socket.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise OSError("systemd-journald does not start")
            time.sleep(0.01)

    def find(self, *matches: str) -> list[Mapping[str, Any]]:
        """Wait for entries that match, as journalctl says it, and return them."""
        options = ["--output=json", "--no-pager", f"--directory={self._logs}"]
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            done = subprocess.run(
                ["journalctl", *options, "--merge", *matches],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.stdout:
                return [json.loads(line) for line in done.stdout.splitlines()]
            time.sleep(0.05)  # it has no way to be told of an entry before there is a file
        raise TimeoutError(f"Nothing in the journal matches {matches}: {done.stderr}")


def parse(message: bytes) -> Entry:
    """Read a message as systemd does: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/ ."""
    fields: dict[str, list[str]] = {}
    while message:
        line, _, rest = message.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            length = int.from_bytes(rest[:8], "little")
            value, rest = rest[8 : 8 + length], rest[8 + length :]
            assert rest.startswith(b"\n")
            rest = rest[1:]
        assert name.decode().replace("_", "").isalnum()
        assert name.isupper()
        assert name[:1] != b"_"
        fields.setdefault(name.decode(), []).append(value.decode())
        message = rest
    return fields
