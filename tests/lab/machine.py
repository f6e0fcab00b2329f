"""A systemd of one's own, booted in a container on a copy of this machine's root.

The copy is an overlay: nothing is written to the root itself. The container's network is empty.
Needs root and systemd-nspawn.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from lab.bus import BROKER, DAEMON
from lab.netns import Namespace

_TIMEOUT = 60.0
_ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}
_REBOOTED = 133  # a status of systemd-nspawn

# All mounts are in a namespace that ends with the process. What this machine starts at boot is no
# business of the copy; and systemd-nspawn leaves things in /run.
_MOUNT = """
mount -t tmpfs -o mode=755 tmpfs "$1"
cd "$1"
mkdir upper work root
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work overlay root
rm -rf root/etc/systemd/system/*.wants root/etc/rc?.d
unit=/lib/systemd/system/$2.service
[ ! -e "root$unit" ] || ln -sf "$unit" root/etc/systemd/system/dbus.service
mount -t tmpfs tmpfs /run
echo mounted
exec cat
"""
# systemd-nspawn lets the container live in cgroups below those that it is in itself.
_IN_CGROUPS = """
while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs"; shift; done
shift
exec setpriv --pdeathsig TERM "$@"
"""
_UNITS = {DAEMON: "dbus", BROKER: "dbus-broker"}
_NSPAWN = (
    *("systemd-nspawn", "--quiet", "--boot", "--private-network", "--machine=mfc-dbus"),
    *("--register=no", "--keep-unit", "--link-journal=no", "--notify-ready=yes", "--console=pipe"),
)


class Machine:
    """It has booted when the constructor returns. A context manager; afterwards nothing is left.

    binds: directories of this machine that it shares, to read. bus: the program of its system bus,
    if there are several.
    """

    def __init__(self, binds: Sequence[Path] = (), *, bus: str = DAEMON) -> None:
        self._binds = [f"--bind-ro={path}" for path in binds]
        with contextlib.ExitStack() as stack:
            self._directory = Path(tempfile.mkdtemp(prefix="mfc-dbus-machine-"))
            stack.callback(shutil.rmtree, self._directory)
            self._mount = self._directory / "mount"
            self._mount.mkdir()
            self._mounts = subprocess.Popen(
                ["unshare", "--mount", "sh", "-euc", _MOUNT, "sh", str(self._mount), _UNITS[bus]],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            stack.enter_context(self._mounts)
            assert self._mounts.stdout is not None
            if not self._mounts.stdout.readline():
                raise OSError(f"the mounts failed with status {self._mounts.wait()}")
            self._cgroups = [path / self._directory.name for path in _own_cgroups()]
            for path in self._cgroups:
                path.mkdir()
                stack.callback(_remove_cgroups, path)
            self._leader = 0
            stack.callback(self._halt)
            self._boot()
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def root(self) -> Path:
        """Its files."""
        return Path(f"/proc/{self._leader}/root")

    @property
    def changes(self) -> Path:
        """Those of its files that are not this machine's."""
        return Path(f"/proc/{self._mounts.pid}/root{self._mount}/upper")

    def network(self) -> Namespace:
        """Open its network namespace, which is another one after each boot."""
        return Namespace(f"/proc/{self._leader}/ns/net")

    def run(
        self, *command: str, user: str = "root", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it; stdout has stderr too."""
        done = subprocess.run(
            ["nsenter", f"--target={self._leader}", "--all", "runuser", "-u", user, "--", *command],
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIMEOUT,
        )
        if check and done.returncode:
            raise OSError(f"{' '.join(command)}: status {done.returncode}: {done.stdout}")
        return done

    def let_packages_start(self) -> None:
        """Have Debian's packages start what they install, and not read all manual pages anew."""
        self.run("rm", "-f", "/usr/sbin/policy-rc.d", "/var/lib/man-db/auto-update")

    def reboot(self) -> None:
        self.run("systemctl", "reboot")
        status = self._nspawn.wait(_TIMEOUT)
        if status != _REBOOTED:
            raise OSError(f"systemd-nspawn ended with {status}: {self._console()}")
        self._boot()

    def _boot(self) -> None:
        notify = self._directory / "notify"
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as messages,
            (self._directory / "console").open("wb") as console,
        ):
            messages.bind(str(notify))
            messages.settimeout(1)
            self._nspawn = subprocess.Popen(
                [
                    *("nsenter", f"--target={self._mounts.pid}", "--mount"),
                    *("sh", "-euc", _IN_CGROUPS, "sh", *map(str, self._cgroups), "--"),
                    *(*_NSPAWN, f"--directory={self._mount / 'root'}", *self._binds),
                ],
                # A unit's own sandbox is what denies system calls, as on a real machine.
                env=os.environ | {"NOTIFY_SOCKET": str(notify), "SYSTEMD_SECCOMP": "0"},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
            self._wait_until_booted(messages)
        notify.unlink()  # a socket that nobody reads would stop the container one day

    def _wait_until_booted(self, messages: socket.socket) -> None:
        """systemd-nspawn tells who is process 1, and later that it is ready; see sd_notify(3)."""
        deadline = time.monotonic() + _TIMEOUT
        lines: list[str] = []
        while "READY=1" not in lines:
            with contextlib.suppress(TimeoutError):
                lines += messages.recv(4096).decode().splitlines()
            if self._nspawn.poll() is not None or time.monotonic() > deadline:
                raise OSError(f"the container does not boot: {self._console()}")
        leader = "X_NSPAWN_LEADER_PID="
        self._leader = next(int(line[len(leader) :]) for line in lines if line.startswith(leader))

    def _console(self) -> str:
        return (self._directory / "console").read_text(errors="replace")

    def _halt(self) -> None:
        if self._nspawn.poll() is None:
            os.kill(self._leader or self._nspawn.pid, signal.SIGKILL)
            self._nspawn.wait()


def _own_cgroups() -> Iterator[Path]:
    """The cgroups of this process, in the hierarchies that a systemd looks at; cgroups(7)."""
    top = Path("/sys/fs/cgroup")
    unified = top / "unified"
    places = {"name=systemd": top / "systemd", "": unified if unified.exists() else top}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in places:
            yield Path(f"{places[controllers]}{path}")


def _remove_cgroups(path: Path) -> None:
    for child in path.iterdir():
        if child.is_dir():
            _remove_cgroups(child)
    path.rmdir()
