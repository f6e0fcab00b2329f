"""A stranger sends all that a bus carries, and the others do not notice."""

import asyncio
import json
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from lab import witness
from lab.attack import HUNG, NAME, Attack, Message, Peer, marshal
from lab.bus import PrivateBus
from lab.caller import OWN, STANDARD, Caller, Route
from lab.daemon import Daemon
from lab.growth import growth
from lab.netns import Namespace
from lab.polkit import MOCK_POLICY, NO, Answer, Check, MockPolkit
from lab.privileges import Child, become

WAVE = 5_000  # messages, of which there are two waves at least
BOUND = 2.0  # seconds that a call of somebody else may take, on a busy machine
LEAK = 256 * WAVE  # bytes

PRESENT = Route(group="239.0.0.1")
OTHER = Route(group="239.0.0.2")
Answers = Counter[tuple[str, str]]
CHANGING = (
    *("AddRoute", "ChangeRoute", "DeleteRoute", "FlushRoutes", "Apply"),
    *("JoinGroup", "LeaveGroup", "Set"),
)


@pytest.fixture
def bus(tmp_path: Path, bus_program: str) -> Iterator[PrivateBus]:
    policy = tmp_path / "polkit.conf"
    policy.write_text(MOCK_POLICY)
    with PrivateBus(bus_program, includes=[policy]) as bus:
        yield bus


@pytest.fixture
def network() -> Iterator[Namespace]:
    """A network of its own: in that of the other tests their daemon has the tables."""
    with closing(Namespace()) as namespace:
        namespace.ip(
            *(f"link add name eth{n} type veth peer name eth{n + 1}" for n in (1, 3)),
            *(f"link set dev eth{n} up" for n in range(1, 5)),
        )
        yield namespace


@pytest.fixture
def daemon(bus: PrivateBus, network: Namespace, library: str) -> Iterator[Daemon]:
    with Daemon(bus.address, network, library=library) as daemon:
        yield daemon


class NeverYes(MockPolkit):
    """Denies, and about one group never decides."""

    def tell(self, check: Check, answer: Answer) -> None:
        if check.details.get("group") != HUNG:
            super().tell(check, answer)


def test_10_000_messages_of_a_stranger_change_nothing_and_keep_nobody_waiting(
    bus: PrivateBus, daemon: Daemon, network: Namespace, nobody: int
) -> None:
    async def scenario() -> None:
        async with NeverYes.at(bus.address, NO), Caller.at(bus.address) as caller:
            await caller.add(PRESENT)
            before = routes(network), await caller.get("Routes"), await caller.get("Generation")
            waves: list[tuple[list[float], int, Answers]] = []
            files: list[int] = []

            async def attack_once() -> None:
                wave = attack(bus.address, nobody, len(waves) + 1, WAVE)
                waves.append(await during(wave, caller))
                files.append(open_files(daemon))

            grown = await growth(daemon, LEAK, attack_once)

            seconds = sorted(each for wave in waves for each in wave[0])
            # Shown by pytest -s.
            median, most = (seconds[len(seconds) * percent // 100] for percent in (50, 99))
            print(
                f"\n{len(seconds)} calls: median {median:.4f} s, 99% {most:.4f} s, "
                f"longest {seconds[-1]:.4f} s; {[each >> 10 for each in grown]} KiB more"
            )
            assert seconds[-1] < BOUND
            after = routes(network), await caller.get("Routes"), await caller.get("Generation")
            assert after == (*before[:2], before[2] + sum(changes for _, changes, _ in waves))
            for _, _, answers in waves:
                assert_harmless(answers)
            assert grown[-1] < LEAK
            assert len(set(files)) == 1

    asyncio.run(scenario())
    assert daemon.process.poll() is None
    assert "Traceback" not in daemon.log
    assert "failed" not in daemon.log


CONNECTIONS = 250  # a bus lets a user have 256
# Less than the 127 MiB of a system bus, so that few calls do.
LIMIT = 24 * 1024 * 1024
INTROSPECT = Message(interface="org.freedesktop.DBus.Introspectable", member="Introspect")
GET_ALL = Message(
    interface="org.freedesktop.DBus.Properties",
    member="GetAll",
    signature="s",
    body=marshal("s", [NAME]),
)
DESCRIBE = Message(member="Describe", signature="a{sv}", body=marshal("a{sv}", [{}]))
VISITS = 20_000  # of one who sends and leaves
ENTRIES = [
    {"group": f"239.1.{n >> 8}.{n & 255}", "iif": "eth1", "oifs": ["eth2"]} for n in range(3_000)
]


@pytest.fixture
def narrow_bus(tmp_path: Path, bus_program: str) -> Iterator[PrivateBus]:
    """A bus that stops reading from whoever has so much on it that nobody reads."""
    limits = tmp_path / "limits.conf"
    limits.write_text(f'<busconfig><limit name="max_incoming_bytes">{LIMIT}</limit></busconfig>')
    with PrivateBus(bus_program, includes=[limits]) as bus:
        yield bus


@pytest.mark.parametrize(
    ("question", "times"),
    [(INTROSPECT, 40), (GET_ALL, 1)],
    ids=["many small answers", "a large one each"],
)
async def test_who_reads_nothing_on_many_connections_silences_nobody(
    question: Message,
    times: int,
    narrow_bus: PrivateBus,
    network: Namespace,
    library: str,
    nobody: int,
) -> None:
    with Daemon(narrow_bus.address, network, library=library) as daemon:
        async with Caller.at(narrow_bus.address) as root:
            await root.apply({"route": ENTRIES})
            sent = asyncio.Event()
            reading, writing = os.pipe()
            asyncio.get_running_loop().add_reader(reading, sent.set)
            silent = ask_and_read_nothing(narrow_bus.address, nobody, [question] * times, writing)
            try:
                while not sent.is_set():
                    await root.ping()
                asyncio.get_running_loop().remove_reader(reading)
                for _ in range(20):
                    await root.add(PRESENT)
                    assert await root.get("Version")
                    await root.delete(PRESENT)
            finally:
                silent.kill()
                os.close(reading)
                os.close(writing)
        assert daemon.process.poll() is None
        assert daemon.memory < 128 * 1024 * 1024


def ask_and_read_nothing(address: str, uid: int, questions: Sequence[Message], done: int) -> Child:
    def run() -> str:
        become(uid)
        peers = [Peer(address) for _ in range(CONNECTIONS)]
        for peer in peers:
            peer.authenticate()
        for question in questions:
            for peer in peers:
                peer.send(question)
        os.write(done, b".")
        signal.pause()
        return ""

    return Child(run)


async def test_who_sends_and_leaves_again_and_again_keeps_nobody_waiting(
    bus: PrivateBus, daemon: Daemon, nobody: int
) -> None:
    async with Caller.at(bus.address) as root:
        await root.apply({"route": ENTRIES[:20]})
        over = asyncio.Event()
        storm = send_and_leave(bus.address, nobody)
        asyncio.get_running_loop().add_reader(storm, over.set)
        try:
            for _ in range(10):
                await root.add(PRESENT)
                await root.delete(PRESENT)
            assert not over.is_set()
        finally:
            asyncio.get_running_loop().remove_reader(storm)
            storm.kill()
    assert daemon.process.poll() is None
    assert "Traceback" not in daemon.log


def send_and_leave(address: str, uid: int) -> Child:
    def run() -> str:
        become(uid)
        for number in range(VISITS):
            peer = Peer(address)
            peer.authenticate()
            for _ in range(5):
                peer.send((DESCRIBE, GET_ALL)[number % 2])
            peer.close()
        return ""

    return Child(run)


async def test_who_reads_what_he_is_sent_may_ask_for_much(
    narrow_bus: PrivateBus, network: Namespace, library: str, nobody: int
) -> None:
    with Daemon(narrow_bus.address, network, library=library):
        async with (
            Caller.at(narrow_bus.address) as root,
            Caller.at(narrow_bus.address, nobody) as stranger,
        ):
            await root.apply({"route": ENTRIES})
            size = 0
            while size < LIMIT // 2:
                (document,) = await stranger.ask("Describe", "a{sv}", [{}])
                size += len(document)


def attack(address: str, uid: int, seed: int, messages: int) -> Child:
    def run() -> str:
        become(uid)
        attack = Attack(address, seed)
        attack.send_huge()
        attack.run(messages)
        return json.dumps([[*answer, number] for answer, number in attack.answers.items()])

    return Child(run)


async def during(attack: Child, caller: Caller) -> tuple[list[float], int, Answers]:
    """Change and read until the attack is over: the seconds of each call, the number of changes,
    and what the attacker was told.
    """
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(attack, over.set)
    seconds = []
    changes = 0
    try:
        while not over.is_set():
            for call in (
                partial(caller.add, OTHER),
                partial(caller.get, "Generation"),
                partial(caller.delete, OTHER),
            ):
                start = time.monotonic()
                await call()
                seconds.append(time.monotonic() - start)
            changes += 2
            await asyncio.sleep(0.01)
    finally:
        loop.remove_reader(attack)
        if not over.is_set():
            attack.kill()
    answers = {(member, name): number for member, name, number in json.loads(attack.wait())}
    return seconds, changes, Counter(answers)


def assert_harmless(answers: Answers) -> None:
    """Each answer is an error of the contract, or told something that anybody may know."""
    done = [member for member, name in answers if not name and member in CHANGING]
    assert not done
    foreign = {name for _, name in answers if name and not name.startswith((OWN, STANDARD))}
    assert not foreign


def routes(network: Namespace) -> set[witness.Entry]:
    return witness.entries(network, socket.AF_INET) | witness.entries(network, socket.AF_INET6)


def open_files(daemon: Daemon) -> int:
    return len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir()))
