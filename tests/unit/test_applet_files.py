"""What desktops read of the applet is as they want it."""

import shutil
import subprocess
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest

TOP = Path(__file__).parents[2]
APPLET = TOP / "data/applet"
ID = "org.example.MulticastForwarding.Applet"


def run(*command: str | Path) -> str:
    if not shutil.which(command[0]):
        pytest.skip(f"there is no {command[0]}")
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_desktop_file_validate_finds_nothing_wrong() -> None:
    assert run("desktop-file-validate", APPLET / f"{ID}.desktop") == ""


def test_appstreamcli_finds_nothing_wrong() -> None:
    told = run("appstreamcli", "validate", "--no-net", "--no-color", APPLET / f"{ID}.metainfo.xml")
    assert "Validation was successful" in told


def test_the_menu_starts_what_is_installed() -> None:
    entries = dict(
        line.split("=", 1)
        for line in (APPLET / f"{ID}.desktop").read_text().splitlines()
        if "=" in line
    )
    assert entries["Icon"] == ID
    scripts = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["scripts"]
    assert entries["Exec"] == entries["TryExec"] == "mfc-dbus-applet"
    assert "mfc-dbus-applet" in scripts


@pytest.mark.parametrize("name", [f"{ID}.svg", f"{ID}-symbolic.svg"])
def test_icons_are_pictures(name: str) -> None:
    root = ElementTree.parse(APPLET / name).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.get("width") == root.get("height") == ("16" if "symbolic" in name else "128")
