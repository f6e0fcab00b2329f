"""smcroute.conf becomes a document, and what cannot is named."""

import re
from pathlib import Path

import pytest

from mfc_dbus import config, document, smcroute
from mfc_dbus.cli import main
from mfc_dbus.config import Config
from mfc_dbus.document import MembershipEntry, RouteEntry

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
        RouteEntry(group="225.3.2.2", iif="eth*", oifs=["br0"]),
    ]
    assert imported.memberships == [
        MembershipEntry(group="225.1.2.3", interface="eth0"),
        MembershipEntry(group="232.1.2.0", source="192.168.1.42", interface="eth0"),
        MembershipEntry(group="232.1.2.1", source="192.168.1.42", interface="eth0"),
    ]
    read = document.from_toml(document.to_toml(imported.routes, imported.memberships))
    assert (len(read.routes), len(read.memberships)) == (4, 3)


def test_a_group_that_is_joined_twice_is_one_membership() -> None:
    lines = "mgroup from eth0 group 232.1.2.0/30\nmgroup from eth0 group 232.1.2.3\n"
    imported = smcroute.read("s.conf", lines)
    assert [each.group for each in imported.memberships] == [f"232.1.2.{n}" for n in range(4)]
    assert imported.left_out == []


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("mroute from eth0 group 1.1.1.1 to eth1", "Group '1.1.1.1' is not a multicast address"),
        ("mroute from eth0 group 225.1.1.1 to eth1 eth0", "'eth0' is the iif or disabled"),
        ("phyint eth1 disable\nmroute from eth1 group 225.1.1.1 to eth0", "'eth1' is disabled"),
        ("phyint eth0 enable mrdisc", 'write interfaces = ["eth0"] under [router_disc'),
        ("phyint eth0 fast", "'fast' is not understood"),
        ("phyint", "it names no interface"),
        ("mroute group 225.1.1.1 to eth1", "'from' is missing"),
        ("mroute from eth0 eth1 group 225.1.1.1 to eth1", "'from' has 2 values"),
        ("mroute eth0 225.1.1.1 eth1", "'eth0' is not understood"),
        ("mgroup from eth+ group 225.1.1.1", "and 'eth+' of many"),
        ("mgroup from eth0 group 225.0.0.0/8", "stands for more than 4096 memberships"),
        ("mgroup from eth0 group 225.0.0.0/x", "is no range of addresses"),
        ("mgroup from eth0 group 10.0.0.1", "Group '10.0.0.1' is not a multicast address"),
        ("route add default", "there is no directive 'route'"),
        ("include /nowhere/*.conf", "there is no file '/nowhere/*.conf'"),
        ("include", "this include cannot be followed"),
    ],
)
def test_what_cannot_be_carried_over_is_named_with_its_line(line: str, sentence: str) -> None:
    (left,) = smcroute.read("s.conf", f"# {line}\n{line}\n").left_out
    assert left.startswith(f"s.conf:{2 + line.count(chr(10)) * 2}: {line.splitlines()[-1]}: ")
    assert sentence in left


def test_what_is_a_setting_is_said_as_it_is_to_be_written(tmp_path: Path) -> None:
    lines = "phyint eth0 mrdisc\nphyint lan+ enable mrdisc ttl-threshold 2\nphyint eth0 mrdisc\n"
    *_, sentence = smcroute.read("s.conf", lines).left_out
    written = re.search(r"write (.*) under (.*) in (.*)", sentence)
    assert written
    setting, table, file = written.groups()
    (tmp_path / file).write_text(f"{table}\n{setting}\n")
    assert config.load(tmp_path) == Config(advertised=("eth0", "lan*"))


def test_included_files_are_read_in_order_and_not_for_ever(tmp_path: Path) -> None:
    (tmp_path / "b.conf").write_text("mroute from eth0 group 225.1.1.2 to eth1\n")
    (tmp_path / "a.conf").write_text("phyint eth1 enable ttl-threshold 3\ninclude s.txt\n")
    (tmp_path / "s.txt").write_text("include s.txt\nbad\n")
    imported = smcroute.read(str(tmp_path / "main"), "include *.conf\n")
    assert imported.routes[0].ttls == {"eth1": 3}
    assert f"{tmp_path / 's.txt'}:1: include s.txt: this include" in imported.left_out[0]
    assert len([left for left in imported.left_out if left.endswith("'bad'")]) == 7


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
