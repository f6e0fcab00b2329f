"""smcroute.conf becomes a document, and what cannot is named."""

import os
import re
from pathlib import Path

import pytest

from mfc_dbus.cli import main
from mfc_dbus.config import settings
from mfc_dbus.config.settings import Settings
from mfc_dbus.documents import document, smcroute, text_files
from mfc_dbus.documents.entries import MembershipEntry, RouteEntry, to_entry
from mfc_dbus.documents.smcroute import Imported

CONF = """\
# interfaces first
phyint eth0 enable ttl-threshold 11
phyint eth1 enable
phyint eth9 disable

mgroup from eth0                     group 225.1.2.3   # any sender
mgroup from eth0 source 192.168.1.42 group 232.1.2.0/31
mroute from eth1 source 192.168.1.42 group 225.1.2.3 to eth0 eth2
mroute from eth0 source 0.0.0.0 group 225.3.2.1 to eth1
mroute from eth1 source fd00::1 group ff05::1 to eth0
mroute from eth+ group 225.3.2.2 to br0
"""


def told(imported: Imported) -> list[str]:
    """What is said of lines that are left out."""
    return [*map(str, imported.left_out)]


def test_what_smcroute_routes_and_joins_is_carried_over() -> None:
    imported = smcroute.read("smcroute.conf", CONF)
    assert imported.left_out == []
    assert imported.routes == [
        RouteEntry(
            source="192.168.1.42",
            group="225.1.2.3",
            iif="eth1",
            oifs=["eth0", "eth2"],
            ttls={"eth0": 11},
        ),
        RouteEntry(group="225.3.2.1", iif="eth0", oifs=["eth1"]),
        RouteEntry(source="fd00::1", group="ff05::1", iif="eth1", oifs=["eth0"]),
        RouteEntry(group="225.3.2.2", iif="et[h]", oifs=["br0"]),
        RouteEntry(group="225.3.2.2", iif="eth[!9]*", oifs=["br0"]),
        RouteEntry(group="225.3.2.2", iif="eth9?*", oifs=["br0"]),
    ]
    assert imported.memberships == [
        MembershipEntry(group="225.1.2.3", interface="eth0"),
        MembershipEntry(group="232.1.2.0/31", source="192.168.1.42", interface="eth0"),
    ]
    read = document.from_toml(document.to_toml(imported.routes, imported.memberships))
    assert (len(read.routes), len(read.memberships)) == (6, 3)


def test_a_group_that_is_joined_twice_is_one_membership() -> None:
    lines = "mgroup from eth0 group 232.1.2.2/30\nmgroup from eth0 group 232.1.2.3\n"
    assert joined(lines) == ["232.1.2.0/30"]
    lines = "mgroup from eth0 group 232.1.2.3\nmgroup from eth0 group 232.1.2.2/30\n"
    assert joined(lines) == [f"232.1.2.{n}" for n in (3, 0, 1, 2)]


def test_more_groups_than_an_entry_joins_are_several_entries() -> None:
    assert joined("mgroup from eth0 group 239.1.0.0/21") == ["239.1.0.0/22", "239.1.4.0/22"]


def joined(lines: str) -> list[str]:
    imported = smcroute.read("s.conf", lines)
    assert imported.left_out == []
    document.from_toml(document.to_toml([], imported.memberships))
    return [each.group for each in imported.memberships]


def routes(lines: str) -> list[RouteEntry]:
    """The routes of lines of which all is carried over."""
    imported = smcroute.read("s.conf", lines)
    assert imported.left_out == []
    read = document.from_toml(document.to_toml(imported.routes))
    assert [to_entry(route) for route in read.routes] == imported.routes
    return imported.routes


def oifs(lines: str) -> dict[str, int]:
    (route,) = routes(lines)
    return {name: route.ttls.get(name, 1) for name in route.oifs}


def test_lines_of_one_source_group_and_iif_are_one_route() -> None:
    lines = """\
mroute from eth0 source 10.0.0.1 group 225.1.1.1 to eth1
mroute from eth0 group 225.1.1.1/30 to eth1
mroute from eth0 source 10.0.0.1 group 225.1.1.1 to eth2 eth1
mroute from eth0 source 0.0.0.0 group 225.1.1.3/30 to eth3
mroute from eth0 source 10.0.0.1 group 225.1.1.1 to eth2 eth1
"""
    assert routes(lines) == [
        RouteEntry(source="10.0.0.1", group="225.1.1.1", iif="eth0", oifs=["eth1", "eth2"]),
        RouteEntry(group="225.1.1.0/30", iif="eth0", oifs=["eth1", "eth3"]),
    ]


def test_a_route_of_an_iif_has_the_oifs_of_its_pattern_too() -> None:
    lines = """\
mroute from eth+ group 225.1.1.0/30 to br0
mroute from eth0 group 225.1.1.0/30 to br1
mroute from e+ group 225.1.1.4/30 to br0
mroute from et+ group 225.1.1.4/30 to br1
"""
    assert [(each.group, each.iif, each.oifs) for each in routes(lines)] == [
        ("225.1.1.0/30", "eth*", ["br0"]),
        ("225.1.1.0/30", "eth0", ["br0", "br1"]),
        ("225.1.1.4/30", "e*", ["br0"]),
        ("225.1.1.4/30", "et*", ["br0", "br1"]),
    ]


def test_of_one_source_and_group_the_last_iif_counts() -> None:
    lines = """\
mroute from eth0 source 10.0.0.1 group 225.1.1.1 to eth1
mroute from eth2 source 10.0.0.1 group 225.1.1.1 to eth3
"""
    imported = smcroute.read("s.conf", lines)
    assert [(each.iif, each.oifs) for each in imported.routes] == [("eth2", ["eth3"])]
    (left,) = told(imported)
    assert left.endswith("of one source and one group the last iif counts, that of s.conf:2")


def test_a_range_that_a_wider_one_before_it_covers_is_never_taken() -> None:
    wide, narrow = (
        "mroute from eth+ group 225.1.0.0/16 to br0\n",
        "mroute from eth0 source 10.0.0.0/8 group 225.1.1.0/24 to br1\n",
    )
    assert len(routes(narrow + wide)) == 2
    imported = smcroute.read("s.conf", wide + narrow)
    assert [each.group for each in imported.routes] == ["225.1.0.0/16"]
    (left,) = told(imported)
    assert left.endswith(": smcroute takes that of s.conf:1 instead, which is wider")
    imported = smcroute.read("s.conf", wide.replace("eth+", "eth0") + narrow.replace("eth0", "e+"))
    assert len(imported.routes) == 2
    (left,) = told(imported)
    assert left.endswith(": smcroute takes that of s.conf:1 for 'eth0'")
    one = "mroute from eth0 source 10.0.0.1 group 225.1.1.1 to br1\n"
    assert len(routes(wide + one)) == 2


def test_a_route_with_no_oif_stops_what_it_is_for() -> None:
    for line in ("mroute from eth0 group 225.1.1.1", "mroute from eth0 group 225.1.1.1 to # eth1"):
        assert routes(line) == [RouteEntry(group="225.1.1.1", iif="eth0", oifs=[])]


ROUTE = "mroute from eth0 source 10.0.0.1 group 225.1.1.1 to"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        # The last line on an interface counts, and clears what it leaves out.
        (f"phyint eth1 ttl-threshold 5\nphyint eth1\n{ROUTE} eth1", {"eth1": 1}),
        (f"phyint eth1 disable\nphyint eth1 enable\n{ROUTE} eth1", {"eth1": 1}),
        (f"phyint eth1 ttl-threshold 5\nphyint eth+ enabled\n{ROUTE} eth1", {"eth1": 1}),
        (f"phyint eth+ ttl-threshold 5\n{ROUTE} eth1 br0", {"eth1": 5, "br0": 1}),
        (f"phyint eth1 disable\n{ROUTE} eth1 eth2", {"eth2": 1}),
        # What no packet passes is no oif; no threshold at all is 1.
        (f"phyint eth1 ttl-threshold 255\n{ROUTE} eth1 eth2", {"eth2": 1}),
        # A threshold is that of before the line, a VIF that goes afterwards has gone.
        (f"{ROUTE} eth1 eth2\nphyint eth1 ttl-threshold 9\nphyint eth2 disable", {"eth1": 1}),
        (f"{ROUTE} eth1\nphyint eth+ ttl-threshold 9\n{ROUTE} eth2", {"eth1": 1, "eth2": 9}),
        (f"{ROUTE} eth1\nphyint eth+ ttl-threshold 9\n{ROUTE} eth1", {"eth1": 9}),
        # Patterns, also for interfaces that come later.
        (f"{ROUTE} br+", {"br*": 1}),
        (
            f"phyint br1 enable ttl-threshold 11\nphyint br2 disable\n{ROUTE} br+",
            {"br[1]": 11, "b[r]": 1, "br[!2]*": 1, "br2?*": 1},
        ),
        (f"phyint br1 ttl-threshold 11\n{ROUTE} br1 br+", {"br1": 11, "br*": 1}),
        (f"phyint br+ disable\nphyint br1 enable\n{ROUTE} br+", {"br[1]": 1}),
        (f"phyint br1+ ttl-threshold 7\n{ROUTE} br+", {"br1*": 7, "br*": 1}),
        (
            f"phyint br1+ disable\nphyint br12 enable\n{ROUTE} br+",
            {"br[12]"[:2] + "1[2]": 1, "b[r]": 1, "br[!1]*": 1},
        ),
        (f"phyint br- disable\nphyint br] disable\n{ROUTE} br+", None),
        (f"{ROUTE} eth[0]*", {"eth[[]0][*]": 1}),
    ],
)
def test_what_was_said_of_interfaces_holds_for_the_oifs(
    lines: str, expected: dict[str, int] | None
) -> None:
    found = oifs(lines)
    assert found == (expected or {"b[r]": 1, "br[!]-]*": 1, "br-?*": 1, "br]?*": 1})


def test_ipv6_knows_no_threshold() -> None:
    lines = "phyint eth1 ttl-threshold 255\nphyint eth2 ttl-threshold 5\n"
    lines += "mroute from eth0 source fd00::1 group ff3e::1 to eth1 eth2\n"
    assert oifs(lines) == {"eth1": 1, "eth2": 1}


@pytest.mark.parametrize(
    ("line", "hairpin"),
    [
        ("mroute from eth0 group 225.1.1.1 to eth1 eth0", True),
        ("mroute from eth0 group 225.1.1.1 to eth+", True),
        ("mroute from eth+ group 225.1.1.1 to eth1", True),
        ("mroute from eth+ group 225.1.1.1 to e+", True),
        ("mroute from eth+ group 225.1.1.1 to br+", False),
        ("mroute from eth0 group 225.1.1.1 to eth1", False),
        ("phyint eth0 ttl-threshold 255\nmroute from eth0 group 225.1.1.1 to eth+", False),
    ],
)
def test_an_iif_among_the_oifs_is_carried(line: str, hairpin: bool) -> None:
    (route,) = routes(line)
    assert route.hairpin == hairpin


def test_of_iifs_those_that_are_disabled_are_left_out() -> None:
    lines = "phyint eth2 disable\nmroute from eth+ group 225.1.1.0/24 to br0\n"
    assert [each.iif for each in routes(lines)] == ["et[h]", "eth[!2]*", "eth2?*"]


def test_words_and_comments_are_found_as_smcroute_finds_them(tmp_path: Path) -> None:
    path = tmp_path / "smcroute.conf"
    line = "mrouted\v from eth0\tsources 10.0.0.1 groups 225.1.1.1 to a#b\r\n"
    path.write_bytes(b"# \xff\xfe\x85 \x1c mroute\n" + line.encode() + b"  #mroute\xc2\xa0x\n")
    text = path.read_bytes().decode(errors="replace")
    assert [each.oifs for each in routes(text)] == [["a#b"]]


MANY = " ".join(f"y{number}" for number in range(40))


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("mroute from eth0 group 1.1.1.1 to eth1", "Group '1.1.1.1' is not a multicast address"),
        ("mroute from eth0 group 224.0.0.5 to eth1", "Group '224.0.0.5' is link-local"),
        ("mroute from eth0 group 225.1.1.1 to " + MANY, "A route has at most 31 oifs"),
        (
            "mroute from eth0 source * group 225.1.1.1 to eth1",
            "Source '*' is no address and no pre",
        ),
        ("mroute from a/b group 225.1.1.1 to eth1", "'a/b' is not an interface name"),
        (
            "phyint eth1 disable\nmroute from eth+ source 10.0.0.1 group 225.1.1.1 to br0",
            "some of 'eth+' are disabled, and a route of one source and one group has one iif",
        ),
        ("phyint eth1 disable\nmroute from eth1 group 225.1.1.1 to eth0", "'eth1' is disabled"),
        ("phyint eth0 enable mrdisc", 'write interfaces = ["eth0"] under [router_disc'),
        ("phyint eth0 fast", "smcroute does not understand 'fast' either"),
        ("phyint", "it names no interface"),
        ("mroute group 225.1.1.1 to eth1", "'from' is missing"),
        (
            "mroute from eth0 eth1 group 225.1.1.1 to eth1",
            "smcroute does not understand 'eth1' either",
        ),
        ("mroute eth0 225.1.1.1 eth1", "'from' is missing"),
        ("mgroup from eth+ group 225.1.1.1", "and 'eth+' of many"),
        ("mgroup from eth0 group 225.0.0.0/8", "stands for more than 4096 memberships"),
        ("mgroup from eth0 group 225.0.0.0/x", "Group '225.0.0.0/x' is no address and no prefix"),
        ("mgroup from eth0 group 10.0.0.1", "Group '10.0.0.1' is not a multicast address"),
        ("route add default", "there is no directive 'route'"),
        ("include /nowhere/x.conf", "there is no file '/nowhere/x.conf'"),
        ("include", "an include names one file or pattern"),
    ],
)
def test_what_cannot_be_carried_over_is_named_with_its_line(line: str, sentence: str) -> None:
    (left,) = told(smcroute.read("s.conf", f"# {line}\n{line}\n"))
    assert left.startswith(f"s.conf:{2 + line.count(chr(10)) * 2}: {line.splitlines()[-1]}: ")
    assert sentence in left


def test_what_is_a_setting_is_said_as_it_is_to_be_written(tmp_path: Path) -> None:
    lines = "phyint eth0 mrdisc\nphyint lan+ enable mrdisc ttl-threshold 2\nphyint eth0 mrdisc\n"
    *_, sentence = told(smcroute.read("s.conf", lines))
    written = re.search(r"write (.*) under (.*) in (.*)", sentence)
    assert written
    setting, table, file = written.groups()
    (tmp_path / file).write_text(f"{table}\n{setting}\n")
    assert settings.load(tmp_path) == Settings(router_discovery_interfaces=("eth0", "lan*"))


def test_included_files_are_read_in_order_and_not_for_ever(tmp_path: Path) -> None:
    (tmp_path / "b.conf").write_text("mroute from eth0 group 225.1.1.2 to eth1\n")
    (tmp_path / "a.conf").write_text("phyint eth1 enable ttl-threshold 3\ninclude s.txt\n")
    (tmp_path / "s.txt").write_text("include s.txt\nbad\n")
    imported = smcroute.read(str(tmp_path / "main"), "include *.conf\n")
    assert imported.routes[0].ttls == {"eth1": 3}
    bad = f"{tmp_path / 's.txt'}:2: bad: there is no directive 'bad'"
    assert told(imported) == [bad]


def test_an_include_reads_files_alone_and_no_more_than_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zero").symlink_to("/dev/zero")
    left = told(smcroute.read(str(tmp_path / "main"), "include *\n"))
    assert [sentence.rpartition(": ")[2] for sentence in left] == [
        "Is a fifo, and no regular file",
        "Is a device, and no regular file",
    ]
    monkeypatch.setattr(smcroute, "_MAX_FILES", 3)
    monkeypatch.setattr(text_files, "MAX_BYTES", 100)
    for n in range(5):
        (tmp_path / f"{n}.conf").write_text(f"mgroup from eth0 group 239.1.1.{n}\n")
    imported = smcroute.read(str(tmp_path / "main"), "include *.conf\n")
    assert len(imported.memberships) == 3
    assert smcroute.read(str(tmp_path / "main"), "include *.none\n").left_out == []
    assert told(imported)[0].endswith(": more than 3 files are included")
    (tmp_path / "0.conf").write_text("#" * 101)
    (left_out,) = told(smcroute.read(str(tmp_path / "main"), "include 0.conf\n"))
    assert left_out.endswith("0.conf: Is larger than 100 bytes")


def test_of_very_much_that_is_left_out_the_first_is_named_and_the_rest_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as a file that is no smcroute.conf, or an include of everything."""
    path = tmp_path / "smcroute.conf"
    path.write_text("bad\n" * 5_400)
    assert main(["import", str(path)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1_001
    assert lines[-2] == f"mfc-dbus-cli: {path}:1000: bad: there is no directive 'bad'"
    assert lines[-1] == "mfc-dbus-cli: 4400 more lines or parts of them were left out"


def test_the_command_writes_a_document_and_needs_no_service(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "smcroute.conf"
    path.write_text("mroute from eth0 group 225.1.1.1 to eth1\nbad\n")
    assert main(["import", str(path)]) == 1
    out, err = capsys.readouterr()
    assert out == '[[route]]\ngroup = "225.1.1.1"\niif = "eth0"\noifs = ["eth1"]\n'
    assert err == f"mfc-dbus-cli: {path}:2: bad: there is no directive 'bad'\n"


def test_the_example_that_smcroute_ships_is_understood() -> None:
    path = Path("/usr/share/doc/smcroute/examples/smcroute.conf")
    if not path.exists():
        pytest.skip("smcroute is not installed")
    smcroute.read(str(path), path.read_text())
