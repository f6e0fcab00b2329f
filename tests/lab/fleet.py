"""Three routers in a row, and Ansible, which reaches each by a link of its own.

                     eth1 ┌──────┐ eth2 ── eth1 ┌──────┐ eth2 ── eth1 ┌──────┐ eth2
    head-end ──────────── │ hop1 │              │ hop2 │              │ edge │ ──────── receiver
    10.0.1.10             └──────┘              └──────┘              └──────┘
                         eth0 │              eth0 │              eth0 │
                              └─────────────── controller ────────────┘

Each router is a booted machine; all else are network namespaces. Needs root and systemd-nspawn.
"""

import contextlib
import itertools
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lab.ansible import Ansible
from lab.machine import Machine
from lab.netns import Namespace
from lab.stage import kept

HOSTS = {"hop1": "10.255.1.2", "hop2": "10.255.2.2", "edge": "10.255.3.2"}


class Fleet:
    """The routers have no package yet; the streams of the head-end come to hop1."""

    def __init__(self, stack: contextlib.ExitStack, directory: Path) -> None:
        # A container ends with the thread that has started it.
        pool = stack.enter_context(ThreadPoolExecutor(len(HOSTS)))
        booting = {name: pool.submit(Machine) for name in HOSTS}
        self.machines = {name: stack.enter_context(each.result()) for name, each in booting.items()}
        self.routers = {name: kept(stack, each.network()) for name, each in self.machines.items()}
        self.controller, self.head_end, self.receiver = (kept(stack, Namespace()) for _ in range(3))
        for machine in self.machines.values():
            machine.let_packages_start()
        self._connect()
        self._let_in(directory)
        self.ansible = Ansible(directory, self.controller)

    def routes(self) -> dict[str, Any]:
        """Return what the kernel of each router has."""
        return {name: each.ip_json("mroute show") for name, each in self.routers.items()}

    @contextlib.contextmanager
    def away(self, name: str) -> Iterator[None]:
        """Within the block the controller does not reach a router."""
        self.controller.ip(f"link set dev {name} down")
        try:
            yield
        finally:
            self.controller.ip(f"link set dev {name} up")
            self.controller.wait_until_up([name])

    def _connect(self) -> None:
        ends = [self.head_end, *self.routers.values(), self.receiver]
        for number, (left, right) in enumerate(itertools.pairwise(ends), 1):
            left.ip(
                f"link add name eth2 type veth peer name eth1 netns {right.path}",
                f"address add 10.0.{number}.10/24 dev eth2",
                "link set dev eth2 up",
            )
            right.ip(f"address add 10.0.{number}.1/24 dev eth1", "link set dev eth1 up")
            left.wait_until_up(["eth2"])
        for number, router in enumerate([*self.routers.values()][1:], 2):
            router.ip(f"route add 10.0.1.0/24 via 10.0.{number}.10")
        for (name, address), router in zip(HOSTS.items(), self.routers.values(), strict=True):
            self.controller.ip(
                f"link add name {name} type veth peer name eth0 netns {router.path}",
                f"address add {address[:-1]}1/30 dev {name}",
                f"link set dev {name} up",
            )
            router.ip(f"address add {address}/30 dev eth0", "link set dev eth0 up")
            self.controller.wait_until_up([name])

    def _let_in(self, directory: Path) -> None:
        """Give the controller a key for the routers, and what it needs to know theirs."""
        key = directory / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        known = []
        for name, machine in self.machines.items():
            keys = machine.root / "root/.ssh/authorized_keys"
            keys.parent.mkdir(mode=0o700, exist_ok=True)
            shutil.copy(key.with_suffix(".pub"), keys)
            keys.chmod(0o600)
            # bash reads it for each command over ssh, and this machine's may take its time.
            machine.run("rm", "-f", "/root/.bashrc")
            machine.run("ssh-keygen", "-A")
            machine.run("systemctl", "start", "ssh")
            theirs = (machine.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text()
            known.append(f"{HOSTS[name]} {theirs}")
        (directory / "known_hosts").write_text("".join(known))
