"""The manual pages: whole, and clean to those who read them by program."""

import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mfc_dbus.cli.arguments import COMMANDS
from mfc_dbus.cli.columns import COLUMNS
from mfc_dbus.config.settings import SETTINGS, Settings, parse
from mfc_dbus.documents.entries import MembershipEntry, RouteEntry
from mfc_dbus.model.findings import Code

TOP = Path(__file__).parents[2]
MAN = TOP / "data/man"
CONTRACT = TOP / "data/org.example.MulticastForwarding.xml"
OTHERS = {
    *("busctl.1", "ip-mroute.8", "NetworkManager-dispatcher.8", "polkit.8"),
    *("systemctl.1", "systemd.exec.5"),
}
PAGES = [path.stem for path in sorted(MAN.glob("*.in"))]


@cache
def page(name: str) -> str:
    done = subprocess.run(
        [sys.executable, MAN / "generate.py", MAN / f"{name}.in", "0.1.0"],
        check=True,
        capture_output=True,
        text=True,
    )
    return str(done.stdout)


def headings(text: str) -> list[str]:
    """Get what follows each .Ss and .It, as it is read."""
    found = re.findall(r"^\.(?:Ss|It) (.*)$", text, re.MULTILINE)
    return [re.sub(r'\\&|"|\bAr |\bSy ', "", each).replace("\\-", "-") for each in found]


@pytest.mark.parametrize("name", PAGES)
def test_mandoc_finds_nothing_wrong(name: str) -> None:
    if not shutil.which("mandoc"):
        pytest.skip("there is no mandoc")
    done = subprocess.run(["mandoc", "-Tlint"], input=page(name), capture_output=True, text=True)
    # It knows only the pages of this system; which are named is looked at below.
    found = [line for line in done.stdout.splitlines() if "referenced manual not found" not in line]
    assert found == []


def test_every_page_is_built() -> None:
    build = (TOP / "meson.build").read_text()
    assert [name for name in PAGES if f"  '{name}',\n" not in build] == []


def test_every_page_that_is_named_is_there_or_another_ones() -> None:
    for name in PAGES:
        named = re.findall(r"^\.Xr (\S+) (\d)", page(name), re.MULTILINE)
        assert {".".join(each) for each in named} <= {*PAGES, *OTHERS}


def test_every_verb_and_option_has_its_place() -> None:
    shown = headings(page("mfc-dbus-cli.1"))
    for word, command in COMMANDS.words.items():
        for words in [f"{word} {verb}" for verb in command.words] or [word]:
            assert words in shown
    assert "Fl s , Fl -source SOURCE" in shown
    assert "Fl H , Fl -host [USER@]HOST" in shown
    assert "Fl -add-oifs IF..." in shown


def test_what_a_help_lists_is_listed_and_no_word_is_broken() -> None:
    shown = page("mfc-dbus-cli.1").replace("\\-", "-")
    for code in Code:
        assert re.search(rf"(?:^| ){code}(?:,|$)", shown, re.MULTILINE), code
    assert {*COLUMNS} <= {*headings(shown)}


def test_every_member_has_its_place() -> None:
    shown = headings(page("org.example.MulticastForwarding.7"))
    members = ElementTree.parse(CONTRACT).getroot().find("interface")
    assert members is not None
    for member in members:
        assert member.attrib["name"] in shown


def test_every_setting_has_its_place_and_the_default_that_it_has() -> None:
    told = page("mfc-dbus.toml.5")
    for key, setting in SETTINGS.items():
        assert f"{key[-1]} = {setting.value}" in headings(told)
        *section, name = key
        assert (
            parse("\n".join([*(f"[{each}]" for each in section), f"{name} = {setting.default}"]))
            == Settings()
        )
    assert {setting.name for setting in SETTINGS.values()} == {*Settings.__dataclass_fields__}


def test_every_field_of_a_document_has_its_place() -> None:
    shown = " ".join(headings(page("mfc-dbus-routes.5")))
    for name in (*RouteEntry.__struct_fields__, *MembershipEntry.__struct_fields__):
        assert f"{name} ( " in shown
