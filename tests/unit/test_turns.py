"""Calls wait in turns: nobody who sends a lot keeps the others waiting."""

from mfc_dbus.bus.frames import Frame, Header, MessageType
from mfc_dbus.bus.turns import Turns


def frame(sender: str, serial: int = 1, size: int = 0) -> Frame:
    header = Header("<", MessageType.METHOD_CALL, 0, serial, size, sender=sender)
    return Frame(header, b"")


def test_each_sender_is_served_in_turn() -> None:
    turns = Turns()
    for serial in range(1, 4):
        turns.put(frame("flood", serial))
    turns.put(frame("one"))
    order = []
    while turns:
        taken = turns.take().header
        order.append((taken.sender, taken.serial))
    assert order == [("flood", 1), ("one", 1), ("flood", 2), ("flood", 3)]


def test_a_sender_who_fills_his_queue_leaves_room_for_others() -> None:
    turns = Turns()
    while turns.has_room(frame("flood").header):
        turns.put(frame("flood"))
    assert turns.has_room(frame("one").header)
    turns.take()
    assert turns.has_room(frame("flood").header)


def test_bytes_are_counted_over_all_senders() -> None:
    turns = Turns()
    size = 1024 * 1024
    count = 0
    while turns.has_room(frame(f"s{count}", size=size).header):
        turns.put(frame(f"s{count}", size=size))
        count += 1
    assert count == 16
    assert turns.has_room(frame("more", size=16 * 1024).header)
    turns.put(frame("more", size=16 * 1024))
    assert not turns.has_room(frame("more", size=1).header)
    turns.take()
    turns.take()
    assert turns.has_room(frame("more", size=size).header)
