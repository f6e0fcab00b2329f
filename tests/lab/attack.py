"""Messages of every wrong kind as bytes, and somebody who sends them and reads the answers.

Written from the D-Bus specification with no library, since those refuse to make most of it. What
is sent follows from the seed.
"""

import os
import random
import socket
import string
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

from mfc_dbus.bus.frames import Framer, Header

NAME = "org.example.MulticastForwarding"
PATH = "/org/example/MulticastForwarding"
HUNG = "239.99.99.99"  # the group whose authorisation never ends, in a test that arranges it

CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
NO_REPLY, INTERACTIVE = 1, 4

_PROPERTIES = "org.freedesktop.DBus.Properties"
_METHODS = {
    "AddRoute": "sssasa{sv}",
    "ChangeRoute": "ssa{sv}",
    "DeleteRoute": "ssa{sv}",
    "FlushRoutes": "a{sv}",
    "JoinGroup": "sssa{sv}",
    "LeaveGroup": "sssa{sv}",
    "Apply": "sa{sv}",
    "Describe": "a{sv}",
    "Check": "sv",
    "GetPermissions": "",
    "GetStatistics": "",
    "ListStreams": "a{sv}",
    "Explain": "ssa{sv}",
    "ListChanges": "a{sv}",
    "Undo": "a{sv}",
}
_READING = {
    "org.freedesktop.DBus.Introspectable.Introspect": "",
    "org.freedesktop.DBus.Peer.GetMachineId": "",
    f"{_PROPERTIES}.Get": "ss",
    f"{_PROPERTIES}.GetAll": "s",
    f"{_PROPERTIES}.Set": "ssv",
}
_NAMED = '{"route": [{"group": "239.1.1.1", "source": "10.1.0.10", "iif": "eth1", "oifs": []}]}'
_FIXED = {"y": "B", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d", "b": "I"}
_STRINGS = [
    "",
    "x" * 10_000,
    "'",
    "\x01\x1b[2J\r\n\t\x7f",
    "\u202egnp.exe",
    "\ufdd0\uffff\U0010ffff",
    "é" * 8,
    "%s%n{}",
    "..",
    "a/b",
    "eth1",
    "eth0:1",
    "\N{GRINNING FACE}" * 5_000,
]
_ADDRESSES = [
    "10.0.0",
    "10.0.0.0.1",
    "010.1.1.1",
    "0x0a.1.1.1",
    "256.1.1.1",
    "1",
    "3232235777",
    " 10.0.0.1",
    "10.0.0.1\n",
    "10.0.0.1/8",
    "١٠.0.0.1",
    "0.0.0.1",
    "127.0.0.1",
    "224.0.0.5",
    "239.1.2.3",
    "255.255.255.255",
    "*",
    "0.0.0.0",
    "::",
    ":::",
    "::1",
    "fe80::1",
    "fe80::1%eth1",
    "ff02::1",
    "ff1e::1",
    "[ff1e::1]",
    "::ffff:10.0.0.1",
    "1:2:3:4:5:6:7:8:9",
    "ff1e::g",
]


@dataclass(frozen=True)
class Message:
    """A message, also one that nobody should send. `fields` are more header fields."""

    type: int = CALL
    flags: int = 0
    path: str = PATH
    interface: str = NAME
    member: str = ""
    destination: str = NAME
    signature: str = ""
    body: bytes = b""
    order: str = "<"
    reply_serial: int = 0
    error_name: str = ""
    fields: Sequence[tuple[int, str, Any]] = ()
    fds: int = 0

    def encode(self, serial: int) -> bytes:
        fields = [
            (1, "o", self.path),
            (2, "s", self.interface),
            (3, "s", self.member),
            (4, "s", self.error_name),
            (5, "u", self.reply_serial),
            (6, "s", self.destination),
            (8, "g", self.signature),
            (9, "u", self.fds),
        ]
        present = [field for field in fields if field[2]] + list(self.fields)
        head = struct.pack(
            f"{self.order}cBBBII",
            b"l" if self.order == "<" else b"B",
            self.type,
            self.flags,
            1,
            len(self.body),
            serial,
        )
        values = [[[code, (type_, value)] for code, type_, value in present]]
        head += marshal("a(yv)", values, self.order, 12)
        return head + bytes(-len(head) % 8) + self.body


def marshal(signature: str, values: Sequence[Any], order: str = "<", at: int = 0) -> bytes:
    """Write values; a variant is a pair of signature and value, a string may be bytes."""
    data = bytearray(at)
    for type_, value in zip(_split(signature), values, strict=True):
        _write(data, type_, value, order)
    return bytes(data[at:])


def _write(data: bytearray, type_: str, value: Any, order: str) -> None:
    token = type_[0]
    if token in _FIXED:
        packed = struct.pack(order + _FIXED[token], value)
        data += bytes(-len(data) % len(packed)) + packed
    elif token in "so":
        text = value if isinstance(value, bytes) else value.encode()
        data += bytes(-len(data) % 4) + struct.pack(f"{order}I", len(text)) + text + b"\0"
    elif token == "g":
        data += bytes((len(value),)) + value.encode() + b"\0"
    elif token == "v":
        _write(data, "g", value[0], order)
        _write(data, value[0], value[1], order)
    elif token == "a":
        data += bytes(-len(data) % 4 + 4)
        length_at = len(data) - 4
        if type_[1] in "xtd({":
            data += bytes(-len(data) % 8)
        start = len(data)
        for item in value.items() if isinstance(value, dict) else value:
            _write(data, type_[1:], item, order)
        struct.pack_into(f"{order}I", data, length_at, len(data) - start)
    else:
        data += bytes(-len(data) % 8)
        for child, item in zip(_split(type_[1:-1]), value, strict=True):
            _write(data, child, item, order)


def _split(signature: str) -> list[str]:
    """Cut a signature into complete types."""
    types, start, depth = [], 0, 0
    for at, token in enumerate(signature):
        depth += (token in "({") - (token in ")}")
        if depth == 0 and token != "a":
            types.append(signature[start : at + 1])
            start = at + 1
    return types


# What the bus lets pass: each makes one message of a kind


class Random(random.Random):
    """Chooses the parts of messages."""

    def text(self) -> str:
        return self.choice((self.choice(_STRINGS), self.choice(_ADDRESSES), self.word()))

    def word(self) -> str:
        return "".join(self.choices(string.ascii_letters, k=self.randint(1, 12)))

    def type(self, depth: int = 4) -> str:
        """Make a complete type."""
        shape = self.choice("bbbbba({") if depth else "b"
        if shape == "a":
            return "a" + self.type(depth - 1)
        if shape == "{":
            return f"a{{{self.choice('snqiuxty')}{self.type(depth - 1)}}}"
        if shape == "(":
            return f"({''.join(self.type(depth - 1) for _ in range(self.randint(1, 4)))})"
        return self.choice("ybnqiuxtdsogv")

    def value(self, type_: str, depth: int = 4) -> Any:
        token = type_[0]
        if token in _FIXED:
            return self._number(token)
        if token == "a" and type_[1] == "{":
            key, value = _split(type_[2:-1])
            pairs = range(self.randint(0, 2))
            return {self.value(key): self.value(value, depth - 1) for _ in pairs}
        if token == "a":
            return [self.value(type_[1:], depth - 1) for _ in range(self.randint(0, 3))]
        if token == "(":
            return [self.value(child, depth - 1) for child in _split(type_[1:-1])]
        if token == "v":
            return self.variant(depth - 1)
        return {"s": self.text(), "o": f"/{self.word()}", "g": "a{sv}"}[token]

    def variant(self, depth: int = 3) -> tuple[str, Any]:
        type_ = self.type(max(depth, 0)) if depth > 0 else "s"
        return type_, self.value(type_, depth)

    def _number(self, token: str) -> int | float:
        if token == "d":
            return self.choice((0.0, -1e308, float("nan"), float("inf")))
        bits = 8 * struct.calcsize("=" + _FIXED[token])
        if token == "b":
            return self.randint(0, 1)
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if token in "nix" else (0, 2**bits - 1)
        return self.choice((low, high, 0, 1, self.randint(low, high)))


def _call(member: str, *values: Any, flags: int = 0) -> Message:
    body = marshal(_METHODS[member], values)
    return Message(member=member, signature=_METHODS[member], body=body, flags=flags)


def _add(source: str, group: str, iif: str, oifs: Sequence[str], options: Any = ()) -> Message:
    return _call("AddRoute", source, group, iif, oifs, dict(options))


def _unauthorised(rng: Random) -> Message:
    group = f"239.1.{rng.randrange(256)}.{rng.randrange(256)}"
    flags = rng.choice((0, INTERACTIVE, NO_REPLY, NO_REPLY | INTERACTIVE))
    message = rng.choice(
        (
            _add("10.1.0.10", group, "eth1", ["eth2"], {"replace": ("b", 1)}),
            _add("10.1.0.10", "239.0.0.1", "eth1", ["eth3"], {"replace": ("b", 1)}),
            _call("ChangeRoute", "10.1.0.10", "239.0.0.1", {"add-oifs": ("as", ["eth3"])}),
            _call("ChangeRoute", "10.1.0.10", "239.0.0.1", {"enabled": ("b", 0)}),
            _call("DeleteRoute", "10.1.0.10", "239.0.0.1", {}),
            _call("FlushRoutes", {}),
            _call("JoinGroup", group, "*", "eth1", {"wait": ("b", 1)}),
            _call("LeaveGroup", "239.0.0.1", "*", "eth1", {}),
            _call("Apply", "{}", {}),
            _call("Apply", "[" * rng.choice((1, 10_000, 100_000)), {"merge": ("b", 1)}),
        )
    )
    return replace(message, flags=flags)


def _checks(rng: Random) -> Message:
    """Questions about calls, with arguments that fit and others."""
    member = rng.choice((*_METHODS, rng.word()))
    signature = _METHODS.get(member, "")
    call = _unauthorised(rng)
    values: Any = [rng.value(type_) for type_ in _split(signature)]
    arguments = rng.choice(((f"({signature})", values), rng.variant(), ("s", rng.text())))
    if call.signature and rng.random() < 0.5:
        body = marshal("s", [call.member])
        body += marshal("g", [f"({call.signature})"])
        body += bytes(-len(body) % 8) + call.body
        return Message(member="Check", signature="sv", body=body, flags=call.flags)
    if arguments[0] == "()":
        return Message(member="GetPermissions", flags=call.flags)
    return _call("Check", member, arguments, flags=call.flags)


def _addresses(rng: Random) -> Message:
    return _add(rng.choice(_ADDRESSES), rng.choice(_ADDRESSES), "eth1", ["eth2"])


def _questions(rng: Random) -> Message:
    seconds = rng.choice((0, 0, 0, 1, 61, 2**32 - 1))
    options = {"seconds": ("u", seconds), rng.choice(("iif", "oif")): ("s", rng.text())}
    return _call(
        "Explain",
        rng.choice(_ADDRESSES),
        rng.choice((*_ADDRESSES, "239.0.0.1")),
        rng.choice((options, {"seconds": ("u", seconds)}, {"seconds": rng.variant()})),
    )


def _texts(rng: Random) -> Message:
    return _add(rng.text(), rng.text(), rng.text(), [rng.text() for _ in range(rng.randrange(4))])


def _oifs(rng: Random) -> Message:
    name = rng.choice(("eth1", "eth2", "eth3", "", "x"))
    names = [f"x{n}" for n in range(rng.choice((0, 1, 30, 31, 32, 33, 1000)))]
    return _add("10.1.0.10", "239.1.1.1", "eth1", [*names, name, name])


def _options(rng: Random) -> Message:
    known = (
        *("ttls", "replace", "comment", "iif", "group", "persistent", "table", "enabled"),
        *(
            "add-oifs",
            "remove-oifs",
            "to-iif",
            "timeout",
            "sort",
            "limit",
            "learned",
            "silent",
            "counters",
            "number",
            "before",
            "uid",
            "merge",
            "remove",
            "dry-run",
            "empty",
            "exact",
            "exact-source",
            "source",
        ),
        rng.word(),
    )
    options = {rng.choice(known): rng.variant() for _ in range(rng.randint(1, 4))}
    return rng.choice(
        (
            _add("10.1.0.10", "239.1.1.1", "eth1", ["eth2"], options),
            _call("ChangeRoute", "10.1.0.10", "239.0.0.1", options),
            _call("DeleteRoute", "10.1.0.10", "239.0.0.1", options),
            _call("FlushRoutes", options),
            _call("Apply", rng.choice((rng.text(), "{}", _NAMED)), options),
            _call("Describe", options),
            _call("ListStreams", options),
            _call("ListChanges", options),
            _call(
                "Undo", rng.choice((options, {"number": ("t", rng.choice((0, 1, 2, 2**64 - 1)))}))
            ),
            _call("Explain", "10.1.0.10", "239.0.0.1", {"seconds": ("u", 0)} | options),
        )
    )


def _ttls(rng: Random) -> Message:
    ttls = {rng.choice(("eth2", "eth1", "x")): rng.choice((0, 1, 254, 255)) for _ in range(3)}
    return _add(
        "10.1.0.10",
        rng.choice(("239.1.1.1", "ff1e::1")),
        "eth1",
        ["eth2"],
        {"ttls": ("a{sy}", ttls), "comment": ("s", rng.text()[:300])},
    )


def _wrong_types(rng: Random) -> Message:
    types = [rng.type() for _ in range(rng.randrange(6))]
    body = marshal("".join(types), [rng.value(type_) for type_ in types])
    return Message(member=rng.choice(list(_METHODS)), signature="".join(types), body=body)


def _distinct_signature(rng: Random) -> Message:
    fields = "".join(rng.choices("ybnqiuxtdsog", k=rng.randint(20, 250)))
    return _call("FlushRoutes", {rng.word(): (f"a({fields})", [])})


def _nested(rng: Random) -> Message:
    value: tuple[str, Any] = ("s", "deep")
    for _ in range(rng.randint(1, 55)):
        value = ("v", value)
    arrays = "a" * rng.randint(1, 31) + "y"
    return _call("FlushRoutes", {"group": value, "iif": (arrays, [])})


def _reading(rng: Random) -> Message:
    name = rng.choice(list(_READING))
    signature = _READING[name]
    interface, _, member = name.rpartition(".")
    properties = ("Routes", "Generation", "Interfaces", rng.text())
    values = [rng.choice((NAME, "", rng.text())), rng.choice(properties), rng.variant()]
    body = marshal(signature, values[: len(signature)])
    return Message(interface=interface, member=member, signature=signature, body=body)


def _unknown(rng: Random) -> Message:
    length = rng.choice((1, 100, 10_000, 65_000, 100_000))
    return rng.choice(
        (
            Message(member=rng.word()),
            Message(member=rng.word(), interface=""),
            Message(member="x" * 255, interface="a." + "b" * 253),
            Message(member="AddRoute", path="/" + rng.word()),
            Message(member="AddRoute", path="/" + "x" * length),
            Message(member="Introspect", interface="", path="/a" * (length // 2 + 1)),
            Message(member="AddRoute", interface=f"{NAME}2"),
        )
    )


def _header(rng: Random) -> Message:
    """Flags, types and header fields of the future, and fields that this type does not have."""
    # The newest buses know 10 (CONTAINER_INSTANCE), and disconnect who gives it another type.
    future = rng.randint(11, 255), *rng.variant()
    return rng.choice(
        (
            replace(_unauthorised(rng), flags=rng.randint(0, 255)),
            replace(_unauthorised(rng), type=rng.randint(5, 255)),
            replace(_unauthorised(rng), fields=[future]),
            replace(_unauthorised(rng), reply_serial=rng.randint(1, 99), error_name="a.b"),
        )
    )


def _forged(rng: Random) -> Message:
    """Signals and replies that nobody asked for, also as if from polkit or the bus."""
    yes = marshal("(bba{ss})", [[1, 0, {}]])
    unasked = Message(RETURN, path="", interface="", reply_serial=rng.randint(1, 300), body=yes)
    departure = marshal("sss", [":1.1", ":1.1", ""])
    return rng.choice(
        (
            replace(unasked, signature="(bba{ss})"),
            replace(unasked, type=ERROR, error_name="a.b", body=b""),
            Message(SIGNAL, member=rng.word(), signature="s", body=marshal("s", [rng.text()])),
            Message(
                SIGNAL,
                path="/org/freedesktop/DBus",
                interface="org.freedesktop.DBus",
                member="NameOwnerChanged",
                signature="sss",
                body=departure,
            ),
        )
    )


def _large(rng: Random) -> Message:
    """Up to a megabyte: in one string, in many, in numbers, in variants."""
    size = rng.choice((10_000, 65_000, 66_000, 300_000, 1_000_000))
    signature, body = _filled(rng.choice(("s", "as", "ax", "av", "a{sv}", "sssasa{sv}")), size)
    return Message(member=rng.choice(list(_METHODS)), signature=signature, body=body)


def _big_endian(rng: Random) -> Message:
    values = [rng.text(), "239.1.1.1", "eth1", ["eth2"], {rng.word(): rng.variant()}]
    body = marshal("sssasa{sv}", values, ">")
    return Message(member="AddRoute", signature="sssasa{sv}", body=body, order=">")


def _descriptors(rng: Random) -> Message:
    return replace(_unauthorised(rng), fds=rng.randint(1, 4))


@cache
def _filled(signature: str, size: int) -> tuple[str, bytes]:
    """A body of about this many bytes, and its signature."""
    values: dict[str, tuple[int, Callable[[int], Any]]] = {
        "s": (1, "x".__mul__),
        "as": (8, ["eth1"].__mul__),
        "ax": (8, [-1].__mul__),
        "av": (4, [("y", 1)].__mul__),
        "a{sv}": (16, lambda count: {f"{n:07}": ("y", 1) for n in range(count)}),
        "sssasa{sv}": (8, ["eth1"].__mul__),
    }
    each, fill = values[signature]
    value = fill(size // each)
    if signature == "sssasa{sv}":
        return signature, marshal(signature, ["10.1.0.10", "239.1.1.1", "eth1", value, {}])
    return signature, marshal(signature, [value])


PASSING: dict[Callable[[Random], Message], int] = {
    _unauthorised: 12,
    _checks: 12,
    _addresses: 12,
    _questions: 4,
    _texts: 10,
    _oifs: 6,
    _options: 12,
    _ttls: 4,
    _wrong_types: 10,
    _distinct_signature: 8,
    _nested: 4,
    _reading: 10,
    _unknown: 8,
    _header: 8,
    _forged: 8,
    _large: 1,
    _big_endian: 6,
    _descriptors: 4,
}


def huge() -> Iterator[Message]:
    """Bodies of nearly 32 MiB, which is the most that the bus takes."""
    size = 32 * 1024 * 1024 - 4096
    numbers = struct.pack("<I", size - 8) + bytes(size - 4)  # an array, padded to 8
    variants = b"\x01v\0" * (size // 3)
    oifs = marshal("sss", ["10.1.0.10", "239.1.1.1", "eth1"])
    oifs += bytes(-len(oifs) % 4) + struct.pack("<I", 800_000) + b"\3\0\0\0eth\0" * 100_000
    whole = struct.pack("<I", size - 5) + b"x" * (size - 5) + b"\0"
    yield Message(member="AddRoute", signature="sssasa{sv}", body=oifs + bytes(8))
    yield Message(member="FlushRoutes", signature="at", body=numbers)
    yield Message(member="FlushRoutes", signature="s", body=whole)
    yield Message(SIGNAL, member="Noise", signature="s", body=whole)
    yield Message(member="FlushRoutes", signature="s", body=whole, flags=NO_REPLY)
    yield Message(member="FlushRoutes", signature="v", body=variants)  # the bus refuses this one


# What the bus disconnects its sender for


def broken(rng: Random) -> bytes:
    """A message that makes no sense."""
    good = bytearray(_add("10.1.0.10", "239.1.1.1", "eth1", ["eth2"]).encode(7))
    damage = rng.randrange(8)
    if damage == 0:
        return rng.randbytes(rng.randint(1, 5000))
    if damage == 1:
        good[3] = 2  # the protocol's version
    elif damage == 2:
        struct.pack_into("<I", good, 8, 0)  # the serial
    elif damage == 3:
        struct.pack_into(
            "<I", good, 4, rng.choice((0x7FFFFFFF, 0xFFFFFFFF, 1))
        )  # the body's length
    elif damage == 4:
        struct.pack_into("<I", good, 12, rng.choice((0x7FFFFFFF, 0xFFFFFFFF, 1)))  # the fields'
    elif damage == 5:
        for _ in range(rng.randint(1, 20)):
            good[rng.randrange(len(good))] = rng.randrange(256)
    elif damage == 6:
        # NUL, a lone surrogate, no UTF-8 at all
        text = rng.choice((b"a\0b", b"\xed\xa0\x80", b"\xff", b"\xc0\x80"))
        return _add("10.1.0.10", text, "eth1", ["eth2"]).encode(7)  # type: ignore[arg-type]
    else:
        deep: tuple[str, Any] = ("s", "deep")
        for _ in range(rng.choice((65, 300))):
            deep = ("v", deep)
        return _call("FlushRoutes", {"group": deep}).encode(7)
    return bytes(good)


class Answer(NamedTuple):
    """How a call of this member was answered: by the error of this name, or "" by a return."""

    member: str
    error: str


class Disconnected(Exception):
    """The bus closed the connection."""


class Peer:
    """A client's connection to the bus, of a client that reads its answers when it likes."""

    def __init__(self, address: str) -> None:
        self.serial = 0
        self.answers: list[Answer] = []
        self._members: dict[int, str] = {}
        self._framer = Framer(self._admit)
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.settimeout(20)
        self._sock.connect(address.removeprefix("unix:path="))

    def authenticate(self, cut: int | None = None) -> None:
        """Get to where messages begin; cut: stop after so many bytes."""
        uid = str(os.geteuid()).encode().hex().encode()
        words = b"\0AUTH EXTERNAL " + uid + b"\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n"
        hello = Message(
            path="/org/freedesktop/DBus",
            interface="org.freedesktop.DBus",
            member="Hello",
            destination="org.freedesktop.DBus",
        )
        if cut is not None:
            self._sock.sendall((words + hello.encode(1))[:cut])
            return
        self._sock.sendall(words)
        answer = b""
        while answer.count(b"\r\n") < 2:
            answer += self._receive()
        self.send(hello)

    def send(self, message: Message) -> None:
        self.serial += 1
        if message.type == CALL and not message.flags & NO_REPLY:
            self._members[self.serial] = message.member
        self.send_bytes(message.encode(self.serial), message.fds)

    def send_bytes(self, data: bytes, fds: int = 0) -> None:
        try:
            if fds:
                sent = socket.send_fds(self._sock, [data], [self._sock.fileno()] * fds)
                data = data[sent:]
            self._sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Disconnected from error

    def synchronise(self) -> None:
        """Wait for the answer to a last call, and take in those before it."""
        self.send(Message(interface="org.freedesktop.DBus.Peer", member="Ping"))
        while self.serial in self._members:
            for _ in self._framer.feed(self._receive()):
                pass

    def close(self) -> None:
        self._sock.close()

    def _receive(self) -> bytes:
        try:
            data = self._sock.recv(1 << 20)
        except ConnectionResetError as error:
            raise Disconnected from error
        if not data:
            raise Disconnected
        return data

    def _admit(self, header: Header) -> bool:
        member = self._members.pop(header.reply_serial, None)
        if member is not None:
            self.answers.append(Answer(member, header.error_name))
        return False


class Attack:
    """Somebody who does all of it, over a few connections, one batch after another."""

    def __init__(self, address: str, seed: int) -> None:
        self.sent = 0
        self.answers: Counter[Answer] = Counter()
        self._address = address
        self._rng = Random(seed)
        self._peer: Peer | None = None

    def run(self, messages: int, *, batch: int = 16) -> None:
        """Send so many messages that the bus lets pass, and others between them."""
        kinds, weights = zip(*PASSING.items(), strict=True)
        while self.sent < messages:
            peer = self._connected()
            for kind in self._rng.choices(kinds, weights, k=batch):
                peer.send(kind(self._rng))
            self.sent += batch
            peer.synchronise()
            self._rng.choice((self._stay, self._stay, self._break, self._leave, self._flood))()
        self._hang_up()

    def send_huge(self) -> None:
        for message in huge():
            peer = self._connected()
            with suppress(Disconnected):
                peer.send(message)
                peer.synchronise()
                continue
            self._hang_up()
        self._hang_up()

    def _connected(self) -> Peer:
        if self._peer is None:
            self._peer = Peer(self._address)
            self._peer.authenticate()
        return self._peer

    def _hang_up(self) -> None:
        if self._peer:
            self.answers.update(self._peer.answers)
            self._peer.close()
            self._peer = None

    # What happens between batches

    def _stay(self) -> None:
        pass

    def _break(self) -> None:
        peer = self._connected()
        with suppress(Disconnected):
            peer.send_bytes(broken(self._rng))
        self._hang_up()

    def _flood(self) -> None:
        """More calls at once than anyone keeps, most of them unread when their sender leaves."""
        peer = self._connected()
        flags = self._rng.choice((0, NO_REPLY))
        message = replace(_unauthorised(self._rng), flags=flags)
        for _ in range(100):
            peer.send(message)
        self._hang_up()

    def _leave(self) -> None:
        """Be gone at any point on the way to an answer."""
        peer = Peer(self._address)
        if self._rng.random() < 0.4:
            peer.authenticate(cut=self._rng.randrange(200))
            peer.close()
            return
        peer.authenticate()
        call = replace(
            _add("10.1.0.10", HUNG, "eth1", ["eth2"]), flags=self._rng.choice((0, INTERACTIVE))
        )
        if self._rng.random() < 0.5:
            data = call.encode(9)
            peer.send_bytes(data[: self._rng.randrange(len(data))])
        else:
            for _ in range(self._rng.choice((1, 5))):
                peer.send(call)
            if self._rng.random() < 0.5:
                peer.synchronise()
        peer.close()
