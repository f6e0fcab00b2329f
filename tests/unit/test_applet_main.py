"""The applet where there is no desktop for it."""

import subprocess
import sys

import pytest

from mfc_dbus.applet.main import main


def test_it_says_what_it_needs_where_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gi", None)
    assert main([]) == 1
    said = capsys.readouterr().err
    assert "it needs PyGObject with GTK 4, libadwaita 1.2 and JSON-GLib" in said


def test_what_is_pure_needs_no_gtk() -> None:
    """The tray and the tests of the pure modules import them wherever they run."""
    pure = "checking coroutines documents drawing layout listing requests state texts tooltips"
    program = "import sys; sys.modules['gi'] = None\n" + "".join(
        f"import mfc_dbus.applet.{name}\n" for name in pure.split()
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
