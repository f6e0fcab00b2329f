"""--may: tells whether a change may be made, instead of making it."""

import argparse
import json
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from mfc_dbus.cli.status import Status
from mfc_dbus.client import Client, finish
from mfc_dbus.model.members import Permission

if TYPE_CHECKING:
    from mfc_dbus.cli.arguments import Verb

_ANSWERS = {
    Permission.YES: "yes",
    Permission.AUTH: "yes, with a password",
    Permission.NO: "no",
}


class _Answered(Exception):
    """The service has told the permission."""

    def __init__(self, permission: Permission) -> None:
        super().__init__(permission)
        self.permission = permission


class _Asking(Client):
    """Asks whether it may make a change, instead of making it. Raises _Answered."""

    async def _change(self, member: str, body: Sequence[Any], **_: Any) -> NoReturn:
        raise _Answered(Permission(await self.check(member, body)))


def ask(
    verb: "Verb", args: argparse.Namespace, sock: "socket.socket | None", *, interactive: bool
) -> int:
    """Tell whether the change of a verb may be made. Return the exit status. Raises ClientError.

    interactive: a password could be asked for here, as for the change itself.
    """
    with _Asking.open_blocking(sock=sock) as client:
        try:
            return finish(verb.run(client, args))
        except _Answered as answered:
            permission = answered.permission
    print(json.dumps({"permission": permission}) if args.json else _ANSWERS[permission])
    may = permission is Permission.YES or (interactive and permission is Permission.AUTH)
    return Status.DONE if may else Status.NOT_AUTHORISED
