"""Network namespaces that nothing but a file descriptor holds.

No name under /run/netns, no process that waits inside: when the descriptor is closed the kernel
takes the namespace down with every device in it. Needs root, or `unshare -Urnm`.
"""

import ctypes
import functools
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

_CLONE_NEWNET = 0x40000000
_RTMGRP_LINK = 1
_THREAD_NETNS = "/proc/thread-self/ns/net"

# Nothing but the tests' own packets: no duplicate address detection, no link-local addresses, no
# solicitations; and no source that the router would doubt.
_SYSCTLS = {
    "ipv4/conf/all/rp_filter": 0,
    "ipv4/conf/default/rp_filter": 0,
    "ipv6/conf/all/accept_dad": 0,
    "ipv6/conf/default/accept_dad": 0,
    "ipv6/conf/default/addr_gen_mode": 1,
    "ipv6/conf/default/router_solicitations": 0,
}


class Namespace:
    """A network namespace of one's own. Within `with namespace:` this thread is in it.

    What is made there belongs to it: sockets for as long as they live, subprocesses too.
    """

    def __init__(self, path: str = "") -> None:
        """Make a new one, or take up that of a path."""
        self._outer = _Outer()
        if path:
            self._fd = os.open(path, os.O_RDONLY)
            return
        outer = os.open(_THREAD_NETNS, os.O_RDONLY)
        try:
            _call("unshare", _CLONE_NEWNET)
            self._fd = os.open(_THREAD_NETNS, os.O_RDONLY)
            _call("setns", outer, _CLONE_NEWNET)
        finally:
            os.close(outer)
        for name, value in _SYSCTLS.items():
            self.sysctl(name, value)
        self.ip("link set lo up")

    def __enter__(self) -> None:
        self._outer.fds.append(os.open(_THREAD_NETNS, os.O_RDONLY))
        self.enter()

    def __exit__(self, *_: object) -> None:
        outer = self._outer.fds.pop()
        try:
            _call("setns", outer, _CLONE_NEWNET)
        finally:
            os.close(outer)

    def enter(self) -> None:
        """Be in it for good, as a child that gives up the power to leave."""
        _call("setns", self._fd, _CLONE_NEWNET)

    @property
    def path(self) -> str:
        """Where `ip link set DEVICE netns PATH` finds the namespace."""
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    def close(self) -> None:
        os.close(self._fd)

    def ip(self, *commands: str) -> None:
        """Run `ip` commands inside, all in one process."""
        self._ip(commands)

    def ip_exactly(self, *words: str) -> None:
        """Run one `ip` command of these words; lone surrogates are bytes that are no UTF-8."""
        with self:
            subprocess.run(["ip", *words], check=True, capture_output=True)

    def ip_json(self, command: str, *options: str) -> list[dict[str, Any]]:
        """Run one `ip` command inside and return what it shows."""
        shown: list[dict[str, Any]] = json.loads(
            "".join(self._ip([command], "-json", *options)) or "[]"
        )
        return shown

    def sysctl(self, name: str, value: int) -> None:
        """Set a value under /proc/sys/net."""
        with self:
            Path("/proc/sys/net", name).write_text(f"{value}\n")

    def wait_until_up(self, devices: Iterable[str]) -> None:
        """Return when these veth devices are up and can send; TimeoutError after 10 s.

        The kernel gets a new link ready in the background, at most once a second. Asking for one
        device by its name hurries it (rtnl_getlink); a kernel that is too old for that sends an
        event when it has done it.
        """
        questions = [f"link show dev {device}" for device in devices]
        with self, _link_events() as events:
            while any(line.split()[1] != "UP" for line in self._ip(questions, "-brief")):
                events.recv(65536)

    def _ip(self, commands: Sequence[str], *options: str) -> list[str]:
        with self:
            done = subprocess.run(
                ["ip", *options, "-batch", "-"],
                input="".join(f"{command}\n" for command in commands),
                capture_output=True,
                text=True,
            )
        if done.returncode:
            raise OSError(f"ip -batch: {done.stderr.strip()}: {', '.join(commands)}")
        return done.stdout.splitlines()


class _Outer(threading.local):
    """The namespaces to go back to, innermost last: one list a thread."""

    def __init__(self) -> None:
        self.fds: list[int] = []


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(function: str, *arguments: int) -> None:
    """Call libc; os.setns and os.unshare came with Python 3.12."""
    if getattr(_libc(), function)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")


def _link_events() -> socket.socket:
    events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    events.settimeout(10)
    events.bind((0, _RTMGRP_LINK))
    return events
