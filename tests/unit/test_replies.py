"""Whose replies are taken, and what they say."""

import asyncio
import gc

import pytest

from mfc_dbus.bus.backend import encode
from mfc_dbus.bus.codec import read_reply
from mfc_dbus.bus.errors import BusError, ConnectionLost
from mfc_dbus.bus.frames import Frame, Header, MessageType
from mfc_dbus.bus.names import BUS
from mfc_dbus.bus.replies import Replies

SERIAL = 7


def reply(
    sender: str = BUS,
    *,
    signature: str = "",
    body: bytes = b"",
    type_: MessageType = MessageType.METHOD_RETURN,
    error_name: str = "",
) -> Frame:
    header = Header(
        "<",
        type_,
        0,
        1,
        len(body),
        error_name=error_name,
        reply_serial=SERIAL,
        sender=sender,
        signature=signature,
    )
    return Frame(header, body)


def test_only_the_bus_is_expected_to_answer_for_itself() -> None:
    async def scenario() -> None:
        replies = Replies()
        assert not replies.admit(reply().header)
        waiting = asyncio.ensure_future(replies.wait(SERIAL, BUS, 10))
        await asyncio.sleep(0)
        assert not replies.admit(reply(":1.7").header)
        assert replies.admit(reply().header)
        replies.put(reply())
        assert await waiting == reply()
        assert not replies.admit(reply().header)

    asyncio.run(scenario())


def test_the_bus_answers_for_a_name_that_nobody_has() -> None:
    async def scenario() -> None:
        replies = Replies()
        waiting = asyncio.ensure_future(replies.wait(SERIAL, "org.example.Name", 10))
        await asyncio.sleep(0)
        assert replies.admit(reply(":1.7").header)
        assert replies.admit(reply().header)
        replies.put(reply())
        replies.put(reply(":1.7"))  # in the same breath, and too late
        assert await waiting == reply()

    asyncio.run(scenario())


def test_nobody_waits_for_ever() -> None:
    async def scenario() -> None:
        replies = Replies()
        with pytest.raises(TimeoutError):
            await replies.wait(SERIAL, BUS, 0.01)
        waiting = asyncio.ensure_future(replies.wait(SERIAL, BUS, 10))
        await asyncio.sleep(0)
        replies.lose("the bus has gone")
        with pytest.raises(ConnectionLost, match="the bus has gone"):
            await waiting

    asyncio.run(scenario())


def test_a_reply_is_what_was_asked_for_or_an_error() -> None:
    text = encode("s", ["No"])
    assert read_reply(reply(signature="s", body=text), "Get", "s") == ["No"]
    assert read_reply(reply(signature="s", body=text), "Get", None) == ["No"]
    assert read_reply(reply(), "Get", "") == []
    for frame, returns, message in [
        (reply(signature="s", body=text), "u", "Get returned 's'"),
        (reply(signature="s", body=text[:2]), "s", "Get returned what cannot be read"),
    ]:
        with pytest.raises(BusError) as refusal:
            read_reply(frame, "Get", returns)
        assert refusal.value.name == f"{BUS}.Error.InvalidSignature"
        assert refusal.value.message == message


@pytest.mark.parametrize(
    ("signature", "body", "message"),
    [("s", encode("s", ["No"]), "No"), ("u", encode("u", [1]), ""), ("", b"", "")],
)
def test_an_error_has_a_name_and_perhaps_a_sentence(
    signature: str, body: bytes, message: str
) -> None:
    frame = reply(
        signature=signature, body=body, type_=MessageType.ERROR, error_name="com.example.Odd"
    )
    with pytest.raises(BusError) as refusal:
        read_reply(frame, "Get", "as")
    assert (refusal.value.name, refusal.value.message) == ("com.example.Odd", message)


def test_a_call_whose_reply_is_lost_leaves_no_circle() -> None:
    async def scenario() -> int:
        replies = Replies()
        waiting = replies.wait(SERIAL, BUS, 10)
        asyncio.get_running_loop().call_soon(replies.lose, "the bus has gone")
        gc.collect()
        gc.disable()
        try:
            with pytest.raises(ConnectionLost):
                await waiting
            await asyncio.sleep(0)
            return gc.collect()
        finally:
            gc.enable()

    assert asyncio.run(scenario()) == 0
