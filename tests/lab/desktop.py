"""A desktop that nobody sees: a display, a session bus with AT-SPI, and the applet on it."""

import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import mfc_dbus

PYTHON = "/usr/bin/python3"  # which has GTK
_PATIENCE = 15.0  # seconds
_NEEDED = "import gi, msgspec; " + "; ".join(
    f"gi.require_version({name!r}, {version!r})"
    for name, version in {"Gtk": "4.0", "Adw": "1", "Json": "1.0", "Atspi": "2.0"}.items()
)
_SESSION = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={socket}</listen>
  <servicedir>{services}</servicedir>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
    <allow user="*"/>
  </policy>
</busconfig>
"""
_A11Y = """\
[D-BUS Service]
Name=org.a11y.Bus
Exec=/usr/libexec/at-spi-bus-launcher
"""
# Python and the project may lie where only root can read.
_AS_USER = """\
import runpy, sys
from lab.privileges import CAP_DAC_READ_SEARCH, become
become(int(sys.argv.pop(1)), keep=[CAP_DAC_READ_SEARCH])
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


@functools.cache
def missing() -> str:
    """Return what this system lacks for a desktop, empty where it has all."""
    if shutil.which("Xvfb") is None:
        return "there is no Xvfb"
    done = subprocess.run(
        [PYTHON, "-P", "-c", _NEEDED], env=python_environment(), capture_output=True, text=True
    )
    return done.stderr.strip().rpartition("\n")[2] if done.returncode else ""


def python_environment() -> dict[str, str]:
    """Return the environment in which the system's Python has the package and msgspec."""
    installed = Path(mfc_dbus.__file__).parents[1]
    own = Path(sys.prefix, "applet")
    return os.environ | {"PYTHONPATH": f"{own}:{installed}:{Path(__file__).parents[1]}"}


class Desktop:
    """The display and the session bus. It ends with the stack.

    environment: that of a program on it, which finds the system bus at `address`. uid: whose it is.
    """

    def __init__(
        self,
        stack: contextlib.ExitStack,
        address: str,
        size: tuple[int, int] = (1280, 1000),
        *,
        uid: int = 0,
    ) -> None:
        self._stack = stack
        self._uid = uid
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mfc-dbus-desktop-")))
        if uid:
            os.chown(home, uid, uid)
        self.environment = python_environment() | {
            "DISPLAY": self._start_display(home, size),
            "DBUS_SYSTEM_BUS_ADDRESS": address,
            "DBUS_SESSION_BUS_ADDRESS": self._start_session(home),
            "FRAMEBUFFER": str(home / "Xvfb_screen0"),
            "GDK_BACKEND": "x11",
            "GSK_RENDERER": "cairo",
            "GSETTINGS_BACKEND": "memory",
            "HOME": str(home),
            "LANGUAGE": "en",
            "LC_ALL": "C.UTF-8",
            "XDG_RUNTIME_DIR": str(home),
        }
        self.environment.pop("WAYLAND_DISPLAY", None)

    def start(self, module: str, *arguments: str, pipes: bool = False) -> subprocess.Popen[str]:
        """Start a module by the system's Python, as the desktop's user."""
        run = ["-c", _AS_USER, str(self._uid), module] if self._uid else ["-m", module]
        pipe = subprocess.PIPE if pipes else None
        process = subprocess.Popen(
            [PYTHON, "-P", *run, *arguments],
            env=self.environment,
            stdin=pipe,
            stdout=pipe,
            text=True,
        )
        self._stack.callback(_end, process)
        return process

    def start_applet(self) -> subprocess.Popen[str]:
        return self.start("mfc_dbus.applet.main")

    def _start_display(self, home: Path, size: tuple[int, int]) -> str:
        reading, writing = os.pipe()
        screen = f"{size[0]}x{size[1]}x24"
        process = subprocess.Popen(
            [
                "Xvfb",
                "-fbdir",
                str(home),
                "-displayfd",
                str(writing),
                "-screen",
                "0",
                screen,
                "-nolisten",
                "tcp",
            ],
            pass_fds=[writing],
            stderr=subprocess.DEVNULL,
        )
        self._stack.callback(_end, process)
        os.close(writing)
        with os.fdopen(reading) as numbers:
            return f":{numbers.readline().strip()}"

    def _start_session(self, home: Path) -> str:
        services = home / "services"
        services.mkdir()
        (services / "org.a11y.Bus.service").write_text(_A11Y)
        config = home / "session.conf"
        config.write_text(_SESSION.format(socket=home / "session", services=services))
        process = subprocess.Popen(
            ["dbus-daemon", f"--config-file={config}", "--nofork", "--print-address=1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"HOME": str(home), "XDG_RUNTIME_DIR": str(home)},
            user=self._uid or None,
            group=self._uid or None,
        )
        self._stack.callback(_end, process)
        assert process.stdout is not None
        return str(process.stdout.readline()).strip()


class Hand:
    """Works the applet by AT-SPI: see lab/hand.py. What it looks for it waits for."""

    def __init__(self, desktop: Desktop) -> None:
        self._process = desktop.start("lab.hand", pipes=True)

    def see(self, part: str, role: str = "", **states: bool) -> str:
        """Return the name of something that has this in its name, when it is in these states."""
        found = self._until(
            lambda: (
                (look := self._do("look", part, role))
                and all(look[state] is wanted for state, wanted in states.items())
                and look
            ),
            f"{role} {part!r} {states}",
        )
        return str(found["name"])

    def miss(self, part: str, role: str = "") -> None:
        """Return when nothing has this in its name any more."""
        self._until(lambda: self._do("look", part, role) is None, f"no {role} {part!r}")

    def press(self, part: str, role: str = "button") -> None:
        """Press a button, tick a box, turn to a tab: whatever can be done with it."""
        self._until(lambda: self._do("press", part, role), f"to press {role} {part!r}")

    def open(self, part: str, window: str) -> None:
        """Press the button that opens a window. GTK forgets what is pressed before it is drawn."""
        for _ in range(5):
            self.press(part)
            deadline = time.monotonic() + 1
            while time.monotonic() < deadline:
                if self._do("look", window, "frame"):
                    return
        raise TimeoutError(f"{part!r} opens no {window!r}")

    def write(self, part: str, text: str) -> None:
        """Write into the field of this name."""
        self._until(lambda: self._do("write", part, text), f"to write into {part!r}")

    def key(self, symbol: int) -> str:
        """Press a key, and return the name of what has the focus then."""
        self._do("key", symbol)
        return str(self._do("focused"))

    def names(self, role: str) -> list[str]:
        return list(self._do("names", role))

    def tree(self) -> list[str]:
        return list(self._do("tree"))

    def _until(self, answer: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + _PATIENCE
        while not (found := answer()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} was waited for, among:\n" + "\n".join(self.tree()))
            time.sleep(0.05)
        return found

    def _do(self, *doing: str | int) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(doing)}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def _end(process: "subprocess.Popen[str] | subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def take_pictures(desktop: Desktop, shots: Sequence[Mapping[str, object]]) -> None:
    """Have the applet drawn into PNG files: see lab/photographer.py."""
    process = desktop.start("lab.photographer", json.dumps([*shots]))
    if process.wait(180):
        raise OSError(f"the photographer ended with status {process.returncode}")
