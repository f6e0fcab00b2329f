"""A password agent, which answers polkit's prompts as somebody at a desktop would."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

from lab.polkit import NAME
from mfc_dbus.bus.backend import Variant
from mfc_dbus.bus.calls import Call
from mfc_dbus.bus.connection import Connection
from mfc_dbus.bus.errors import BusError
from mfc_dbus.bus.frames import Header

_AUTHORITY = "/org/freedesktop/PolicyKit1/Authority"
_PATH = "/org/example/PasswordAgent"
_TIMEOUT = 20.0


class PasswordAgent:
    """The agent of one process. It runs as root, as the part that knows passwords does.

    knows: whether somebody types the password, or dismisses the prompt. prompts: their texts, since
    the last `asked`.
    """

    def __init__(self, connection: Connection) -> None:
        self.knows = True
        self._prompts: list[str] = []
        self._connection = connection

    @classmethod
    @contextlib.asynccontextmanager
    async def at(cls, address: str, pid: int, uid: int) -> AsyncIterator[Self]:
        """Be the agent of a process, as polkit knows it. uid: whose it will be."""
        connection = await Connection.open(address)
        try:
            agent = cls(connection)
            connection.serve(agent)
            process = {
                "pid": Variant("u", pid),
                "start-time": Variant("t", _start_time(pid)),
                "uid": Variant("i", uid),
            }
            subject = ["unix-process", process]
            await agent._call("RegisterAuthenticationAgent", "(sa{sv})ss", subject, "C", _PATH)
            yield agent
        finally:
            await connection.close()

    def asked(self) -> list[str]:
        prompts, self._prompts = self._prompts, []
        return prompts

    def refuse(self, _header: Header) -> BusError | None:
        return None

    def reads_late(self, _header: Header) -> bool:
        return False

    async def handle(self, call: Call) -> None:
        if call.header.member == "BeginAuthentication":
            _, message, _, _, cookie, (identity, *_) = call.body
            self._prompts.append(message)
            if self.knows:
                body = (0, cookie, identity)
                await self._call("AuthenticationAgentResponse2", "us(sa{sv})", *body)
        self._connection.reply(call.header)

    async def _call(self, member: str, signature: str, *body: Any) -> None:
        interface = f"{NAME}.Authority"
        await self._connection.call(
            NAME, _AUTHORITY, interface, member, signature, body, timeout=_TIMEOUT
        )


def _start_time(pid: int) -> int:
    """The 22nd field of proc_pid_stat(5); the second one, in parentheses, may have spaces."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
