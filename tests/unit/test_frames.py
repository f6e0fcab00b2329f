"""Messages cut out of a stream, whatever its pieces; headers as the bus writes them."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfc_dbus.bus.frames import (
    MAX_FIELDS,
    Frame,
    Framer,
    Header,
    MessageType,
    ProtocolError,
    read_header,
    write_header,
)

TEXT = st.text("abcdefgh./_", max_size=40)
HEADERS = st.builds(
    Header,
    order=st.sampled_from("<>"),
    type=st.sampled_from(MessageType),
    flags=st.integers(0, 255),
    serial=st.integers(1, 2**32 - 1),
    body_length=st.integers(0, 200),
    path=TEXT,
    interface=TEXT,
    member=TEXT,
    error_name=TEXT,
    reply_serial=st.integers(0, 2**32 - 1),
    destination=TEXT,
    sender=TEXT,
    signature=TEXT,
)


def message(header: Header) -> bytes:
    return bytes(write_header(header)) + bytes(header.body_length)


@given(HEADERS)
def test_a_header_is_read_as_it_was_written(header: Header) -> None:
    assert read_header(write_header(header)) == header


@given(st.lists(HEADERS, max_size=5), st.integers(1, 300))
def test_messages_come_out_whole_however_the_stream_is_cut(
    headers: list[Header], piece: int
) -> None:
    stream = b"".join(message(header) for header in headers)
    framer = Framer(lambda header: True)
    frames: list[Frame] = []
    for start in range(0, len(stream), piece):
        frames += framer.feed(stream[start : start + piece])
    assert frames == [Frame(header, bytes(header.body_length)) for header in headers]


@given(st.lists(HEADERS, max_size=5), st.integers(1, 300))
def test_what_nobody_wants_is_left_out_and_the_rest_is_not(
    headers: list[Header], piece: int
) -> None:
    stream = b"".join(message(header) for header in headers)
    framer = Framer(lambda header: header.serial % 2 == 0)
    frames: list[Frame] = []
    for start in range(0, len(stream), piece):
        frames += framer.feed(stream[start : start + piece])
    assert [frame.header for frame in frames] == [h for h in headers if h.serial % 2 == 0]


def test_an_unwanted_body_is_not_kept() -> None:
    header = Header("<", MessageType.METHOD_CALL, 0, 1, 32 * 1024 * 1024, path="/a", member="M")
    framer = Framer(lambda header: False)
    assert list(framer.feed(bytes(write_header(header)))) == []
    for _ in range(32):
        assert list(framer.feed(bytes(1024 * 1024))) == []
        assert len(framer._buffer) == 0
    after = header._replace(body_length=0)
    framer._wanted = lambda header: True
    assert list(framer.feed(message(after))) == [Frame(after, b"")]


def test_where_somebody_breaks_off_the_rest_is_still_cut_where_messages_begin() -> None:
    """A caller without an event loop has a limit of time, which may run out at any message."""
    headers = [
        Header("<", MessageType.SIGNAL, 0, serial, 1000, path="/a", member="M")
        for serial in range(1, 5)
    ]
    stream = b"".join(map(message, headers))
    late = [2]

    def wanted(header: Header) -> bool:
        if header.serial in late:
            late.remove(header.serial)
            raise TimeoutError
        return header.serial > 1

    framer = Framer(wanted)
    assert list(framer.feed(stream[:500])) == []
    with pytest.raises(TimeoutError):
        list(framer.feed(stream[500:1500]))
    assert [frame.header for frame in framer.feed(stream[1500:])] == headers[1:]


def test_whoever_takes_no_more_messages_finds_the_others_later() -> None:
    headers = [
        Header("<", MessageType.SIGNAL, 0, serial, 0, path="/a", member="M") for serial in (1, 2)
    ]
    framer = Framer(lambda header: True)
    taking = framer.feed(b"".join(map(message, headers)))
    first = next(taking)
    del taking
    assert [first, *framer.feed(b"")] == [Frame(header, b"") for header in headers]


def test_header_fields_of_the_future_are_ignored() -> None:
    header = Header("<", MessageType.METHOD_CALL, 0, 7, 0, path="/a", member="M", sender=":1.5")
    data = bytearray(write_header(header))
    data += bytes((200, 1)) + b"s\0" + struct.pack("<I", 3) + b"new\0"
    struct.pack_into("<I", data, 12, len(data) - 16)
    data += bytes(-len(data) % 8)
    assert [frame.header for frame in Framer(lambda header: True).feed(bytes(data))] == [header]


def test_types_of_the_future_are_left_out() -> None:
    strange = Header("<", 77, 0, 1, 5, path="/a")
    known = Header("<", MessageType.SIGNAL, 0, 2, 0, path="/a", interface="i.i", member="M")
    framer = Framer(lambda header: True)
    frames = list(framer.feed(message(strange) + message(known)))
    assert [frame.header for frame in frames] == [known]


def test_a_header_that_is_too_long_is_left_out() -> None:
    long = Header("<", MessageType.METHOD_CALL, 0, 1, 8, path="/" + "a" * MAX_FIELDS, member="M")
    short = Header("<", MessageType.METHOD_CALL, 0, 2, 0, path="/a", member="M")
    framer = Framer(lambda header: True)
    frames = list(framer.feed(message(long) + message(short)))
    assert [frame.header for frame in frames] == [short]


@pytest.mark.parametrize(
    "field",
    [
        b"\xc8\1v\0\1s\0\0\1\0\0\0x\0\0\0",
        b"\xc8\2as\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\xc8\1t\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\xc8\1s\0\xff\0\0\0\0\0\0\0\0\0\0\0",
        b"\xc8\1s\0\2\0\0\0\xed\xa0\0\0\0\0\0\0",
    ],
    ids=["variant", "array", "number", "length", "text"],
)
def test_a_header_that_cannot_be_read_is_left_out(field: bytes) -> None:
    strange = b"l\1\0\1" + struct.pack("<III", 5, 1, len(field)) + field + b"body!"
    known = Header("<", MessageType.SIGNAL, 0, 2, 0, path="/a", interface="i.i", member="M")
    framer = Framer(lambda header: True)
    frames = list(framer.feed(strange + message(known)))
    assert [frame.header for frame in frames] == [known]


@pytest.mark.parametrize(
    "data",
    [
        b"x" + bytes(15),
        b"l\1\0\2" + bytes(12),
        b"l\1\0\1" + struct.pack("<III", 2**31, 1, 0),
    ],
    ids=["byte order", "version", "size"],
)
def test_what_is_not_d_bus_is_an_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        list(Framer(lambda header: True).feed(data))
