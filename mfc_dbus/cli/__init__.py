"""mfc-dbus-cli: the service, from a terminal or a script."""

import argparse
import io
import os
import signal
import sys
from collections.abc import Sequence

from mfc_dbus.cli.arguments import Verb, parse
from mfc_dbus.cli.parser import UsageError
from mfc_dbus.cli.status import Status, complain, complain_of_system

COMPLETE = "__complete"  # the first word where a shell asks what may be typed


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the arguments say, and return the exit status."""
    _open_standard_streams()
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == [COMPLETE]:
        from mfc_dbus.cli.completion import run

        run(words[1:])
        return Status.DONE
    try:
        return _run(*parse(words))
    except UsageError as error:
        complain(str(error), error="Usage", as_json="--json" in words)
        return Status.USAGE


def _run(verb: Verb, args: argparse.Namespace) -> int:
    """Run a verb, and return its exit status. Raises UsageError."""
    from mfc_dbus.cli.session import Terminated, run

    try:
        status = run(verb, args)
        sys.stdout.flush()
    except OSError as error:
        # What is still in the buffer must not fail a second time, when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError) and not verb.CHANGES:
            return Status.DONE  # the reader has seen enough
        return complain_of_system(error, as_json=args.json)
    except KeyboardInterrupt:
        return _die_of(signal.SIGINT)
    except Terminated:
        return _die_of(signal.SIGTERM)
    return status


def _die_of(number: signal.Signals) -> int:
    """End by a signal: a shell that sees it ends its loop or script as well."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    return 128 + number


def _open_standard_streams() -> None:
    """Make stdout and stderr writable also where they are closed, and stdout take all characters.

    A closed standard input stays an error for a verb that reads it.
    """
    if sys.stdin is None:
        # A file that is opened later would be descriptor 0, and be read as the standard input.
        os.open(os.devnull, os.O_WRONLY)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
