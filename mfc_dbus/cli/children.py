"""The programs that run beside ours: pkttyagent for passwords, ssh to another machine."""

import contextlib
import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator, Sequence
from typing import Any

from mfc_dbus.client import ClientError
from mfc_dbus.model.quoting import quote

_AGENT_TIMEOUT = 10.0
_END_TIMEOUT = 5.0
_PR_SET_PDEATHSIG = 1


@contextlib.contextmanager
def password_agent() -> Iterator[None]:
    """Let polkit ask on this terminal, where no dialog of a desktop does.

    The agent is polkit's own. It serves its parent process, and closes the pipe when it is ready.
    Where it cannot run we go on: the service refuses a call that needs a password then.
    """
    attributes = termios.tcgetattr(sys.stdin)
    reading, writing = os.pipe()
    with contextlib.ExitStack() as stack:
        stack.callback(_restore_terminal, attributes)
        stack.callback(os.close, reading)
        with os.fdopen(writing), contextlib.suppress(OSError):
            agent = ["pkttyagent", f"--notify-fd={writing}", "--fallback"]
            silent = subprocess.DEVNULL
            stack.enter_context(
                _child(agent, stdin=silent, stdout=silent, stderr=silent, pass_fds=[writing])
            )
        select.select([reading], [], [], _AGENT_TIMEOUT)
        yield


@contextlib.contextmanager
def ssh(host: str) -> Iterator[socket.socket]:
    """Reach the system bus of another machine, as busctl does. Raises ClientError.

    ssh asks for passwords on the terminal itself; what it writes to stderr tells why it fails.
    """
    ours, theirs = socket.socketpair()
    with contextlib.ExitStack() as stack:
        stack.enter_context(ours)
        said = stack.enter_context(tempfile.TemporaryFile())  # a pipe would have to be read
        with theirs:
            command = ["ssh", "-xT", "--", host, "systemd-stdio-bridge"]
            try:
                child = _child(command, stdin=theirs, stdout=theirs, stderr=said)
                process = stack.enter_context(child)
            except OSError as error:
                raise ClientError("NoServer", f"Cannot start ssh: {error.strerror}") from error
        try:
            yield ours
        except ClientError as error:
            if error.name not in ("NoServer", "Disconnected"):
                raise
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_TIMEOUT)
            said.seek(0)
            lines = said.read().decode(errors="replace").split("\n")
            why = next(
                (line.strip() for line in reversed(lines) if line.strip()),
                f"ssh ended with status {process.returncode}",
            )
            raise ClientError(
                error.name, f"Cannot reach the bus of {quote(host)}: {why}"
            ) from error


@contextlib.contextmanager
def _child(command: Sequence[str], **options: Any) -> "Iterator[subprocess.Popen[bytes]]":
    """Run a program until the context ends, or this process is killed."""
    # There is no second thread, which is what makes a preexec_fn safe.
    with subprocess.Popen(command, preexec_fn=_end_with_parent, **options) as process:  # noqa: PLW1509
        try:
            yield process
        finally:
            process.terminate()
            process.send_signal(signal.SIGCONT)  # the terminal may have stopped it
            try:
                process.wait(_END_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _restore_terminal(attributes: list[Any]) -> None:
    """Restore the terminal: an agent that was ended at its prompt has left it without echo."""
    if termios.tcgetattr(sys.stdin) != attributes:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, attributes)
