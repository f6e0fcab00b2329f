"""A verb's way to the service: the bus, the password prompt, and how it all ends."""

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys

from mfc_dbus.cli.arguments import Local, Verb
from mfc_dbus.cli.children import password_agent, ssh
from mfc_dbus.cli.status import complain, status_of
from mfc_dbus.client import Client, ClientError


class Terminated(BaseException):
    """SIGTERM came; all is cleaned up."""


def run(verb: Verb, args: argparse.Namespace) -> int:
    """Run a verb to its end; the exit status. Raises OSError, KeyboardInterrupt, Terminated."""
    if isinstance(verb, Local):
        return verb.run_here(args)
    try:
        with contextlib.ExitStack() as stack:
            sock = stack.enter_context(ssh(args.host)) if args.host else None
            interactive = verb.CHANGES and _somebody_is_there(args)
            if interactive:
                stack.enter_context(password_agent())
            return asyncio.run(_run(verb, args, sock, interactive=interactive))
    except ClientError as error:
        complain(str(error))
        return status_of(error.name)
    except asyncio.CancelledError:
        raise Terminated from None


def _somebody_is_there(args: argparse.Namespace) -> bool:
    """Tell whether polkit can ask here. It asks no root, and nobody on another machine."""
    at_terminal = sys.stdin is not None and sys.stdin.isatty()
    return at_terminal and os.geteuid() != 0 and not args.host and not args.no_ask_password


async def _run(
    verb: Verb, args: argparse.Namespace, sock: socket.socket | None, *, interactive: bool
) -> int:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with Client.open(sock=sock, interactive=interactive) as client:
        return await verb.run(client, args)
