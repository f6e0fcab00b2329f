"""Runs a script as a process, and ends it with all that it has started, when its time is over."""

import asyncio
import contextlib
import errno
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from mfc_dbus.dispatcher.environment import PATH
from mfc_dbus.dispatcher.progress import Process

GRACE = 5.0  # seconds between SIGTERM and SIGKILL
_UMASK = 0o022
_JOURNAL = "/run/systemd/journal/stdout"
# Of our own environment scripts get these: where the service is, and in which words to speak.
_PASSED_ON = ("DBUS_SYSTEM_BUS_ADDRESS", "LANG")
_CGROUPS = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))


class RunningScript:
    """A script that runs. Use it within `closing`."""

    def __init__(self, process: Process, fd: int, cgroup: "Cgroup | None") -> None:
        """fd: a pidfd of the process, which this closes."""
        self._process = process
        self._fd = fd
        self._cgroup = cgroup

    @classmethod
    def of(cls, process: Process, cgroup: "Cgroup | None") -> "RunningScript | None":
        """Take over a script that an earlier process has started; None where it has ended."""
        with contextlib.suppress(OSError):
            fd = os.pidfd_open(process.pid)
            if process.is_alive:
                return cls(process, fd, cgroup)
            os.close(fd)
        return None

    def close(self) -> None:
        os.close(self._fd)
        if self._cgroup:
            self._cgroup.remove()

    async def wait(self, timeout: float) -> bool:
        """Wait for the script's end, and bring it about when its time is over. Return whether the
        script ended by itself.
        """
        if await self._ends_within(timeout):
            return True
        self._signal(signal.SIGTERM)
        await self._ends_within(GRACE)
        self.kill()
        await self._ends_within(GRACE)
        return False

    def status(self) -> int:
        """Return the exit status of a script that has ended, negative for a signal; 0 where nobody
        knows it, since another process has started it, or it does not end even by SIGKILL.
        """
        return 0

    def kill(self) -> None:
        """End it, and all that it has started, at once."""
        self._signal(signal.SIGKILL)
        if self._cgroup:
            self._cgroup.kill()

    def _signal(self, number: int) -> None:
        # It leads a group of its own, which may outlive it.
        if self._has_its_number():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def _has_its_number(self) -> bool:
        """Return whether no other process can have the number of this one."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return not poll.poll(0)

    async def _ends_within(self, seconds: float) -> bool:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(self._fd, ended.set)  # pidfd_open(2): readable once it has ended
        try:
            async with asyncio.timeout(seconds):
                await ended.wait()
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(self._fd)
        return True


class Child(RunningScript):
    """A script that we have started."""

    def __init__(self, child: "subprocess.Popen[bytes]", cgroup: "Cgroup | None") -> None:
        super().__init__(Process(child.pid, ""), os.pidfd_open(child.pid), cgroup)
        self._child = child

    def status(self) -> int:
        return self._child.poll() or 0

    def _has_its_number(self) -> bool:
        return self._child.returncode is None  # one that has ended keeps it until it is waited for


def start(
    command: Sequence[str],
    variables: Mapping[str, str],
    given: bytes,
    name: str,
    starting: Callable[[], None],
    cgroup: "Cgroup | None",
) -> Child:
    """Start a script. Raises OSError and SubprocessError.

    given: for its standard input. name: that of its lines in the journal. starting: is called in
    its process before it becomes the script.
    """
    passed = {each: os.environ[each] for each in _PASSED_ON if each in os.environ}
    joining = cgroup.join if cgroup else None

    def become() -> None:
        if joining:
            joining()
        starting()

    with _given(given) as stdin, _output(name) as output:
        child = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=output,
            stderr=output,
            cwd="/",
            env={"PATH": PATH, **passed, **variables},
            start_new_session=True,
            umask=_UMASK,
            preexec_fn=become,  # noqa: PLW1509 - there are no threads here
        )
    try:
        return Child(child, cgroup)
    except OSError as error:  # no pidfd
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        raise subprocess.SubprocessError(f"nobody could watch it: {error.strerror}") from error


@contextlib.contextmanager
def _given(data: bytes) -> Iterator[int]:
    """Make a file in memory, of which it does not matter who reads how much."""
    fd = os.memfd_create("event")
    try:
        os.write(fd, data)
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _output(name: str) -> Iterator[int]:
    """Open where a script writes to: the journal, under its own name, if we do; or where we do.

    The journal reads it, line by line: see sd_journal_stream_fd(3). So nothing waits in us, and a
    script may outlive us.
    """
    if not leads_to_journal(sys.stderr.fileno()):
        yield sys.stderr.fileno()
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(_JOURNAL)
            sock.shutdown(socket.SHUT_RD)
            # Identifier, unit (where the writer has ended before the journal looks at it), priority
            # (6: info), whether lines may say theirs; to nobody else.
            sock.sendall(f"{name}\n{_own_cgroup().name}\n6\n1\n0\n0\n0\n".encode())
        except OSError:
            yield sys.stderr.fileno()
        else:
            yield sock.fileno()


def leads_to_journal(fd: int) -> bool:
    """Return whether a file descriptor leads to the journal, as systemd says (systemd.exec(5))."""
    status = os.fstat(fd)
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class Cgroup:
    """A cgroup for one script and all that it starts, below one that we were given."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def join(self) -> None:
        """Have this process in it; where that fails, it stays where it is."""
        with contextlib.suppress(OSError):
            self.path.mkdir(exist_ok=True)
            (self.path / "cgroup.procs").write_text("0")

    def kill(self) -> None:
        with contextlib.suppress(OSError):
            (self.path / "cgroup.kill").write_text("1")

    def remove(self) -> None:
        """Remove it, if nothing is left in it: what a script leaves when it ends may go on."""
        with contextlib.suppress(OSError):
            self.path.rmdir()


def _own_cgroup() -> Path:
    """Return our path in the hierarchy of cgroup v2: for systemd its last part is our unit."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    return Path(next((line[3:] for line in lines if line.startswith("0::")), "/"))


def delegated() -> Path | None:
    """Return our own cgroup where systemd lets us make others below it (Delegate=, cgroup v2)."""
    for top in _CGROUPS:
        own = Path(f"{top}{_own_cgroup()}")
        try:
            if os.getxattr(own, "trusted.delegate") == b"1":
                return own
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.ENOENT, errno.ENOTSUP, errno.EPERM):
                raise
    return None
