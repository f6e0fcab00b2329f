"""A stream, the service, and a hand that types: where Explain is asked about what was made.

    up0 ──┐ router,  ┌── down0
          ├ mfc-dbusd┤
    up1 ──┘          └── down1

A stream of some hundred packets a second goes on while somebody asks. The route, where the cause
does not want another, is from up0 to down0 and down1.
"""

import json
import re
import shlex
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from lab.cli import CLI
from lab.daemon import Daemon
from lab.packets import Flow
from lab.topology import Topology

V4, V6 = socket.AF_INET, socket.AF_INET6
SECONDS = 1
RATE = 200  # packets a second
SETTINGS = """\
tables = ["ipv4", "ipv6", "ipv4/100", "ipv6/100"]
discovery.interfaces = [{watched}]
limits.learned = {learned}
"""


def settings(watched: str = '"up*"', learned: int = 100) -> str:
    return SETTINGS.format(watched=watched, learned=learned)


class Scene:
    """The lab with the service, what a cause does to both, and the hand that types."""

    def __init__(self, lab: Topology, daemon: Daemon, cli: CLI) -> None:
        self.lab, self.daemon, self.cli = lab, daemon, cli
        self.source, self.group = lab.addresses.source, lab.addresses.group
        self.asked = [self.source, self.group]  # what is typed after "explain"
        self.upstream, self.sender, self.ttl, self.padding = "up0", self.source, 64, 0
        self.sends = True
        self.frame: bytes | None = None  # is sent in the place of packets
        self.stack = ExitStack()  # of what a remedy ends
        self.remedy = ""  # that of the first finding
        self.returncode = 0  # of the last "explain"

    @property
    def is_ipv6(self) -> bool:
        return self.lab.family == V6

    def add(
        self,
        *more: str,
        source: str = "",
        iif: str = "up0",
        oifs: Sequence[str] = ("down0", "down1"),
    ) -> None:
        stream = ["--source", source or self.source, "--group", self.group, "--iif", iif]
        leaving = ["--oifs", *oifs] if oifs else ["--stop"]
        self.type("mfc-dbus-cli", "mfc", "add", *stream, *leaving, *more)

    def type(self, *words: str) -> None:
        """Run a command in the router, which must succeed."""
        if words[0] == "mfc-dbus-cli":
            done = self.cli(*words[1:])
            assert (done.returncode, done.stderr) == (0, ""), words
            return
        with self.lab.router:
            subprocess.run(words, check=True, capture_output=True)

    def configure(self, **more: Any) -> None:
        self.daemon.configure(settings(**more))
        self.type("mfc-dbus-cli", "reload")

    @contextmanager
    def flow(self) -> Iterator[None]:
        if self.frame is not None:
            with self._frames(self.frame):
                yield
            return
        if not self.sends:
            yield
            return
        sender = self.lab.sender(
            self.upstream,
            source=self.sender,
            group=self.group,
            ttl=self.ttl,
            padding=self.padding,
        )
        with sender.flow(RATE) as flow:
            flow.wait_for(5)
            yield

    @contextmanager
    def _frames(self, frame: bytes) -> Iterator[None]:
        """Send the same frame again and again."""
        with self.lab.outside:
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        with sock:
            flow = Flow(lambda: sock.sendto(frame, (self.upstream, 0)), 1 / RATE)
            try:
                flow.wait_for(5)
                yield
            finally:
                flow.stop()

    def type_remedy(self, values: Mapping[str, str]) -> None:
        """Type the remedy as it was printed, but for its words in capitals, which have values.

        tcpdump goes on until it is told to stop: here it is after the first packet.
        """
        remedy = self.remedy
        for word, value in values.items():
            remedy = re.sub(rf"\b{word}\b", value, remedy)
        words = shlex.split(remedy)
        if words and words[0] == "tcpdump":
            with self.flow():
                self.type(*words, "-c", "1")
        elif words:
            self.type(*words)

    def explain(self) -> list[dict[str, Any]]:
        with self.lab.router:
            done = self.cli("--json", "explain", *self.asked, "--seconds", str(SECONDS))
        assert done.stderr == ""
        self.returncode = done.returncode
        found: list[dict[str, Any]] = json.loads(done.stdout)
        self.remedy = found[0]["remedy"] if found else ""
        return found
