"""The modules of the Ansible collection, as Ansible starts them, against the real daemon."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lab.ansible import NAME, Ansible
from lab.bus import DAEMON, PrivateBus
from lab.cli import CLI
from lab.daemon import PROGRAMS

ROUTE = {"source": "10.1.0.10", "group": "239.1.1.1", "iif": "eth1", "oifs": ["eth2"]}
MORE = {**ROUTE, "oifs": ["eth2", "eth3"]}
ANY = {"group": "239.2.2.2", "iif": "eth1", "oifs": ["eth2"]}
TOML = '[[route]]\ngroup = "239.2.2.2"\niif = "eth1"\noifs = ["eth2"]\n'
NOTHING: dict[str, list[object]] = {"added": [], "changed": [], "deleted": []}
# What calls the service is its own command line, which other tests try with each of them.
pytestmark = [
    pytest.mark.parametrize("library", ["dbus_fast"], indirect=True),
    pytest.mark.parametrize("bus_program", [DAEMON], indirect=True),
]
Module = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def ansible(tmp_path_factory: pytest.TempPathFactory) -> Ansible:
    return Ansible(tmp_path_factory.mktemp("ansible"))


@pytest.fixture
def module(ansible: Ansible, cli: CLI, tmp_path: Path) -> Module:
    def run(name: str, *, check: bool = False, **arguments: object) -> dict[str, Any]:
        """Run a module, and return what it returns."""
        given = {"executable": str(PROGRAMS / "mfc-dbus-cli"), "_ansible_check_mode": check}
        file = tmp_path / "arguments.json"
        file.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": given | arguments}))
        done = subprocess.run(
            [sys.executable, "-m", f"ansible_collections.{NAME}.plugins.modules.{name}", str(file)],
            env=cli.environment | {"PYTHONPATH": str(ansible.collections)},
            capture_output=True,
            text=True,
        )
        result: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == bool(result.get("failed")), done.stderr
        assert "exception" not in result
        return result

    return run


def test_a_document_is_applied_once(module: Module, cli: CLI) -> None:
    document = {"route": [ROUTE, ANY]}
    would = module("multicast_routes", check=True, document=document)
    assert cli.json("show") == []
    first = module("multicast_routes", document=document)
    assert first["changed"]
    assert [entry["group"] for entry in first["difference"]["added"]] == ["239.1.1.1", "239.2.2.2"]
    assert would["difference"] == first["difference"]
    assert would["diff"] == first["diff"]
    again = module("multicast_routes", document=document)
    assert (again["changed"], again["difference"]) == (False, NOTHING)


def test_the_difference_has_a_line_for_each_value(module: Module) -> None:
    module("multicast_routes", document={"route": [ROUTE, ANY]})
    diff = module("multicast_routes", check=True, document={"route": [MORE]})["diff"]
    assert diff["before"].splitlines() == [
        '(*, 239.2.2.2) iif = "eth1"',
        '(*, 239.2.2.2) oifs = ["eth2"]',
        '(10.1.0.10, 239.1.1.1) iif = "eth1"',
        '(10.1.0.10, 239.1.1.1) oifs = ["eth2"]',
    ]
    assert diff["after"].splitlines() == [
        '(10.1.0.10, 239.1.1.1) iif = "eth1"',
        '(10.1.0.10, 239.1.1.1) oifs = ["eth2", "eth3"]',
    ]


def test_what_is_merged_deletes_nothing_and_what_is_absent_goes(module: Module, cli: CLI) -> None:
    module("multicast_routes", document={"route": [ROUTE]})
    merged = module("multicast_routes", document=TOML, state="merged", transient=True)
    assert [entry["group"] for entry in merged["difference"]["added"]] == ["239.2.2.2"]
    assert [route["persistent"] for route in cli.json("show", "-g", "239.2.2.2")] == [False]
    gone = module("multicast_routes", document=TOML, state="absent")
    assert [entry["group"] for entry in gone["difference"]["deleted"]] == ["239.2.2.2"]
    assert [route["group"] for route in cli.json("show")] == ["239.1.1.1"]
    assert not module("multicast_routes", document=TOML, state="absent")["changed"]


def test_what_was_there_is_kept_if_it_changes(module: Module, cli: CLI, tmp_path: Path) -> None:
    backups = tmp_path / "backups/routes"
    module("multicast_routes", document={"route": [ROUTE]})
    assert "backup_file" not in module(
        "multicast_routes", document={"route": [ROUTE]}, backup=str(backups)
    )
    changed = module("multicast_routes", document={"route": [MORE]}, backup=str(backups))
    (file,) = backups.iterdir()
    assert changed["backup_file"] == str(file)
    assert module("multicast_routes", document=file.read_text())["changed"]
    assert [route["oifs"] for route in cli.json("show")] == [["eth2"]]


def test_a_dry_run_leaves_no_backup_and_no_directory(module: Module, tmp_path: Path) -> None:
    backups = tmp_path / "backups"
    would = module("multicast_routes", check=True, document={"route": [ROUTE]}, backup=str(backups))
    assert would["changed"]
    assert not backups.exists()


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ('[[route]]\ngroup = "239.2.2.2"\niif = 7\n', "document:3: route[0].iif: "),
        ({"route": [{**ROUTE, "oifs": ["eth99"]}]}, "Interface 'eth99' not found"),
        ({"route": []}, "would delete all there are"),
        ({"rote": []}, "rote"),
    ],
)
def test_a_document_that_is_wrong_changes_nothing(
    module: Module, cli: CLI, document: object, sentence: str
) -> None:
    module("multicast_routes", document={"route": [ROUTE]})
    before = cli.json("show")
    for check in (True, False):
        refused = module("multicast_routes", check=check, document=document)
        assert refused["failed"]
        assert sentence in refused["msg"]
    assert cli.json("show") == before


def test_an_empty_document_deletes_all_if_that_is_meant(module: Module, cli: CLI) -> None:
    module("multicast_routes", document={"route": [ROUTE]})
    assert module("multicast_routes", document={}, empty=True)["changed"]
    assert cli.json("show") == []


def test_interfaces_are_waited_for_if_that_is_meant(module: Module, cli: CLI) -> None:
    document = {"route": [{**ROUTE, "iif": "eth99"}]}
    assert module("multicast_routes", document=document, wait=True)["changed"]
    assert [route["state"] for route in cli.json("show")] == ["waiting"]


def test_who_lacks_the_program_or_the_service_is_told(module: Module) -> None:
    absent = module("multicast_routes", document=TOML, executable="mfc-dbus-absent")
    assert absent["msg"] == "There is no mfc-dbus-absent on this host: is mfc-dbus installed?"
    facts = module("multicast_facts", executable="mfc-dbus-absent")["ansible_facts"]
    assert facts == {"multicast": {"installed": False}}


def test_a_service_that_does_not_run_is_told(module: Module, cli: CLI, own_bus: PrivateBus) -> None:
    cli.environment["DBUS_SYSTEM_BUS_ADDRESS"] = own_bus.address
    facts = module("multicast_facts")["ansible_facts"]["multicast"]
    assert facts["status"]["running"] is False
    assert "interfaces" not in facts
    refused = module("multicast_routes", document=TOML)
    assert refused["rc"] == 5
    assert refused["problems"][0]["error"]


def test_facts_have_what_was_asked_for(module: Module) -> None:
    module("multicast_routes", document={"route": [ROUTE]})
    facts = module("multicast_facts")["ansible_facts"]["multicast"]
    assert facts["status"]["routes"] == {"active": 1}
    assert {each["name"] for each in facts["interfaces"]} >= {"eth1", "eth2"}
    assert "routes" not in facts
    facts = module("multicast_facts", gather_subset=["routes"])["ansible_facts"]["multicast"]
    assert [route["group"] for route in facts["routes"]] == ["239.1.1.1"]


def test_files_are_checked_together_before_they_are_there(module: Module) -> None:
    fine = module("multicast_check", settings="tables = ['ipv4']", routes_d={"one": TOML})
    assert fine["problems"] == []
    refused = module(
        "multicast_check",
        settings="[limits]\nroutes = 'many'\n",
        routes_d={"one": TOML, "two": TOML},
        document="[[route]]\n",
    )
    files = dict.fromkeys(problem["file"] for problem in refused["problems"])
    assert [*files] == ["mfc-dbus.toml", "routes.d/two.toml", "document"]
    assert refused["msg"].startswith("mfc-dbus.toml:2: 'limits.routes' is not")
    outside = module("multicast_check", routes_d={"../mfc-dbus": ""})
    assert outside["msg"] == "'../mfc-dbus' is no name of a file in routes.d"
    data = module("multicast_check", routes_d={"one": {"route": [ANY]}})
    assert data["msg"] == "'one' of routes_d is no text"
