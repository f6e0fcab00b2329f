"""Who may be sent how much while nobody knows whether it is read."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from mfc_dbus.bus import unread as unread_module
from mfc_dbus.bus.connection import Signal
from mfc_dbus.bus.errors import BusError
from mfc_dbus.bus.names import BUS, BUS_PATH, ERROR, UNKNOWN_METHOD
from mfc_dbus.bus.unread import SHARE, Unread

MIB = 1024 * 1024
ALICE, BOB, ROOT = 1000, 1001, 0


class FakeBus:
    """Knows whose connection is whose by the name, ":alice.1". pings: who was asked, and how he
    answers: by a future.
    """

    def __init__(self) -> None:
        self.users = {":alice": ALICE, ":bob": BOB, ":root": ROOT}
        self.pings: dict[str, asyncio.Future[None]] = {}
        self.gone: set[str] = set()
        self.handlers: list[Callable[[Any], None]] = []
        self.knows = asyncio.Event()
        self.knows.set()

    async def call(
        self, destination: str, path: str, interface: str, member: str, *, timeout: float
    ) -> list[Any]:
        self.pings[destination] = asyncio.get_running_loop().create_future()
        await self.pings[destination]
        return []

    async def call_bus(self, member: str, signature: str, body: Sequence[Any]) -> list[Any]:
        (name,) = body
        await self.knows.wait()
        if name in self.gone:
            raise BusError(f"{ERROR}.NameHasNoOwner", "")
        user = name.partition(".")[0]
        if user not in self.users:
            raise BusError(f"{ERROR}.Failed", "Could not determine UID")
        return [self.users[user]]

    async def subscribe(self, rule: str, handler: Callable[[Any], None]) -> None:
        self.handlers.append(handler)

    def close(self, name: str) -> None:
        self.gone.add(name)
        for handler in self.handlers:
            handler(Signal(BUS, BUS_PATH, BUS, "NameOwnerChanged", [name, name, ""]))


def on_bus(test: Callable[[FakeBus, Unread], Awaitable[None]]) -> None:
    async def run() -> None:
        bus = FakeBus()
        unread = Unread(bus)
        await test(bus, unread)
        unread.end()
        await asyncio.sleep(0)

    asyncio.run(run())


async def send(unread: Unread, name: str, size: int) -> None:
    """Send so much to a connection, until it is known whose it is."""
    unread.count(name, size)
    await unread.room(name)
    await asyncio.sleep(0)


def test_a_user_who_leaves_much_unread_has_no_room_but_others_have() -> None:
    async def test(bus: FakeBus, unread: Unread) -> None:
        await send(unread, ":alice.1", 9 * MIB)
        assert not unread.has_room(":alice.1")
        await send(unread, ":alice.2", SHARE + 1)
        assert not unread.has_room(":alice.2")
        await send(unread, ":bob.1", SHARE + 1)
        assert unread.has_room(":bob.1")

    on_bus(test)


def test_each_connection_has_its_share_whatever_its_users_others_do() -> None:
    async def test(bus: FakeBus, unread: Unread) -> None:
        await send(unread, ":alice.1", 9 * MIB)
        for _ in range(3):
            await send(unread, ":alice.2", SHARE // 4)
            assert unread.has_room(":alice.2")

    on_bus(test)


@pytest.mark.parametrize("user", [":alice", ":anonymous"])
def test_many_connections_are_one_user(user: str) -> None:
    async def test(bus: FakeBus, unread: Unread) -> None:
        sent = 0
        for _ in range(30):
            for number in range(250):
                name = f"{user}.{number}"
                if await unread.room(name):
                    await send(unread, name, 6000)
                    sent += 6000
        assert sent < 8 * MIB + 250 * (SHARE + 6000)

    on_bus(test)


def test_a_large_answer_to_each_of_many_connections_is_too_much() -> None:
    async def test(bus: FakeBus, unread: Unread) -> None:
        sent = 0
        for number in range(250):
            name = f":alice.{number}"
            assert await unread.room(name)
            if unread.fits(name, MIB):
                unread.count(name, MIB)
                sent += 1
        assert sent <= 10
        # What is small goes out all the same, and to others what is large.
        assert unread.fits(":alice.249", SHARE - 1)
        for name in (":bob.1", ":root.1"):
            assert await unread.room(name)
            assert unread.fits(name, MIB)

    on_bus(test)


def test_nobodys_user_is_asked_for_while_little_is_unread() -> None:
    async def test(bus: FakeBus, unread: Unread) -> None:
        bus.knows.clear()
        for number in range(60):
            assert await unread.room(f":alice.{number}")
            assert unread.fits(f":alice.{number}", SHARE)
            unread.count(f":alice.{number}", SHARE)
        assert not bus.handlers

    on_bus(test)


def test_all_strangers_together_leave_room_for_root() -> None:
    async def test(bus: FakeBus, unread: Unread) -> None:
        bus.users |= {f":user{n}": 2000 + n for n in range(100)}
        sent = 0
        for number in range(100):
            while await unread.room(f":user{number}.1"):
                await send(unread, f":user{number}.1", MIB)
                sent += MIB
        assert sent < (48 + 1) * MIB + 100 * 2 * MIB
        for _ in range(30):
            await send(unread, ":root.1", 20 * MIB)
            assert unread.has_room(":root.1")
        assert ":root.1" not in bus.pings

    on_bus(test)


def test_what_a_closed_connection_was_sent_is_nobodys() -> None:
    async def test(bus: FakeBus, unread: Unread) -> None:
        await send(unread, ":alice.1", 9 * MIB)
        bus.close(":alice.1")
        await send(unread, ":alice.2", SHARE + 1)
        assert unread.has_room(":alice.2")
        # Also one that closes before anybody has asked, or while it is being answered.
        bus.close(":alice.3")
        await send(unread, ":alice.3", 9 * MIB)
        assert unread.has_room(":alice.2")

    on_bus(test)


@pytest.mark.parametrize(
    ("answer", "is_read"),
    [
        (None, True),
        (BusError(UNKNOWN_METHOD, "There is no method here"), True),
        (BusError(f"{ERROR}.NoReply", "it hung up"), False),
        (BusError(f"{ERROR}.AccessDenied", "the policy"), False),
        (TimeoutError(), False),
    ],
)
def test_who_answers_a_ping_has_read_what_came_before(
    answer: Exception | None, is_read: bool
) -> None:
    async def test(bus: FakeBus, unread: Unread) -> None:
        await send(unread, ":alice.1", 9 * MIB)
        await send(unread, ":alice.1", 1)
        ping = bus.pings[":alice.1"]
        if answer:
            ping.set_exception(answer)
        else:
            ping.set_result(None)
        for _ in range(3):
            await asyncio.sleep(0)
        assert unread.has_room(":alice.1") == is_read

    on_bus(test)


def test_who_answers_has_his_share_again_whatever_his_users_others_do() -> None:
    async def test(bus: FakeBus, unread: Unread) -> None:
        await send(unread, ":alice.1", 9 * MIB)
        await send(unread, ":alice.2", 2 * SHARE)
        assert not unread.has_room(":alice.2")
        assert ":alice.2" not in bus.pings
        unread.may_refuse(":alice.2")
        await asyncio.sleep(0)
        bus.pings[":alice.2"].set_result(None)
        for _ in range(3):
            await asyncio.sleep(0)
        assert unread.has_room(":alice.2")
        assert unread.fits(":alice.2", SHARE)
        assert not unread.fits(":alice.2", SHARE + 1)
        assert not unread.has_room(":alice.1")

    on_bus(test)


def test_few_pings_wait_for_one_user() -> None:
    async def test(bus: FakeBus, unread: Unread) -> None:
        for number in range(20):
            await send(unread, f":alice.{number}", MIB // 3)
        await send(unread, ":bob.1", MIB)
        await asyncio.sleep(0)
        asked = [name.partition(".")[0] for name in bus.pings]
        assert (asked.count(":alice"), asked.count(":bob")) == (4, 1)

    on_bus(test)


def test_what_was_sent_long_ago_counts_as_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(bus: FakeBus, unread: Unread) -> None:
        await send(unread, ":alice.1", 9 * MIB)
        assert not unread.has_room(":alice.1")
        loop = asyncio.get_running_loop()
        now = loop.time()
        monkeypatch.setattr(loop, "time", lambda: now + unread_module._WINDOW + 1)
        assert unread.has_room(":alice.1")
        monkeypatch.undo()

    on_bus(test)


def test_calls_wait_until_it_is_known_whose_they_are_and_few_of_them() -> None:
    async def test(bus: FakeBus, unread: Unread) -> None:
        bus.knows.clear()
        unread.count(":root.1", 20 * MIB)
        assert unread.has_room(":root.1")
        waiting = [asyncio.create_task(unread.room(":root.1")) for _ in range(65)]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result() for task in done] == [False]
        bus.knows.set()
        assert [await task for task in waiting].count(True) == 64

    on_bus(test)


def test_who_has_no_room_is_told_so_a_few_times() -> None:
    async def test(bus: FakeBus, unread: Unread) -> None:
        await send(unread, ":alice.1", 9 * MIB)
        assert [unread.may_refuse(":alice.1") for _ in range(30)].count(True) == 16

    on_bus(test)


def test_connections_that_came_and_went_are_forgotten() -> None:
    async def test(bus: FakeBus, unread: Unread) -> None:
        for number in range(10_000):
            unread.count(f":alice.{number}", 100)
        assert len(unread._light) <= 4096

    on_bus(test)


def test_whose_a_connection_is_can_be_learned_before_it_is_sent_anything() -> None:
    async def test(bus: FakeBus, unread: Unread) -> None:
        names = [f":alice.{number}" for number in range(3)] + [":bob.1"]
        assert [unread.user_of(name) for name in names] == names
        for name in names:
            unread.learn(name)
        assert [unread.user_of(name) for name in names] == [None] * 4
        for _ in range(3):
            await asyncio.sleep(0)
        assert [unread.user_of(name) for name in names] == [ALICE, ALICE, ALICE, BOB]
        bus.close(":bob.1")
        assert unread.user_of(":bob.1") == ":bob.1"

    on_bus(test)
