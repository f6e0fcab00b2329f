"""What was acknowledged is there after the power went, whatever the disk had not been given.

The state is on ext4, on a loop device whose file is on XFS. A clone of that file, which XFS makes
in one step while changes go on, is the disk as a power loss would leave it: what nobody had flushed
from memory is not in it. Not shown by this: a disk that loses or reorders what it was given and was
not yet told to flush.

   daemon ── ext4 ── /dev/loop ── disk.img ── XFS ── /dev/loop ── a file of the test
                                     └ clones: 1.img, 2.img, …
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import sqlite3
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
from lab.bus import PrivateBus
from lab.caller import Caller, Route
from lab.daemon import Daemon
from lab.netns import Namespace

_FICLONE = 0x40049409  # linux/fs.h
_CLONES = 10
_CALLERS = 4
_TOGETHER = 40  # routes of a document
_TOOLS = ("mkfs.ext4", "mkfs.xfs", "mount")

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts disks"),
    pytest.mark.skipif(not all(map(shutil.which, _TOOLS)), reason="no mkfs.ext4 or mkfs.xfs"),
]


@pytest.fixture(scope="module")
def library() -> str:
    """The daemon's own choice: what is stored is the same with each."""
    return ""


@contextlib.contextmanager
def mounted(image: Path) -> Iterator[Path]:
    directory = image.with_suffix("")
    directory.mkdir()
    subprocess.run(["mount", "-o", "loop", image, directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


def formatted(image: Path, size: int, *make: str) -> Path:
    """Make a file system in a file. size: MiB."""
    with image.open("wb") as file:
        file.truncate(size << 20)
    subprocess.run([*make, "-q", image], check=True, stdout=subprocess.DEVNULL)
    return image


class Disk:
    """A disk that the state is on, and what a power loss leaves of it."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self.image = formatted(scratch / "disk.img", 64, "mkfs.ext4", "-F")
        self._count = 0

    def clone(self) -> Path:
        """Return the disk as a power loss would leave it now."""
        self._count += 1
        clone = self._scratch / f"{self._count}.img"
        with self.image.open("rb") as disk, clone.open("wb") as file:
            fcntl.ioctl(file, _FICLONE, disk.fileno())
        return clone


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    image = formatted(tmp_path / "host.img", 512, "mkfs.xfs", "-m", "reflink=1")
    with mounted(image) as host:
        yield Disk(host)


class Change(NamedTuple):
    """What was asked for: whether these groups have routes. done: when it was acknowledged."""

    groups: tuple[str, ...]
    added: bool
    begun: float
    done: float = float("inf")


class Loss(NamedTuple):
    clone: Path
    begun: float
    done: float


def expect(there: set[str], changes: list[Change], loss: Loss) -> list[str]:
    """Return what is wrong with the groups that are there after a loss of power."""
    of_group: dict[str, list[Change]] = defaultdict(list)
    for change in changes:
        for group in change.groups:
            of_group[group].append(change)
    wrong = []
    for group, history in of_group.items():
        acknowledged = [each for each in history if each.done < loss.begun]
        may_be = {acknowledged[-1].added if acknowledged else False}
        may_be |= {
            each.added for each in history if each.begun < loss.done and each.done >= loss.begun
        }
        if (group in there) not in may_be:
            wrong.append(f"{group}: {history}")
    for change in changes:
        count = len(there.intersection(change.groups))
        if len(change.groups) > 1 and 0 < count < len(change.groups):
            wrong.append(f"{count} of {len(change.groups)}")
    return wrong


async def lose(address: str, disk: Disk, changes: list[Change], rng: Random) -> list[Loss]:
    """Let several callers change routes, and take the power away at random moments."""
    stopping = False

    async def work(number: int) -> None:
        async with Caller.at(address) as caller:
            count = 0
            while not stopping:
                count += 1
                if count % 20 == 0:
                    groups = tuple(f"239.{number}.{count // 20}.{n}" for n in range(_TOGETHER))
                    routes = [{"group": each, "iif": "eth1", "oifs": ["eth2"]} for each in groups]
                    index = begin(Change(groups, True, time.monotonic()))
                    await caller.apply({"route": routes}, merge=True)
                else:
                    group = f"238.{number}.{count % 7}.1"
                    known = [each for each in changes if each.groups == (group,)]
                    added = not (known and known[-1].added)
                    index = begin(Change((group,), added, time.monotonic()))
                    await (caller.add if added else caller.delete)(Route(group=group, source="*"))
                changes[index] = changes[index]._replace(done=time.monotonic())

    def begin(change: Change) -> int:
        changes.append(change)
        return len(changes) - 1

    losses = []
    workers = [asyncio.create_task(work(number)) for number in range(1, _CALLERS + 1)]
    for _ in range(_CLONES):
        await asyncio.sleep(rng.uniform(0.05, 0.4))
        begun = time.monotonic()
        clone = await asyncio.to_thread(disk.clone)
        losses.append(Loss(clone, begun, time.monotonic()))
    stopping = True
    await asyncio.gather(*workers)
    return losses


@pytest.mark.parametrize("seed", range(2))
def test_what_was_acknowledged_outlives_a_loss_of_power(
    seed: int, disk: Disk, own_bus: PrivateBus, own_network: Namespace
) -> None:
    changes: list[Change] = []
    with mounted(disk.image) as home, Daemon(own_bus.address, own_network, home=home):
        losses = asyncio.run(lose(own_bus.address, disk, changes, Random(seed)))
    assert len(changes) > 100
    for loss in losses:
        with mounted(loss.clone) as home:
            with contextlib.closing(sqlite3.connect(home / "state/routes.db")) as database:
                assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            with Daemon(own_bus.address, own_network, home=home) as daemon:
                there = asyncio.run(groups(own_bus.address))
                assert "set aside" not in daemon.log
                assert "damaged" not in daemon.log
        assert not expect(there, changes, loss)


async def groups(address: str) -> set[str]:
    async with Caller.at(address) as caller:
        return {each["group"] for each in await caller.describe()}


def test_without_a_flush_it_would_be_lost(disk: Disk) -> None:
    """So the loss is a loss."""
    clones = {}
    with mounted(disk.image) as home:
        for mode in ("OFF", "FULL"):
            with contextlib.closing(sqlite3.connect(home / f"{mode}.db")) as database:
                database.execute(f"PRAGMA synchronous={mode}")
                database.execute("PRAGMA journal_mode=WAL")
                database.execute("CREATE TABLE kept(number)")
                database.execute("INSERT INTO kept VALUES (1)")
                database.commit()
                clones[mode] = disk.clone()
    for mode, clone in clones.items():
        with mounted(clone) as home:
            assert numbers(home / f"{mode}.db") == ([(1,)] if mode == "FULL" else [])


def numbers(path: Path) -> list[tuple[int]]:
    with contextlib.closing(sqlite3.connect(path)) as database:
        try:
            return database.execute("SELECT number FROM kept").fetchall()
        except sqlite3.OperationalError:  # there is no such table
            return []
