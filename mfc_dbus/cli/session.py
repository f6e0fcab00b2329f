"""Runs a verb: connects to the service, with a password prompt, and reports failures."""

import argparse
import contextlib
import gc
import os
import signal
import sys
from typing import NoReturn

from mfc_dbus.cli.arguments import Verb
from mfc_dbus.cli.options import in_flags
from mfc_dbus.cli.status import Status, complain, status_of
from mfc_dbus.client import Client, ClientError, finish

# New objects until Python looks for garbage: of 100,000 routes it would look all the time in vain.
_LOOK_FOR_GARBAGE = 50_000


class Terminated(BaseException):
    """Is raised at SIGTERM, so that all contexts clean up."""


def run(verb: Verb, args: argparse.Namespace) -> int:
    """Run a verb, and return the exit status. Raises OSError, KeyboardInterrupt, Terminated."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        if hasattr(verb, "run_here"):
            return int(verb.run_here(args))
        with contextlib.ExitStack() as stack:
            sock = None
            if args.host:
                from mfc_dbus.cli.children import ssh

                sock = stack.enter_context(ssh(args.host))
            interactive = verb.CHANGES and _somebody_is_there(args)
            if getattr(args, "may", False):
                from mfc_dbus.cli.asking import ask

                return ask(verb, args, sock, interactive=interactive)
            if interactive:
                from mfc_dbus.cli.children import password_agent

                stack.enter_context(password_agent())
            if hasattr(verb, "follow"):
                from mfc_dbus.cli.following import run_following

                return run_following(verb.follow, args, sock)
            gc.set_threshold(_LOOK_FOR_GARBAGE)
            client = stack.enter_context(Client.open_blocking(sock=sock, interactive=interactive))
            return finish(verb.run(client, args))
    except ClientError as error:
        return complain_of(error, args)


def complain_of(error: ClientError, args: argparse.Namespace) -> Status:
    """Write why a verb has failed, and return the exit status. args: what was typed for it."""
    complain(in_flags(str(error), args), error=error.name, as_json=args.json)
    return status_of(error.name)


def _terminate(*_: object) -> NoReturn:
    raise Terminated


def _somebody_is_there(args: argparse.Namespace) -> bool:
    """Return whether polkit can ask for a password here. It asks neither root nor another host."""
    at_terminal = sys.stdin is not None and sys.stdin.isatty()
    return at_terminal and os.geteuid() != 0 and not args.host and not args.no_ask_password
