"""check: all that is wrong with files, told by file and line, with no service anywhere."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from mfc_dbus.cli import main
from mfc_dbus.cli.checking import Checker
from mfc_dbus.config import configuration

ROUTE = '[[route]]\ngroup = "{group}"\niif = "eth1"\noifs = ["eth2"]\n'
GOOD = ROUTE.format(group="239.1.1.1")
JSON = '{"route": [{"group": "239.1.1.1", "iif": "eth1", "oifs": []}]}'


def problems(*paths: Path) -> list[str]:
    checker = Checker()
    for path in paths:
        checker.check(str(path))
    return [str(problem) for problem in checker.problems]


def write(directory: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return directory


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("routes.toml", GOOD, []),
        ("routes.json", JSON, []),
        ("routes", JSON, []),
        ("mfc-dbus.toml", "[limits]\nroutes = 7\n", []),
        ("mfc-dbus.toml", "", []),
        ("smcroute.conf", "mroute from eth0 group 225.1.1.1 to eth1\n", []),
        ("routes.toml", "", [": It has no routes and no memberships: "]),
        ("routes.toml", "\n?\n", [":2: '?' is not TOML"]),
        ("routes.json", "{", [":1: This is not JSON"]),
        (
            "routes.toml",
            GOOD.replace("239", "10") + GOOD.replace("eth2", "a b"),
            [":1: route[0]: Group '10.1.1.1'", ":5: route[1]: 'a b'"],
        ),
        ("routes.json", JSON.replace("239", "10"), [": route[0]: Group '10.1.1.1'"]),
        (
            "mfc-dbus.toml",
            "tables = 4\n[limits]\nruotes = 7\n",
            [":1: 'tables' is not", ":3: 'limits.ruotes' is no setting"],
        ),
        (
            "smcroute.conf",
            "mgroup from eth0\nmroute from eth0 group 10.1.1.1 to eth1\n",
            [":1: mgroup from eth0: ", ":2: mroute from eth0 group 10.1.1.1 to eth1: "],
        ),
    ],
)
def test_each_problem_has_its_file_and_line(
    name: str, text: str, told: list[str], tmp_path: Path
) -> None:
    path = write(tmp_path, {name: text}) / name
    found = problems(path)
    assert len(found) == len(told)
    for problem, beginning in zip(found, told, strict=True):
        assert problem.startswith(f"{path}{beginning}")


DIRECTORIES: list[tuple[Mapping[str, str], list[str]]] = [
    ({"routes.d/a.toml": GOOD, "routes.d/b.toml": ROUTE.format(group="239.1.1.2")}, []),
    ({"routes.d/a.toml": GOOD, "routes.d/notes.txt": "?"}, []),
    ({"mfc-dbus.toml": "?", "routes.d/a.toml": "?"}, ["mfc-dbus.toml:1: ", "routes.d/a.toml:1: "]),
    (
        {"routes.d/a.toml": GOOD, "routes.d/b.toml": GOOD},
        ["routes.d/b.toml:1: route[0]: Route (*, 239.1.1.1) is in "],
    ),
    ({"routes.d/a.toml": ""}, ["routes.d/a.toml: It has no routes and no memberships: delete it"]),
    (
        {"routes.d/a.toml": f"{GOOD}table = 100\n"},
        ["routes.d/a.toml:1: route[0]: There is no table ipv4/100 in the configuration's"],
    ),
    (
        {
            "mfc-dbus.toml": 'tables = ["ipv4", "ipv4/100"]\n',
            "routes.d/a.toml": f"{GOOD}table = 100\n",
        },
        [],
    ),
]


@pytest.mark.parametrize(("files", "told"), DIRECTORIES)
def test_a_directory_is_checked_as_the_service_would_read_it(
    files: Mapping[str, str], told: list[str], tmp_path: Path
) -> None:
    found = problems(write(tmp_path, files))
    assert len(found) == len(told)
    for problem, beginning in zip(found, told, strict=True):
        assert problem.startswith(f"{tmp_path}/{beginning}")


@pytest.mark.parametrize("files", [files for files, _ in DIRECTORIES])
def test_what_the_service_finds_in_its_files_is_found_too(
    files: Mapping[str, str], tmp_path: Path
) -> None:
    found = {problem.replace(": line ", ":") for problem in problems(write(tmp_path, files))}
    loaded = configuration.load(tmp_path).problems
    assert {problem.replace(": line ", ":") for problem in loaded} <= found


def test_what_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "mfc-dbus.toml").write_bytes(b"#" * (1024 * 1024 + 1))
    (tmp_path / "odd.toml").write_bytes(b"\xff")
    found = problems(tmp_path / "mfc-dbus.toml", tmp_path / "none", tmp_path / "odd.toml")
    assert found == [
        f"{tmp_path}/mfc-dbus.toml: Is larger than 1 MiB",
        f"{tmp_path}/none: No such file or directory",
        f"{tmp_path}/odd.toml:1: This is not valid UTF-8",
    ]


def test_nothing_to_check_is_a_problem_but_for_the_services_own_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert problems(tmp_path) == [
        f"{tmp_path}: It has neither mfc-dbus.toml nor files routes.d/*.toml"
    ]
    checker = Checker()
    checker.check("")
    assert len(checker.problems) == 1
    for directory, status in ((tmp_path, 0), (tmp_path / "none", 0)):
        monkeypatch.setenv("CONFIGURATION_DIRECTORY", str(directory))
        assert main(["check"]) == status
    write(tmp_path, {"mfc-dbus.toml": "?"})
    monkeypatch.setenv("CONFIGURATION_DIRECTORY", str(tmp_path))
    assert main(["check"]) == 2


def test_a_path_that_cannot_be_looked_at_leaves_the_others_checked(tmp_path: Path) -> None:
    write(tmp_path, {"bad.toml": "?"})
    odd = tmp_path / ("x" * 300)
    found = problems(odd, odd / "mfc-dbus.toml", tmp_path / "bad.toml")
    assert found[:2] == [f"{odd}: File name too long", f"{odd}/mfc-dbus.toml: File name too long"]
    assert len(found) == 3


def test_problems_are_on_stderr_and_in_json_on_stdout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = (str(tmp_path / name) for name in ("good.toml", "bad.toml"))
    write(tmp_path, {"good.toml": GOOD, "bad.toml": "\n?\n"})
    assert main(["check", good]) == 0
    assert capsys.readouterr() == ("1 file in order\n", "")
    assert main(["check", good, bad]) == 2
    out, err = capsys.readouterr()
    assert (out, err.startswith(f"mfc-dbus-cli: {bad}:2: '?' is not TOML")) == ("", True)
    assert main(["--json", "check", good]) == 0
    assert capsys.readouterr() == ("[]\n", "")
    assert main(["--json", "check", good, bad]) == 2
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["file"], told["line"]) == (bad, 2)
