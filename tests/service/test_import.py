"""An smcroute.conf is read as smcroute reads it: its entries in the kernel beside ours.

                     ┌────────┐
    senders ─ out0 ─ eth0     │
            ─ out1 ─ eth1     │
            ─ out2 ─ eth2     │
            ─ out3 ─ br0      │
                     │ router │
                     └────────┘

Every configuration is made up by chance, and says nothing on which smcroute is by its own account
undecided: of two of its ranges that overlap one covers the other, and no VIF comes back after a
route was made.
"""

import ipaddress
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from lab.bus import PrivateBus
from lab.daemon import PROGRAMS, Daemon
from lab.foreign import run as run_as
from lab.igmp import Member, members
from lab.netns import Namespace
from lab.packets import Run, Sender
from lab.witness import Entry, entries, vifs

FAMILIES = (socket.AF_INET, socket.AF_INET6)
INTERFACES = {"eth0": "out0", "eth1": "out1", "eth2": "out2", "br0": "out3"}
WORDS = [*INTERFACES, "eth+", "e+", "br+", "eth9"]
SEEDS = 12
_TIMEOUT = 10.0

Oifs = frozenset[tuple[str, int]]


class Probe(NamedTuple):
    """A stream that is sent to an interface."""

    iif: str
    source: str
    group: str

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self.group else socket.AF_INET


class Configuration(NamedTuple):
    lines: Sequence[bytes]
    probes: Sequence[Probe]


class Maker:
    """Makes up a configuration."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.lines: list[bytes] = []
        self.probes: list[Probe] = []

    def make(self) -> Configuration:
        for _ in range(self.rng.randrange(5)):
            state = self.rng.choice(["enable", "disable", "", ""])
            self._say(f"phyint {self.rng.choice(WORDS)} {state} {self._threshold()}")
        for number in range(self.rng.randrange(2, 6)):
            self._routes(number)
            if self.rng.random() < 0.3:
                self._say(f"mgroup from eth0 group 225.{number}.1.{self.rng.randrange(256)}/30")
            if self.rng.random() < 0.3:
                self._say(f"ssmgroup from eth1 source 10.7.0.1 group 232.{number}.1.1")
        if self.rng.random() < 0.5:
            self._say(f"phyint {self.rng.choice(WORDS)} disable")
        return Configuration(self.lines, self.probes)

    def _routes(self, number: int) -> None:
        """Say something of streams of their own, on one line or several."""
        if self.rng.random() < 0.6:
            base, length, full = f"239.1.{number}.", self.rng.choice([30, 32]), 32
            sources, prefix = f"10.{number}.{{}}.1", f"10.{number}.9.9/16"
            one = f"10.9.{number}.1"
        else:
            base, length, full = f"ff3e::{number}:", self.rng.choice([126, 128]), 128
            sources, prefix = f"fd00:{number}:{{}}::1", f"fd00:{number}::9/32"
            one = f"fd09::{number}"
        group = f"{base}{self.rng.randrange(1, 8)}"
        written = group if length == full else f"{group}/{length}"
        source = self.rng.choice(["", "", prefix, one, "::" if full == 128 else "0.0.0.0"])
        exact = source == one and length == full
        iifs = ["eth0", "eth1", "br0"] if exact else ["eth0", "eth1", "br0", "eth+"]
        chosen = [self.rng.choice(iifs) for _ in range(2)]
        words = " ".join(self.rng.choices(WORDS, k=2))
        around = f"mroute from e+ group {base}0/{24 if full == 32 else 112} to {words}"
        # smcroute deletes an entry of one source and no oif when it learns of a range around it.
        wider = "" if exact else self.rng.choice(["", "", "before", "after"])
        if wider == "before":
            self._say(around)
        for _ in range(self.rng.choice([1, 1, 2, 3])):
            words = " ".join(self.rng.choices(WORDS, k=self.rng.randrange(4)))
            clause = f"source {source} " if source else ""
            comment = b"#" + self._bytes().replace(b" ", b"") if words else b""
            iif = self.rng.choice(chosen)
            self._say(f"mroute from {iif} {clause}group {written} to {words or '#'}", comment)
            if self.rng.random() < 0.3:
                self._say(f"phyint eth1 {self._threshold()}" if self._may_enable() else "# nothing")
        if wider == "after":
            self._say(around)
        network = ipaddress.ip_network(written, strict=False)
        groups = [str(network[0]), str(network[-1]), f"{base}9"]
        for place, iif in enumerate(INTERFACES, 1):
            self.probes += [Probe(iif, sources.format(place), each) for each in groups]
            if exact:  # what it sends elsewhere would move from one interface to another
                self.probes.append(Probe(iif, one, group))

    def _may_enable(self) -> bool:
        return not any(b"disable" in line for line in self.lines)

    def _threshold(self) -> str:
        ttl = self.rng.choice([0, 0, 1, 5, 11, 255])
        return f"ttl-threshold {ttl}" if ttl else ""

    def _say(self, line: str, comment: bytes = b"") -> None:
        if self.rng.random() < 0.2:
            self.lines.append(b"  # " + self._bytes())
        self.lines.append(line.encode() + b" " + comment)

    def _bytes(self) -> bytes:
        return bytes(self.rng.choice(b"a\x01\x1b\x85\x1c\xa0\xff\xe2#'\"") for _ in range(6))


@contextmanager
def ground() -> Iterator[tuple[Namespace, Namespace]]:
    """The router, and where the senders are."""
    with ExitStack() as stack:
        router, outside = Namespace(), Namespace()
        stack.callback(router.close)
        stack.callback(outside.close)
        for name, peer in INTERFACES.items():
            router.ip(f"link add name {name} type veth peer name {peer} netns {outside.path}")
            router.ip(f"link set {name} up")
            outside.ip(f"link set {peer} up")
        router.wait_until_up(INTERFACES)
        outside.wait_until_up(INTERFACES.values())
        yield router, outside


def send(outside: Namespace, probes: Sequence[Probe]) -> None:
    for probe in probes:
        run = Run(probe.family)
        sender = Sender(run, outside, INTERFACES[probe.iif], probe.source, probe.group)
        sender.send(1)
        sender.close()


def look(router: Namespace, probes: Sequence[Probe]) -> dict[Probe, Oifs]:
    """By which interfaces each stream leaves, by the kernel's entries."""
    found = {family: entries(router, family) for family in FAMILIES}
    by_stream = {
        (entry.source, entry.group, entry.iif): entry for each in found.values() for entry in each
    }
    exact = {(source, group) for source, group, _ in by_stream}
    told: dict[Probe, Oifs] = {}
    for probe in probes:
        entry = by_stream.get((probe.source, probe.group, probe.iif))
        if (probe.source, probe.group) not in exact:
            entry = _of_any_source(by_stream, probe)
        told[probe] = entry.oifs if entry else frozenset()
    return told


def _of_any_source(found: Mapping[tuple[str, str, str], Entry], probe: Probe) -> Entry | None:
    """The kernel's own kind of entry, which never sends back."""
    for source in ("0.0.0.0", "::"):
        entry = found.get((source, probe.group, probe.iif))
        if entry:
            oifs = frozenset(oif for oif in entry.oifs if oif[0] != probe.iif)
            return entry._replace(oifs=oifs)
    return None


def joined(router: Namespace) -> set[Member]:
    return {each for each in members(router) if each.group.startswith(("225.", "232."))}


def what_smcroute_does(
    path: Path, probes: Sequence[Probe]
) -> tuple[dict[Probe, Oifs], set[Member]]:
    with ground() as (router, outside):
        pid, sock = path.parent / "pid", path.parent / "sock"
        with router:
            process = subprocess.Popen(
                ["smcrouted", "-n", "-f", str(path), "-P", str(pid), "-u", str(sock)],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        try:
            _wait_until(pid.exists)
            send(outside, probes)
            _wait_until(lambda: _answered(router, probes))
            return look(router, probes), joined(router)
        finally:
            process.terminate()
            process.wait()


def _answered(router: Namespace, probes: Sequence[Probe]) -> bool:
    """Whether each stream that the kernel asked for has an entry: smcroute makes one for all."""
    for family in FAMILIES:
        heard = set(vifs(router, family).values())
        asked = [each for each in probes if each.family == family and each.iif in heard]
        there = {(entry.source, entry.group) for entry in entries(router, family)}
        if not {(each.source, each.group) for each in asked} <= there:
            return False
    return True


def _wait_until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _TIMEOUT
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize("seed", range(SEEDS))
def test_an_import_forwards_and_joins_what_smcroute_does(
    seed: int, own_bus: PrivateBus, tmp_path: Path
) -> None:
    if not shutil.which("smcrouted"):
        pytest.skip("smcroute is not installed")
    lines, probes = Maker(seed).make()
    path, included = tmp_path / "smcroute.conf", tmp_path / "included.conf"
    middle = len(lines) // 2
    path.write_bytes(b"\n".join([*lines[:middle], f"include {included}".encode(), b""]))
    included.write_bytes(b"\n".join([*lines[middle:], b""]))
    forwarded, groups = what_smcroute_does(path, probes)

    program = str(PROGRAMS / "mfc-dbus-cli")
    with ground() as (router, outside), Daemon(own_bus.address, router):
        imported = run_as(own_bus.address, program, "import", str(path))
        assert "Traceback" not in imported.stderr
        document = tmp_path / "routes.toml"
        document.write_text(imported.stdout)
        applied = run_as(own_bus.address, program, "apply", str(document), "--wait", "--empty")
        assert (applied.returncode, applied.stderr) == (0, "")
        send(outside, probes)
        _wait_until(lambda: look(router, probes) == forwarded)
        said = b"\n".join(lines).decode(errors="replace")
        assert look(router, probes) == forwarded, f"{said}\n\n{imported.stdout}\n{imported.stderr}"
        assert joined(router) == groups
