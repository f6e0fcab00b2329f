"""apply and export: documents by the command line, against the real daemon."""

import json
import subprocess
from pathlib import Path

import pytest
from lab.cli import CLI
from lab.daemon import PROGRAMS

ROUTES = """\
[[route]]
source = "10.1.0.10"
group = "239.1.1.1"
iif = "eth1"
oifs = ["eth2", "eth3"]
ttls = { eth3 = 16 }

[[route]]
group = "ff3e::2"
iif = "eth1"
oifs = ["eth2"]
comment = "the lobby's \\"screens\\""
persistent = false
"""
TOML = f"""\
{ROUTES}
[[membership]]
source = "10.1.0.10"
group = "232.1.1.1"
interface = "eth1"
comment = "channel 4"

[[membership]]
group = "ff3e::2"
interface = "eth1"
persistent = false
"""


def test_a_document_goes_in_and_comes_out_as_it_was(cli: CLI) -> None:
    cli.apply(TOML)
    assert cli("export").stdout == TOML
    assert cli.apply(cli("export").stdout) == ["0 added, 0 changed, 0 deleted"]
    assert cli.apply(cli("--json", "export").stdout) == ["0 added, 0 changed, 0 deleted"]


def test_what_changes_is_told_line_by_line(cli: CLI) -> None:
    first = [
        "+ 10.1.0.10 239.1.1.1 iif eth1 oifs eth2,eth3(ttl>16)",
        '+ * ff3e::2 iif eth1 oifs eth2 transient comment the lobby\'s "screens"',
        "+ 10.1.0.10 232.1.1.1 interface eth1 comment channel 4",
        "+ * ff3e::2 interface eth1 transient",
    ]
    assert cli.apply(TOML, "--dry-run") == [
        *first,
        "4 would be added, 0 would be changed, 0 would be deleted",
    ]
    assert cli.apply(TOML) == [*first, "4 added, 0 changed, 0 deleted"]
    other = '[[route]]\nsource="10.1.0.10"\ngroup="239.1.1.1"\niif="eth2"\noifs=["eth3"]\n'
    change = "~ 10.1.0.10 239.1.1.1 iif eth1 → eth2, oifs eth2,eth3(ttl>16) → eth3"
    assert cli.apply(other, "--merge", "--dry-run")[0] == change
    other += '[[membership]]\ngroup="ff3e::2"\ninterface="eth1"\ncomment="x"\n'
    assert cli.apply(other) == [
        change,
        "~ * ff3e::2 interface eth1 comment '' → 'x', persistent false → true",
        first[1].replace("+", "-"),
        first[2].replace("+", "-"),
        "0 added, 2 changed, 2 deleted",
    ]


def test_what_changes_is_told_in_json(cli: CLI) -> None:
    cli.apply(TOML)
    done = cli("--json", "apply", "-", "--empty", given="")
    told = json.loads(done.stdout)
    assert [len(told[name]) for name in ("added", "changed", "deleted")] == [0, 0, 4]
    assert told["deleted"][0]["ttls"] == {"eth3": 16}
    assert [each["interface"] for each in told["deleted"] if "interface" in each] == ["eth1"] * 2


def test_a_document_can_be_for_this_boot_and_for_an_interface_and_be_taken_away(cli: CLI) -> None:
    document = """\
[[route]]
group = "239.5.5.5"
iif = "${INTERFACE}"
oifs = ["eth2", "eth3"]
[[route]]
source = "fd00::1"
group = "ff3e::5"
iif = "eth3"
oifs = ["${INTERFACE}"]
[[route]]
group = "239.6.6.6"
iif = "eth3"
oifs = ["${INTERFACE}"]
ttls = { "${INTERFACE}" = 9 }
[[membership]]
group = "239.5.5.0/31"
interface = "${INTERFACE}"
"""
    given = ("--transient", "--merge", "--interface", "eth1")
    cli.apply(ROUTES)
    added = [
        "+ * 239.5.5.5 iif eth1 oifs eth2,eth3 transient",
        "+ fd00::1 ff3e::5 iif eth3 oifs eth1 transient",
        "+ * 239.6.6.6 iif eth3 oifs eth1(ttl>9) transient",
        "+ * 239.5.5.0 interface eth1 transient",
        "+ * 239.5.5.1 interface eth1 transient",
    ]
    assert cli.apply(document, *given) == [*added, "5 added, 0 changed, 0 deleted"]
    assert cli.apply(document, *given) == ["0 added, 0 changed, 0 deleted"]
    removing = ("--remove", "--interface", "eth1")
    gone = {line.replace("+", "-") for line in added}
    *told, counts = cli.apply(document, *removing, "--dry-run")
    assert (set(told), counts) == (gone, "0 would be added, 0 would be changed, 5 would be deleted")
    *told, counts = cli.apply(document, *removing)
    assert (set(told), counts) == (gone, "0 added, 0 changed, 5 deleted")
    assert cli("export").stdout == ROUTES
    assert cli.apply(document, *removing) == ["0 added, 0 changed, 0 deleted"]


def test_what_is_there_already_stays_as_long_as_it_did(cli: CLI, tmp_path: Path) -> None:
    """A document of this boot takes away only what it has made."""
    document = f'{TOML}\n[[route]]\ngroup = "239.9.9.9"\niif = "eth1"\noifs = ["eth2"]\n'
    cli.apply(ROUTES.split("\n\n", maxsplit=1)[0])
    lines = cli.apply(document, "--transient", "--merge")
    assert [line.split()[2] for line in lines[:-1]] == [
        "ff3e::2",
        "239.9.9.9",
        "232.1.1.1",
        "ff3e::2",
    ]
    assert lines[-1] == "4 added, 0 changed, 0 deleted"
    assert cli("export").stdout.count("persistent = false") == 4
    assert cli.apply(document, "--transient") == ["0 added, 0 changed, 0 deleted"]
    cli("mfc", "change", "-g", "239.9.9.9", "--persistent")
    assert cli.apply(document, "--remove", "--transient")[-1] == "0 added, 0 changed, 3 deleted"
    assert [each["group"] for each in cli.json("show")] == ["239.1.1.1", "239.9.9.9"]
    assert cli.apply(document, "--remove")[-1] == "0 added, 0 changed, 2 deleted"


NEW = '[[route]]\ngroup = "239.9.9.9"\niif = "eth1"\noifs = ["eth2"]\n'


def test_another_document_keeps_what_it_names_too(cli: CLI, tmp_path: Path) -> None:
    one, other = tmp_path / "one.toml", tmp_path / "other.json"
    text = '[[route]]\nsource = "10.1.0.10"\ngroup = "239.5.5.{}"\niif = "{}"\noifs = ["eth3"]\n'
    template = text.format(1, "${INTERFACE}") + text.format(2, "${INTERFACE}")
    join = '[[membership]]\ngroup = "239.5.5.0/31"\ninterface = "eth1"\n'
    applying = ("--transient", "--merge", "--interface")
    cli.apply(text.format(3, "eth1") + join + template, *applying, "eth2", "--copy", str(other))
    cli.apply(text.format(4, "eth1") + join + template, *applying, "eth1", "--copy", str(one))
    done = cli("apply", str(one), "--copy", str(one))
    assert (done.returncode, "File exists" in done.stderr) == (1, True)
    cli("mfc", "del", "-s", "10.1.0.10", "-g", "239.5.5.2")
    done = cli("apply", str(one), "--remove", "--transient", "--keep", str(other))
    assert done.stdout.splitlines() == [
        "~ 10.1.0.10 239.5.5.1 iif eth1 → eth2",
        "- 10.1.0.10 239.5.5.4 iif eth1 oifs eth3 transient",
        "0 added, 1 changed, 1 deleted",
    ]
    assert {each["group"]: each["iif"] for each in cli.json("show")} == {
        "239.5.5.1": "eth2",
        "239.5.5.3": "eth1",
    }
    assert len(cli.json("show", "memberships")) == 2
    one.write_text("[[route]]\niif = 3\n")
    done = cli("apply", str(other), "--remove", "--keep", str(one))
    assert done.returncode == 2
    assert f"mfc-dbus-cli: {one}:2: route[0].iif: 3 is not a string" in done.stderr
    assert cli("apply", str(other), "--remove").stdout.endswith("0 added, 0 changed, 4 deleted\n")


@pytest.mark.parametrize(
    ("options", "status", "sentence"),
    [
        (["--interface", "eth2"], 2, "1: route[0]: Interface 'eth2' is both the iif and an oif"),
        (["--interface", "a b"], 2, "--interface: 'a b' is not an interface name"),
        (["--interface", "eth*"], 2, "--interface: 'eth*' is a pattern, and here one interface is"),
        (["--interface", "eth77"], 6, "1: route[0]: Interface 'eth77' not found"),
        ([], 2, "1: route[0]: '${INTERFACE}' is to be filled in: --interface says by what"),
        (["--remove", "--merge"], 2, "not allowed with argument --remove"),
        (["--remove", "--wait"], 2, "--wait says nothing about what --remove takes away"),
        (["--remove", "--copy", "x"], 2, "--copy says nothing about what --remove takes away"),
        (["--keep", "x"], 2, "--keep says what --remove leaves, and without it nothing"),
        (["--remove", "--keep", "/nowhere"], 1, "/nowhere: No such file or directory"),
    ],
)
def test_an_interface_that_does_not_fit_is_told(
    cli: CLI, options: list[str], status: int, sentence: str
) -> None:
    document = '[[route]]\ngroup = "239.5.5.5"\niif = "${INTERFACE}"\noifs = ["eth2"]\n'
    done = cli("apply", "-", *options, given=document)
    assert done.returncode == status
    assert sentence in done.stderr
    assert cli("export").stdout == ""


@pytest.mark.parametrize(
    ("route", "sentence"),
    [
        (
            'iif = "eth1"\noifs = ["${INTERFACE}.7"]',
            "'${INTERFACE}.7' is none: '${INTERFACE}' stands",
        ),
        (
            'iif = "eth1"\noifs = ["eth2", "${INTERFACE}"]\nttls = {eth2 = 3, "${INTERFACE}" = 5}',
            "'eth2' has two thresholds: its own and that of '${INTERFACE}'",
        ),
    ],
)
def test_what_cannot_be_filled_in_is_refused(cli: CLI, route: str, sentence: str) -> None:
    document = f'[[route]]\ngroup = "239.5.5.5"\n{route}\n'
    done = cli("apply", "-", "--interface", "eth2", given=document)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"mfc-dbus-cli: stdin:1: route[0]: {sentence}" in done.stderr
    assert cli("export").stdout == ""


def test_what_is_there_to_last_is_not_replaced_by_what_is_not(cli: CLI) -> None:
    routes, memberships = ROUTES.split("\n\n", maxsplit=1)[0], TOML.split("[[membership]]")[1:]
    joins = "".join(f"[[membership]]{each}" for each in memberships)
    cli.apply(routes + "\n" + joins)
    before = cli("export").stdout
    commented = joins.replace("channel 4", "another")
    assert cli.apply(commented, "--merge", "--transient") == ["0 added, 0 changed, 0 deleted"]
    other = routes.replace("eth3 = 16", "eth3 = 17")
    for more in ([], ["--dry-run"]):
        done = cli("apply", "-", "--merge", "--transient", *more, given=other + "\n" + NEW)
        assert (done.returncode, done.stdout) == (7, "")
        assert ":1: route[0]: Route (10.1.0.10, 239.1.1.1) is persistent and another" in done.stderr
    assert cli("export").stdout == before
    assert cli.apply(other, "--merge")[-1] == "0 added, 1 changed, 0 deleted"


def test_what_changed_nothing_leaves_no_files(cli: CLI, tmp_path: Path) -> None:
    copy, backup = tmp_path / "copy.toml", tmp_path / "backup.toml"
    cli.apply(NEW)
    files = ("--copy", str(copy), "--backup", str(backup))
    done = cli("apply", "-", *files, given=NEW.replace("eth1", "eth77"))
    assert (done.returncode, [*tmp_path.iterdir()]) == (6, [])
    backup.write_text("of before\n")
    done = cli("apply", "-", *files, given=NEW.replace("eth2", "eth3"))
    assert (done.returncode, copy.exists(), backup.read_text()) == (1, False, "of before\n")
    backup.unlink()
    cli.apply(NEW.replace("eth2", "eth3"), *files)
    assert copy.exists()
    assert backup.exists()


@pytest.mark.parametrize(
    ("document", "status", "lines"),
    [
        (
            ROUTES.replace('"eth1"', "1") + "x = 3\n",
            2,
            [
                '4: route[0].iif: 1 is not a string, such as "eth1"',
                "14: route[1].x: is not known; there are source, group, iif, oifs, ttls, "
                "comment, persistent",
                '10: route[1].iif: 1 is not a string, such as "eth1"',
            ],
        ),
        (ROUTES.replace('"eth1"', '"eth77"'), 6, ["1: route[0]: Interface 'eth77' not found"]),
        (
            '[[membership]]\ngroup = "239.1.1.1"\ninterface = "eth77"\n',
            6,
            ["1: membership[0]: Interface 'eth77' not found"],
        ),
        ("[[route]\n", 2, ["1: '[[route]' is not TOML: Expected ']]' at the end of an array"]),
        (
            '[[membership]]\ngroup = "ff3e::1"\ninterface = "eth1"\n'
            '[[membership]]\ngroup = "239.1.1.0/30"\ninterface = "eth77"\n',
            6,
            ["4: membership[1]: Interface 'eth77' not found"],
        ),
        ('{"route": [{}]}', 2, [' route[0].group: is missing: write "group": "239.10.20.30"']),
        ('\ufeff{"route": {}}', 2, [' route: {} is not an array: write "route": [{...}]']),
        ("\n{", 2, ["2: This is not JSON: Expecting property name enclosed in double quotes"]),
        (
            '[route]\ngroup = "239.1.1.1"\n',
            2,
            ['1: route: { group = "239.1.1.1" } is not an array: write [[route]], with two'],
        ),
    ],
)
def test_what_is_wrong_is_told_with_file_and_line(
    document: str, status: int, lines: list[str], cli: CLI, tmp_path: Path
) -> None:
    path = tmp_path / "routes.toml"
    path.write_text(document)
    done = cli("apply", str(path))
    assert done.returncode == status
    told = done.stderr.splitlines()
    assert len(told) >= len(lines)
    for line, expected in zip(told, lines, strict=False):
        assert line.startswith(f"mfc-dbus-cli: {path}:{expected}")
    assert cli("export").stdout == ""


def test_what_smcroute_joins_is_imported_and_applied(cli: CLI) -> None:
    conf = "mgroup from eth1 group 232.1.1.0/31 source 10.1.0.10\n"
    conf += "mroute from eth1 group 225.1.1.1 to eth2\n"
    document = cli("import", "-", given=conf).stdout
    assert cli.apply(document)[-1] == "3 added, 0 changed, 0 deleted"
    shown = cli("show", "memberships").stdout.splitlines()
    assert [line.split()[:4] for line in shown[1:]] == [
        ["10.1.0.10", f"232.1.1.{n}", "eth1", "joined"] for n in range(2)
    ]
    assert cli.apply(document) == ["0 added, 0 changed, 0 deleted"]


@pytest.mark.parametrize("document", ["", "# nothing\n", "{}", '{"route": []}', "\ufeff"])
def test_a_document_without_entries_is_refused_unless_it_is_said_to_be_empty(
    document: str, cli: CLI
) -> None:
    cli.apply(TOML)
    for words in ([], ["--dry-run"]):
        done = cli("apply", "-", *words, given=document)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            "mfc-dbus-cli: stdin: It has no routes and no memberships, and would delete all there "
            "are: with --empty it does\n"
        )
    assert cli("export").stdout == TOML
    assert cli.apply(document, "--merge") == ["0 added, 0 changed, 0 deleted"]
    assert cli.apply(document, "--empty")[-1] == "0 added, 0 changed, 4 deleted"


def test_an_import_that_failed_deletes_nothing(cli: CLI, tmp_path: Path) -> None:
    cli.apply(TOML)
    program = PROGRAMS / "mfc-dbus-cli"
    done = subprocess.run(
        f"{program} import {tmp_path}/wrong-name | {program} apply -",
        shell=True,
        env=cli.environment,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert sorted(line.split(": ")[1] for line in done.stderr.splitlines()) == [
        str(tmp_path / "wrong-name"),
        "stdin",
    ]
    assert cli("export").stdout == TOML


def test_a_membership_of_a_prefix_is_that_of_each_group(cli: CLI) -> None:
    document = '[[membership]]\ngroup = "239.1.1.0/30"\ninterface = "eth1"\ncomment = "x"\n'
    lines = [f"* 239.1.1.{n} interface eth1 comment x" for n in range(4)]
    assert cli.apply(document) == [f"+ {line}" for line in lines] + [
        "4 added, 0 changed, 0 deleted"
    ]
    assert cli.apply(document) == ["0 added, 0 changed, 0 deleted"]
    assert cli.apply(document.replace("/30", "/31").replace("x", "y")) == [
        *[f"~ * 239.1.1.{n} interface eth1 comment 'x' → 'y'" for n in range(2)],
        *[f"- {line}" for line in lines[2:]],
        "0 added, 2 changed, 2 deleted",
    ]


def test_a_file_that_is_not_there_fails(cli: CLI) -> None:
    done = cli("apply", "/nowhere/routes.toml")
    assert done.returncode == 1
    assert done.stderr == "mfc-dbus-cli: /nowhere/routes.toml: No such file or directory\n"


def test_what_was_before_is_written_to_a_new_file_and_goes_back(cli: CLI, tmp_path: Path) -> None:
    cli.apply(TOML)
    before = cli("export").stdout
    for name in ("old.toml", "old.json"):
        backup = tmp_path / name
        cli.apply("", "--empty", "--dry-run", "--backup", str(backup))
        assert not backup.exists()
        cli.apply("", "--empty", "--backup", str(backup))
        assert cli("export").stdout != before
        done = cli("apply", "-", "--backup", str(backup), given=TOML)
        assert (done.returncode, done.stdout) == (1, "")
        assert str(backup) in done.stderr
        assert "exists" in done.stderr
        assert cli("apply", str(backup)).returncode == 0
        assert cli("export").stdout == before


def test_what_is_too_much_for_the_history_is_told_with_the_way_back(
    cli: CLI, tmp_path: Path
) -> None:
    entry = '[[route]]\ngroup = "239.1.{}.{}"\niif = "eth1"\noifs = ["eth2"]\n'
    document = "".join(entry.format(n >> 8, n & 255) for n in range(1001))
    done = cli("apply", "-", given=document)
    assert done.returncode == 0
    assert "--backup FILE keeps" in done.stderr
    refused = cli("undo")
    assert "as of all changes of more than 1000" in refused.stderr
    assert "apply --backup" in refused.stderr
    done = cli("apply", "-", "--empty", "--backup", str(tmp_path / "old.toml"))
    assert (done.returncode, done.stderr) == (0, "")
    assert cli("apply", str(tmp_path / "old.toml")).stdout.endswith(
        "1001 added, 0 changed, 0 deleted\n"
    )
