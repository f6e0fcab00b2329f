"""polkit, as a test wants it and as it is."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest

from lab.bus import DAEMON, DATA, PrivateBus
from lab.daemon import Daemon
from lab.netns import Namespace
from mfc_dbus.bus.calls import Call
from mfc_dbus.bus.connection import Connection
from mfc_dbus.bus.errors import BusError
from mfc_dbus.bus.frames import Header

NAME = "org.freedesktop.PolicyKit1"

POLKITD = next(
    (
        path
        for directory in ("polkit-1", "policykit-1")
        for parent in ("/usr/lib", "/usr/libexec")
        if (path := Path(parent, directory, "polkitd")).exists()
    ),
    None,
)

_PLACES = ("/usr/share/dbus-1/system.d", "/etc/dbus-1/system.d")

# Lets root be polkit.
MOCK_POLICY = f"""\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <policy user="root"><allow own="{NAME}"/></policy>
  <policy context="default"><allow send_destination="{NAME}"/></policy>
</busconfig>
"""

# The answer to a check: a reply's signature and body, or an error.
Answer = tuple[str, list[Any]] | BusError
_REPLY = "(bba{ss})"
NO: Answer = (_REPLY, [[False, False, {}]])
CHALLENGE: Answer = (_REPLY, [[False, True, {"polkit.retains_authorization_after_challenge": "1"}]])
YES: Answer = (_REPLY, [[True, False, {}]])
# Each answer that grants nothing, None where nobody answers, and the error of the call.
DENIALS = pytest.mark.parametrize(
    ("answer", "error"),
    [
        (None, "AccessDenied"),
        (NO, "AccessDenied"),
        (CHALLENGE, "InteractiveAuthorizationRequired"),
    ],
    ids=["no polkit", "no", "a challenge"],
)


class Check(NamedTuple):
    """What polkit was asked."""

    call: Header
    subject: str
    name: str
    action: str
    details: dict[str, str]
    flags: int
    cancellation: str


class MockPolkit:
    """polkit on the test's own event loop. It gives `answer` to each check, or leaves it waiting.

    asked, cancelled: the checks as they come, and the ids of those that were cancelled.
    """

    def __init__(self, connection: Connection, answer: Answer | None) -> None:
        self.connection = connection
        self.answer = answer
        self.asked: asyncio.Queue[Check] = asyncio.Queue()
        self.cancelled: asyncio.Queue[str] = asyncio.Queue()

    @classmethod
    @contextlib.asynccontextmanager
    async def at(cls, address: str, answer: Answer | None = None) -> AsyncIterator[Self]:
        connection = await Connection.open(address)
        try:
            polkit = cls(connection, answer)
            connection.serve(polkit)
            await connection.own_name(NAME)
            yield polkit
        finally:
            await connection.close()

    def refuse(self, header: Header) -> BusError | None:
        return None

    def reads_late(self, _header: Header) -> bool:
        return False

    async def handle(self, call: Call) -> None:
        if call.header.member == "CancelCheckAuthorization":
            self.cancelled.put_nowait(call.body[0])
            self.connection.reply(call.header)
            return
        (subject, named), action, details, flags, cancellation = call.body
        name = named["name"].value
        check = Check(call.header, subject, name, action, details, flags, cancellation)
        self.asked.put_nowait(check)
        if self.answer is not None:
            self.tell(check, self.answer)

    def tell(self, check: Check, answer: Answer) -> None:
        """Answer a check that waits."""
        if isinstance(answer, BusError):
            self.connection.reply_error(check.call, answer.name, answer.message)
        else:
            self.connection.reply(check.call, *answer)


class Overlay:
    """A directory with what polkit reads of a system, seen in its place by whoever `prefix` runs.

    users: names and uids that this system has besides its own; the first has its data files
    installed. groups: names and members. rules: JavaScript, as in /etc/polkit-1/rules.d.
    """

    def __init__(
        self, users: Mapping[str, int], groups: Mapping[str, Sequence[str]], rules: str
    ) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="mfc-dbus-polkit-"))
        self._directory.chmod(0o755)
        for place in ("actions", "rules.d"):
            (self._directory / place).mkdir()
        shutil.copy(DATA / "org.example.MulticastForwarding.policy", self._directory / "actions")
        (self._directory / "rules.d" / "50-test.rules").write_text(rules)
        passwd = [f"{name}:x:{uid}:{uid}::/:/bin/false" for name, uid in users.items()]
        group = [f"{name}:x:{uid}:" for name, uid in users.items()]
        group += [
            f"{name}:x:{number}:{','.join(members)}"
            for number, (name, members) in enumerate(groups.items(), 64000)
        ]
        for name, lines in (("passwd", passwd), ("group", group)):
            own = Path("/etc", name).read_text()
            (self._directory / name).write_text(own + "".join(f"{line}\n" for line in lines))
        places = {
            "passwd": "/etc/passwd",
            "group": "/etc/group",
            "actions": "/usr/share/polkit-1/actions",
            "rules.d": "/etc/polkit-1/rules.d",
        }
        binds = " && ".join(
            f"mount --bind {self._directory / name} {place}" for name, place in places.items()
        )
        self.prefix = (
            *("unshare", "--mount", "--propagation", "private"),
            *("sh", "-c", f'{binds} && exec "$@"', "sh"),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._directory)


@contextlib.contextmanager
def running(address: str, *command: str) -> Iterator[None]:
    """Run a program that is polkit on a bus; it is when this enters."""
    environment = os.environ | {"DBUS_SYSTEM_BUS_ADDRESS": address}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        subprocess.run(
            ["gdbus", "wait", "--system", "--timeout", "10", NAME], env=environment, check=True
        )
        yield
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def real(
    users: Mapping[str, int],
    groups: Mapping[str, Sequence[str]],
    rules: str,
    bus_program: str = DAEMON,
) -> Iterator[PrivateBus]:
    """Run a bus with polkitd, both in a system that knows these users and has our files."""
    policy = next(
        (path for place in _PLACES if (path := Path(place, f"{NAME}.conf")).exists()), None
    )
    if POLKITD is None or policy is None:
        pytest.skip("there is no polkitd here")
    with (
        Overlay(users, groups, rules) as overlay,
        PrivateBus(bus_program, includes=[policy], prefix=overlay.prefix) as bus,
        running(bus.address, *overlay.prefix, str(POLKITD), "--no-debug"),
    ):
        yield bus


class Service(NamedTuple):
    """The daemon with everything as it is shipped."""

    bus: PrivateBus
    network: Namespace
    daemon: Daemon


@contextlib.contextmanager
def serving(
    users: Mapping[str, int],
    groups: Mapping[str, Sequence[str]],
    rules: str,
    library: str,
    bus_program: str = DAEMON,
) -> Iterator[Service]:
    """Run the daemon as the user mfc-dbus, on a bus with polkitd; it has eth1 to eth4."""
    with (
        real(users, groups, rules, bus_program) as bus,
        contextlib.closing(Namespace()) as network,
    ):
        network.ip(*(f"link add name eth{n} type veth peer name eth{n + 1}" for n in (1, 3)))
        with Daemon(bus.address, network, uid=users["mfc-dbus"], library=library) as daemon:
            yield Service(bus, network, daemon)
