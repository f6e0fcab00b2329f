"""Files under /proc are read, whatever a kernel writes into them and interfaces are called."""

from pathlib import Path

import pytest

from mfc_dbus.cli import raw_sockets
from mfc_dbus.kernel import counters, sysctls

ODD = "x\udcff\x1c"  # a name of an interface: bytes that are no UTF-8, and a separator
ODD_BYTES = b"x\xff\x1c"


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(counters, "_NET", tmp_path)
    monkeypatch.setattr(sysctls, "_CONF", tmp_path)
    monkeypatch.setattr(raw_sockets, "_NET", tmp_path)
    return tmp_path


def test_counters_of_an_interface_are_those_of_its_whole_name(proc: Path) -> None:
    (proc / "dev").write_bytes(
        b"Inter-|\n face |\n  %b: 1 2 3 4 5 6 7 8 9 10 11 12\n  odd: 1 two\n" % ODD_BYTES
    )
    assert counters.links() == {ODD: (2, 10, 12)}


def test_a_counter_that_is_no_number_is_left_out(proc: Path) -> None:
    (proc / "snmp").write_bytes(b"Ip: InReceives Odd\nIp: 5 \xff\n")
    (proc / "netstat").write_bytes(b"IpExt: InMcastPkts Odd\nIpExt: 6 many\nhalf a pair")
    (proc / "dev_snmp6").mkdir()
    (proc / "dev_snmp6" / "eth0").write_bytes(b"Ip6InReceives  \t7\nOdd\n\xff 1\nOther x\n")
    assert counters.ipv4() == {"IpInReceives": 5, "IpExtInMcastPkts": 6}
    assert counters.ipv6("eth0")["Ip6InReceives"] == 7


def test_a_setting_that_is_no_number_is_an_error_of_the_kernel(proc: Path) -> None:
    for name in ("all", "eth0"):
        path = proc / "ipv4/conf" / name
        path.mkdir(parents=True)
        (path / "rp_filter").write_bytes(b"\xff\n")
    with pytest.raises(OSError, match="rp_filter"):
        sysctls.rp_filter("eth0")


def test_a_line_that_lists_no_socket_is_passed_over(proc: Path) -> None:
    (proc / "raw").write_bytes(b"  sl\n\xff\n  2: 00000000:XY\n  3: 00000000:0002\n")
    assert raw_sockets.holders("ipv4") == []
