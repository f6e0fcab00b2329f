"""Show mfc-dbus at work, in network namespaces of its own: `make demo`, `make demo-shell`.

Every command that it runs is printed, and every claim that it makes is checked: the exit status is
0 only when all of it happened. Needs root, or: unshare -Urnm.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shlex
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lab.bus import PrivateBus
from lab.daemon import PROGRAMS, Daemon
from lab.netns import Namespace
from lab.packets import Collector, Fence, Packet, Run, Sender
from lab.privileges import NOBODY, become, in_child
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mfc_dbus.bus.connection import Connection
from mfc_dbus.client import Client, ClientError

NETWORK = """\
   sender                  router                  receivers
  10.0.1.10 ───────── up ┌──────────┐ down1 ───── 10.0.2.10
  fd00:1::10             │ mfc-dbusd│             fd00:2::10
                         └──────────┘ down2 ───── 10.0.3.10
                                                  fd00:3::10"""

# Device in the router, network; the far end is always eth0, with the host number 10.
LINKS = {"up": 1, "down1": 2, "down2": 3}
RECEIVERS = ("down1", "down2")
PACKETS = 50


class Stream(NamedTuple):
    """A route of the demo, and what is sent for it."""

    group: str
    oifs: tuple[str, ...]
    source: str = ""  # any

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self.group else socket.AF_INET

    @property
    def senders(self) -> tuple[str, ...]:
        if self.source:
            return (self.source,)
        return ("fd00:1::10", "fd00:1::11") if ":" in self.group else ("10.0.1.10", "10.0.1.11")

    @property
    def stream(self) -> list[str]:
        """How the command line is told of it."""
        return [*(["--source", self.source] if self.source else []), "--group", self.group]

    def __str__(self) -> str:
        return f"({self.source or '*'}, {self.group})"


STREAMS = (
    Stream("239.1.1.1", ("down1", "down2"), source="10.0.1.10"),
    Stream("239.2.2.2", ("down2",)),
    Stream("ff3e::1:1", ("down1", "down2"), source="fd00:1::10"),
    Stream("ff3e::2:2", ("down2",)),
)


class DemoError(Exception):
    """Something did not happen as it should."""


class Network:
    """The namespaces, the links between them, and the daemon in the router on a bus of its own."""

    def __init__(self, stack: contextlib.ExitStack, *, anonymous: bool) -> None:
        def namespace() -> Namespace:
            return stack.enter_context(contextlib.closing(Namespace()))

        self.router = namespace()
        self.hosts = {link: namespace() for link in LINKS}
        for link, number in LINKS.items():
            self._connect(link, number)
        self.bus = stack.enter_context(PrivateBus(anonymous=anonymous))
        self.daemon = stack.enter_context(Daemon(self.bus.address, self.router))
        self.environment = os.environ | {"DBUS_SYSTEM_BUS_ADDRESS": self.bus.address}
        self.environment["PATH"] = f"{PROGRAMS}:{self.environment['PATH']}"

    def _connect(self, link: str, number: int) -> None:
        host = self.hosts[link]
        self.router.ip(
            f"link add name {link} type veth peer name eth0 netns {host.path}",
            f"address add 10.0.{number}.1/24 dev {link}",
            f"address add fd00:{number}::1/64 dev {link} nodad",
            f"link set dev {link} up",
        )
        host.ip(
            f"address add 10.0.{number}.10/24 dev eth0",
            f"address add fd00:{number}::10/64 dev eth0 nodad",
            "link set dev eth0 up",
        )
        self.router.wait_until_up([link])
        host.wait_until_up(["eth0"])
