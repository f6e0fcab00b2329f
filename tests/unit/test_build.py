"""What is built and installed is what the checkout has."""

import json
import sys
from importlib import metadata
from pathlib import Path

import mfc_dbus
from mfc_dbus.documents.entries import json_schema

TOP = Path(__file__).parents[2]
CHECKOUT = TOP / "mfc_dbus"
INSTALLED = Path(mfc_dbus.__file__).parent
SCHEMA = "mfc-dbus.schema.json"  # which the build makes


def content(package: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(package)): path.read_bytes()
        for path in package.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


def test_the_tests_import_the_installed_package() -> None:
    assert INSTALLED.is_relative_to(sys.prefix)


def test_meson_installs_every_file_of_the_package() -> None:
    checkout, installed = content(CHECKOUT), content(INSTALLED)
    del installed[SCHEMA]
    assert not checkout.keys() - installed.keys(), "not listed in meson.build"
    assert installed == checkout, "the installed package is stale: run the tests by 'make test'"


def test_the_programs_are_installed_and_lead_somewhere() -> None:
    programs = metadata.distribution("mfc-dbus").entry_points
    assert {program.name for program in programs} == {
        "mfc-dbus-applet",
        "mfc-dbus-cli",
        "mfc-dbus-dispatcher",
        "mfc-dbus-exporter",
        "mfc-dbusd",
    }
    for program in programs:
        assert callable(program.load())
        assert Path(sys.prefix, "bin", program.name).exists()


def test_the_schema_is_installed() -> None:
    assert json.loads((INSTALLED / SCHEMA).read_bytes()) == json.loads(json_schema())


def test_the_version_is_the_one_of_meson_build() -> None:
    assert f"version: '{metadata.version('mfc-dbus')}'" in (TOP / "meson.build").read_text()
