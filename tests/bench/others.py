"""What the service is measured beside: the bare kernel, and smcroute."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from lab.netns import Namespace

from bench.ground import SOURCE, TIMEOUT, Cost, groups, run
from mfc_dbus.kernel import abi
from mfc_dbus.kernel.mroute import MRoute


class BareKernel(NamedTuple):
    """seconds: what it took to give the kernel all of the routes."""

    mroute: MRoute
    seconds: float


@contextmanager
def bare_kernel(namespace: Namespace, count: int) -> Iterator[BareKernel]:
    """Give the kernel so many routes, by setsockopt alone on arguments that are ready."""
    with namespace, MRoute(socket.AF_INET) as mroute:
        mroute.init()
        for vif, name in enumerate(("in", "out")):
            mroute.add_vif(vif, socket.if_nametoindex(name))
        source = socket.inet_aton(SOURCE)
        arguments = [
            abi.IPV4.mfc(source, socket.inet_aton(group), 0, ((1, 1),)) for group in groups(count)
        ]
        with socket.socket(fileno=os.dup(mroute.fileno())) as sock:
            begin = time.perf_counter()
            for argument in arguments:
                sock.setsockopt(socket.IPPROTO_IP, abi.MRT_ADD_MFC, argument)
            seconds = time.perf_counter() - begin
        yield BareKernel(mroute, seconds)


class Smcroute:
    """smcrouted and its control program, in a namespace."""

    def __init__(self, process: "subprocess.Popen[bytes]", directory: Path) -> None:
        self.pid = process.pid
        self._directory = directory

    @staticmethod
    def is_installed() -> bool:
        return shutil.which("smcrouted") is not None

    @classmethod
    @contextmanager
    def running(cls, namespace: Namespace, routes: int = 0) -> Iterator["Smcroute"]:
        """Start it, with so many routes in its configuration, and yield it when it is ready."""
        with tempfile.TemporaryDirectory() as directory:
            home = Path(directory)
            lines = ["phyint in enable", "phyint out enable"]
            lines += [f"mroute from in source {SOURCE} group {g} to out" for g in groups(routes)]
            (home / "conf").write_text("\n".join(lines) + "\n")
            options: list[str | Path] = [
                "-f",
                home / "conf",
                "-P",
                home / "pid",
                "-u",
                home / "socket",
            ]
            with namespace:
                process = subprocess.Popen(
                    ["smcrouted", "-n", "-N", *options],
                    stdin=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            try:
                deadline = time.monotonic() + TIMEOUT
                while not (home / "pid").exists():
                    if time.monotonic() > deadline or process.poll() is not None:
                        raise TimeoutError("smcrouted does not start")
                    time.sleep(0.002)
                yield cls(process, home)
            finally:
                process.terminate()
                process.wait()

    def add(self, count: int) -> Cost:
        """Add routes by one command."""
        lines = (f"add in {SOURCE} {group} out\n" for group in groups(count))
        return self.control("-b", text="".join(lines))

    def control(self, *words: str, text: str = "") -> Cost:
        return run(
            ["smcroutectl", "-u", self._directory / "socket", *words], daemon=self.pid, text=text
        )
