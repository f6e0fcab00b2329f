"""Calls wait in turns: nobody who sends a lot keeps the others waiting."""

from mfc_dbus.bus.call_queue import CallQueue
from mfc_dbus.bus.frames import Frame, Header, MessageType
from mfc_dbus.bus.large_calls import LargeCalls


def frame(sender: str, serial: int = 1, size: int = 0) -> Frame:
    header = Header("<", MessageType.METHOD_CALL, 0, serial, size, sender=sender)
    return Frame(header, b"")


def test_each_sender_is_served_in_turn() -> None:
    turns = CallQueue(str)
    for serial in range(1, 4):
        turns.put(frame("flood", serial))
    turns.put(frame("one"))
    order = []
    while turns:
        taken = turns.take().header
        order.append((taken.sender, taken.serial))
    assert order == [("flood", 1), ("one", 1), ("flood", 2), ("flood", 3)]


def test_a_sender_who_fills_his_queue_leaves_room_for_others() -> None:
    turns = CallQueue(str)
    while turns.has_room(frame("flood").header):
        turns.put(frame("flood"))
    assert turns.has_room(frame("one").header)
    turns.take()
    assert turns.has_room(frame("flood").header)


def whose(sender: str) -> str:
    """Whose connection it is: "alice.7" is of alice."""
    return sender.partition(".")[0]


def test_users_are_served_in_turn_however_many_connections_they_have() -> None:
    turns = CallQueue(whose)
    for _ in range(2):
        for number in range(100):
            turns.put(frame(f"alice.{number}"))
    for number in range(2):
        turns.put(frame(f"bob.{number}"))
    order = [turns.take().header.sender for _ in range(202)]
    assert order[:5] == ["alice.0", "bob.0", "alice.1", "bob.1", "alice.2"]
    assert order[4:102] == [f"alice.{number}" for number in range(2, 100)]
    assert not turns


def test_a_user_has_room_for_so_many_calls_and_one_of_each_connection() -> None:
    turns = CallQueue(whose)
    put = 0
    for number in range(250):
        while turns.has_room(frame(f"alice.{number}").header):
            turns.put(frame(f"alice.{number}"))
            put += 1
    assert put == 256 + 246
    assert turns.has_room(frame("bob").header)
    while turns:
        turns.take()
    assert turns.has_room(frame("alice.0").header)


def test_a_sender_is_of_his_user_as_soon_as_that_is_known() -> None:
    known: dict[str, str] = {}
    turns = CallQueue(lambda sender: known.get(sender, sender))
    for _ in range(2):
        for sender in ("alice.0", "alice.1", "bob"):
            turns.put(frame(sender))
    known |= {"alice.0": "alice", "alice.1": "alice"}
    order = [turns.take().header.sender for _ in range(6)]
    assert order == ["bob", "alice.0", "bob", "alice.1", "alice.0", "alice.1"]


def test_who_leaves_takes_his_calls_along_and_makes_room() -> None:
    turns = CallQueue(whose)
    size = 16 * 1024
    for serial in range(64):
        for number in range(16):
            turns.put(frame(f"alice.{number}", serial, size))
    turns.put(frame("bob", 7, size))
    assert not turns.has_room(frame("bob", size=1).header)
    left = turns.drop("alice.0")
    assert [each.header.serial for each in left] == list(range(64))
    assert not turns.drop("alice.0")
    assert turns.has_room(frame("bob", size=1).header)
    for number in range(1, 16):
        turns.drop(f"alice.{number}")
    assert len(turns) == 1
    assert turns.take().header.serial == 7
    assert not turns


def test_bytes_are_counted_over_all_senders() -> None:
    turns = CallQueue(str)
    size = 16 * 1024
    for sender in range(16):
        for _ in range(64):
            assert turns.has_room(frame(f"s{sender}", size=size).header)
            turns.put(frame(f"s{sender}", size=size))
    assert turns.has_room(frame("more", size=16 * 1024).header)
    turns.put(frame("more", size=16 * 1024))
    assert not turns.has_room(frame("more", size=1).header)
    turns.take()
    turns.take()
    assert turns.has_room(frame("more", size=size).header)


def test_large_calls_are_one_of_each_sender_and_few_in_all() -> None:
    large = LargeCalls()
    size = 24 * 1024 * 1024
    calls = [frame(f"s{number}", size=size).header for number in range(6)]
    assert [large.admit(call) for call in calls] == [True] * 4 + [False] * 2
    assert not large.admit(calls[0])
    assert large.admit(frame("s0", size=16 * 1024).header)
    large.release(calls[0])
    large.release(frame("s0", size=16 * 1024).header)
    assert large.admit(calls[4])
    assert not large.admit(calls[0])


def test_large_calls_take_no_room_of_others() -> None:
    turns = CallQueue(str)
    for number in range(4):
        call = frame(f"s{number}", size=24 * 1024 * 1024)
        assert turns.has_room(call.header)
        turns.put(call)
    assert turns.has_room(frame("more", size=16 * 1024).header)
