"""mfc-dbus-cli: the service, from a terminal or a script."""

import io
import os
import signal
import sys
from collections.abc import Sequence

from mfc_dbus.cli.arguments import UsageError, parse
from mfc_dbus.cli.status import Status, complain


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the arguments say; the exit status."""
    _open_standard_streams()
    try:
        verb, args = parse(sys.argv[1:] if argv is None else argv)
    except UsageError as error:
        complain(str(error))
        return Status.USAGE
    from mfc_dbus.cli.session import Terminated, run

    try:
        status = run(verb, args)
        sys.stdout.flush()
    except OSError as error:
        # What is still in the buffer must not fail a second time, when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError) and not verb.CHANGES:
            return Status.DONE  # the reader has seen enough
        complain(": ".join(filter(None, [error.filename, error.strerror])))
        return Status.FAILED
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
    """Be able to write, also where a stream is closed, or cannot encode what we have to say."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
