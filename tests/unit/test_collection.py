"""The Ansible collection: what it offers is documented, and it is installed as it is here."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab.ansible import COLLECTION, NAME, Ansible

TOP = Path(__file__).parents[2]
PLUGINS = sorted(COLLECTION.glob("plugins/**/*.py"))
MODULES = sorted(COLLECTION.glob("plugins/modules/*.py"))
SPECS = COLLECTION / "roles/mfc_dbus/meta/argument_specs.yml"


@pytest.fixture(scope="module")
def ansible(tmp_path_factory: pytest.TempPathFactory) -> Ansible:
    return Ansible(tmp_path_factory.mktemp("ansible"))


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


@pytest.mark.slow
def test_ansible_can_show_what_is_documented(ansible: Ansible) -> None:
    names = [f"{NAME}.{path.stem}" for path in MODULES]
    shown = json.loads(ansible.run("ansible-doc", "--json", *names).stdout)
    assert [*shown] == names
    for each in shown.values():
        assert all(each[part] for part in ("doc", "examples", "return"))
    role = json.loads(ansible.run("ansible-doc", "--json", "-t", "role", f"{NAME}.mfc_dbus").stdout)
    assert role[f"{NAME}.mfc_dbus"]["entry_points"].keys() == {"main", "check"}


@pytest.mark.slow
@pytest.mark.parametrize("playbook", ["deploy", "flows"])
def test_a_playbook_is_one(ansible: Ansible, playbook: str) -> None:
    ansible.run("ansible-playbook", "--syntax-check", f"{NAME}.{playbook}")


def test_the_role_says_what_its_variables_are_without_being_told() -> None:
    options = read(SPECS)["argument_specs"]["main"]["options"]
    said = {name: option["default"] for name, option in options.items() if "default" in option}
    assert said == read(COLLECTION / "roles/mfc_dbus/defaults/main.yml")
    assert options.keys() - said.keys() == {"mfc_dbus_document", "mfc_dbus_settings"}
    assert read(SPECS)["argument_specs"]["check"]["options"] == options


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.stem)
def test_what_runs_on_a_router_is_for_python_3_9(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 9))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_documents_what_it_takes(path: Path) -> None:
    tree = ast.parse(path.read_text())
    (text,) = re.findall('DOCUMENTATION = r"""\n(.*?)"""', path.read_text(), re.DOTALL)
    (spec,) = (
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "argument_spec"
    )
    assert isinstance(spec, ast.Dict)
    taken = {ast.literal_eval(key) for key in spec.keys if key is not None}
    documented = yaml.safe_load(text)["options"].keys()
    shared = {"executable", "transient", "wait", "empty"}  # of ARGUMENTS and of flags
    assert documented - shared == taken


def test_meson_installs_every_file_of_it() -> None:
    files = {str(path.relative_to(TOP)) for path in COLLECTION.rglob("*") if path.is_file()}
    listed = re.findall(r"'(data/ansible/.+)'", (TOP / "meson.build").read_text())
    assert sorted(listed) == sorted(name for name in files if "__pycache__" not in name)


def test_its_version_is_that_of_the_package() -> None:
    version = read(COLLECTION / "galaxy.yml")["version"]
    assert f"version: '{version}'" in (TOP / "meson.build").read_text()
