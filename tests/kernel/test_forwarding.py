"""What the kernel forwards, counted packet by packet.

up0 ──┐ router ┌── down0
      ├────────┤
up1 ──┘        └── down1 … down30
"""

import socket

import pytest
from lab.table import Table
from lab.topology import Topology

from mfc_dbus.kernel import abi

IPV4_ONLY = pytest.mark.parametrize("family", [socket.AF_INET], ids=["ipv4"], indirect=True)
IPV6_ONLY = pytest.mark.parametrize("family", [socket.AF_INET6], ids=["ipv6"], indirect=True)


def test_nothing_is_forwarded_without_an_entry(lab: Topology, table: Table) -> None:
    lab.sender().send(20)
    assert lab.arrived() == {}


def test_an_entry_forwards_no_other_source_or_group(lab: Topology, table: Table) -> None:
    table.mroute.add_mfc(table.entry("up0", "down0"))
    lab.sender(source=lab.addresses.other_source).send(20)
    lab.sender(group=lab.addresses.other_group).send(20)
    assert lab.arrived() == {}
    assert table.sg_count().packets == 0


def test_a_packet_on_the_wrong_interface_is_counted_and_not_forwarded(
    lab: Topology, table: Table
) -> None:
    table.mroute.add_mfc(table.entry("up0", "down0"))
    lab.sender("up1").send(20)
    assert lab.arrived() == {}
    assert table.sg_count().wrong_if == 20
    assert table.vif_count("up1").packets_in == 0


def test_an_interface_without_a_vif_is_wrong_too_but_ipv4_does_not_count_it(
    lab: Topology, table: Table
) -> None:
    table.mroute.add_mfc(table.entry("up0", "down0"))
    table.del_vif("up1")
    lab.sender("up1").send(20)
    assert lab.arrived() == {}
    assert table.sg_count().wrong_if == (0 if lab.family == socket.AF_INET else 20)


@pytest.mark.parametrize("oifs", [1, 2, 31])
def test_every_packet_reaches_every_oif_once(family: socket.AddressFamily, oifs: int) -> None:
    with Topology(family, downstreams=oifs) as lab, Table(lab) as table:
        table.mroute.init()
        table.add_vifs("up0", *lab.downstreams)
        table.mroute.add_mfc(table.entry("up0", *lab.downstreams))
        sent = lab.sender().send(25)
        assert lab.arrived() == dict.fromkeys(lab.downstreams, sent)


def test_an_oif_that_is_not_named_gets_nothing(lab: Topology, table: Table) -> None:
    table.mroute.add_mfc(table.entry("up0", "down1"))
    sent = lab.sender().send(20)
    assert lab.arrived() == {"down1": sent}


def test_a_packet_leaves_as_it_came_with_one_less_ttl(lab: Topology, table: Table) -> None:
    table.mroute.add_mfc(table.entry("up0", "down0"))
    [number] = lab.sender(ttl=9).send(1)
    [packet] = lab.packets()["down0"]
    assert packet == (number, lab.addresses.source, lab.addresses.group, 8)


def test_a_packet_at_the_end_of_its_life_is_not_forwarded(lab: Topology, table: Table) -> None:
    table.mroute.add_mfc(table.entry("up0", "down0"))
    lab.sender(ttl=1).send(5)
    sent = lab.sender(ttl=2).send(5)
    assert lab.arrived() == {"down0": sent}


def test_the_counters_equal_what_was_sent(lab: Topology, table: Table) -> None:
    table.mroute.add_mfc(table.entry("up0", "down0", "down1"))
    sender = lab.sender()
    sent = sender.send(30)
    assert lab.arrived() == {"down0": sent, "down1": sent}
    size = 30 * sender.packet_size
    assert table.sg_count() == (30, size, 0)
    assert table.vif_count("up0") == (30, 0, size, 0)
    assert table.vif_count("down0") == (0, 30, 0, size)
    assert table.vif_count("down1") == (0, 30, 0, size)
    assert table.vif_count("up1") == (0, 0, 0, 0)


def test_an_edit_under_a_flow_loses_nothing_on_the_oif_that_stays(
    lab: Topology, table: Table
) -> None:
    with_both = table.entry("up0", "down0", "down1")
    without_down1 = table.entry("up0", "down0")
    table.mroute.add_mfc(with_both)
    with lab.sender().flow(rate=1000) as flow:
        for _ in range(25):
            flow.wait_for(10)
            table.mroute.add_mfc(without_down1)
            flow.wait_for(10)
            table.mroute.add_mfc(with_both)
        flow.wait_for(10)
    arrived = lab.arrived()
    assert arrived["down0"] == flow.sent
    assert 200 < len(arrived["down1"]) < len(flow.sent)
    assert table.sg_count().packets == len(flow.sent)


def test_a_deleted_entry_forwards_nothing_more(lab: Topology, table: Table) -> None:
    entry = table.entry("up0", "down0", "down1")
    table.mroute.add_mfc(entry)
    sender = lab.sender()
    sent = sender.send(20)
    assert lab.arrived() == {"down0": sent, "down1": sent}
    table.mroute.del_mfc(entry)
    sender.send(20)
    assert lab.arrived() == {}


def test_all_32_vifs_can_be_used_freed_and_used_again_with_no_stray_packet(
    family: socket.AddressFamily,
) -> None:
    with Topology(family, downstreams=31) as lab, Table(lab) as table:
        table.mroute.init()
        sender = lab.sender()
        for devices in [("up0", *lab.downstreams), ("up0", *reversed(lab.downstreams))]:
            table.add_vifs(*devices)
            assert lab.vifs() == dict(enumerate(devices))
            for oif in lab.downstreams:
                entry = table.entry("up0", oif)
                table.mroute.add_mfc(entry)
                sent = sender.send(2)
                assert lab.arrived() == {oif: sent}
                table.mroute.del_mfc(entry)
            for device in devices:
                table.del_vif(device)
            assert lab.vifs() == {}
            sender.send(2)
            assert lab.arrived() == {}


def test_an_any_source_entry_forwards_a_cold_burst_whole(lab: Topology, table: Table) -> None:
    table.mroute.add_mfc(table.any_source_entry("up0", "down0", "down1"))
    sent = lab.sender().send(50)
    assert lab.arrived() == {"down0": sent, "down1": sent}
    assert table.sg_count(lab.addresses.any_source).packets == 50


def test_an_any_source_entry_takes_every_source_on_its_iif_alone(
    lab: Topology, table: Table
) -> None:
    table.mroute.add_mfc(table.any_source_entry("up0", "down0"))
    lab.sender("up1").send(10)
    assert lab.arrived() == {}
    sent = lab.sender().send(10) + lab.sender(source=lab.addresses.other_source).send(10)
    assert lab.arrived() == {"down0": sent}


def test_an_any_source_entry_without_its_iif_in_the_ttls_never_matches(
    lab: Topology, table: Table
) -> None:
    entry = table.any_source_entry("up0", "down0")
    raw = table.mroute._abi.mfc(entry.source, entry.group, entry.parent, entry.ttls)
    table.mroute._set(abi.MRT_ADD_MFC_PROXY, raw)
    lab.sender().send(10)
    assert lab.arrived() == {}


def test_an_any_source_entry_never_forwards_back(lab: Topology, table: Table) -> None:
    table.mroute.add_mfc(table.any_source_entry("up0", "up0", "down0"))
    sent = lab.sender().send(10)
    assert lab.arrived() == {"down0": sent}


def test_any_source_entries_of_one_group_differ_by_their_iif(lab: Topology, table: Table) -> None:
    table.mroute.add_mfc(table.any_source_entry("up0", "down0"))
    table.mroute.add_mfc(table.any_source_entry("up1", "down1"))
    from_up0, from_up1 = lab.sender("up0").send(10), lab.sender("up1").send(10)
    assert lab.arrived() == {"down0": from_up0, "down1": from_up1}
    table.mroute.del_mfc(table.any_source_entry("up0"))
    lab.sender("up0").send(10)
    from_up1 = lab.sender("up1").send(10)
    assert lab.arrived() == {"down1": from_up1}


@pytest.mark.parametrize("oifs", [(), ("down1",)], ids=["no oif", "another oif"])
def test_a_source_group_entry_overrides_the_any_source_entry(
    lab: Topology, table: Table, oifs: tuple[str, ...]
) -> None:
    table.mroute.add_mfc(table.any_source_entry("up0", "down0"))
    table.mroute.add_mfc(table.entry("up0", *oifs))
    sent = lab.sender().send(10)
    assert lab.arrived() == dict.fromkeys(oifs, sent)


def test_a_source_group_entry_has_one_iif_the_newest(lab: Topology, table: Table) -> None:
    table.mroute.add_mfc(table.entry("up0", "down0"))
    table.mroute.add_mfc(table.entry("up1", "down0"))
    lab.sender("up0").send(10)
    sent = lab.sender("up1").send(10)
    assert lab.arrived() == {"down0": sent}
    assert table.sg_count() == (20, 20 * lab.sender().packet_size, 10)


@IPV4_ONLY
@pytest.mark.parametrize(
    ("threshold", "ttl", "passes"),
    [(16, 16, False), (16, 17, True), (254, 254, False), (254, 255, True), (255, 255, False)],
)
def test_a_packet_passes_where_its_ttl_is_greater_than_the_threshold(
    lab: Topology, table: Table, threshold: int, ttl: int, passes: bool
) -> None:
    table.mroute.add_mfc(table.entry("up0", "down0", ttl=threshold))
    sent = lab.sender(ttl=ttl).send(5)
    assert lab.arrived() == ({"down0": sent} if passes else {})


@IPV6_ONLY
def test_ipv6_knows_no_ttl_threshold(lab: Topology, table: Table) -> None:
    table.mroute.add_mfc(table.entry("up0", "down0", ttl=100))
    sent = lab.sender(ttl=2).send(5)
    assert lab.arrived() == {"down0": sent}


def test_an_oif_without_a_vif_is_dropped_from_the_entry_for_good(
    lab: Topology, table: Table
) -> None:
    entry = table.entry("up0", "down0", "down1")
    table.del_vif("down1")
    table.mroute.add_mfc(entry)
    table.add_vifs("down1")
    sender = lab.sender()
    sent = sender.send(10)
    assert lab.arrived() == {"down0": sent}
    table.mroute.add_mfc(entry)
    sent = sender.send(10)
    assert lab.arrived() == {"down0": sent, "down1": sent}


def test_a_deleted_device_leaves_its_number_in_the_entries(lab: Topology, table: Table) -> None:
    entry = table.entry("up0", "down0", "down1")
    table.mroute.add_mfc(entry)
    lab.delete_link("down1")
    table.del_vif("down1")
    lab.add_links("other")
    table.add_vifs("other")
    sender = lab.sender()
    sent = sender.send(10)
    assert lab.arrived() == {"down0": sent, "other": sent}
    table.mroute.add_mfc(entry._replace(ttls=entry.ttls[:1]))
    sent = sender.send(10)
    assert lab.arrived() == {"down0": sent}


def test_a_link_that_goes_down_and_up_keeps_its_vif_and_entries(
    lab: Topology, table: Table
) -> None:
    table.mroute.add_mfc(table.entry("up0", "down0"))
    before = lab.vifs(), lab.entries()
    lab.router.ip("link set dev down0 down", "link set dev down0 up")
    lab.wait_until_up()
    assert (lab.vifs(), lab.entries()) == before
    sent = lab.sender().send(10)
    assert lab.arrived() == {"down0": sent}


def test_of_a_stream_without_a_route_four_packets_wait_for_a_source_group_entry(
    lab: Topology, table: Table
) -> None:
    sender = lab.sender()
    first = sender.send(10)
    table.mroute.add_mfc(table.any_source_entry("up0", "down1"))
    assert lab.arrived() == {}
    sent = sender.send(10)
    assert lab.arrived() == {"down1": sent}
    table.mroute.add_mfc(table.entry("up0", "down0"))
    assert lab.arrived() == {"down0": first[:4]}


@pytest.mark.parametrize(
    ("family", "group"),
    [
        pytest.param(socket.AF_INET, "224.0.0.1", id="224.0.0.1"),
        pytest.param(socket.AF_INET, "224.0.0.255", id="224.0.0.255"),
        pytest.param(socket.AF_INET6, "ff01::123", id="ff01::123"),
        pytest.param(socket.AF_INET6, "ff02::123", id="ff02::123"),
    ],
    indirect=["family"],
)
def test_a_group_of_link_local_scope_is_never_forwarded(
    lab: Topology, table: Table, group: str
) -> None:
    table.mroute.add_mfc(table.entry("up0", "down0", group=group))
    lab.sender(group=group).send(10)
    assert lab.arrived() == {}
    assert table.sg_count(group=group) == (0, 0, 0)


@IPV6_ONLY
def test_an_ipv6_link_local_source_is_forwarded_so_such_routes_must_be_refused(
    lab: Topology, table: Table
) -> None:
    table.mroute.add_mfc(table.entry("up0", "down0", source="fe80::10"))
    sent = lab.sender(source="fe80::10").send(10)
    assert lab.arrived() == {"down0": sent}


def test_forwarding_of_unicast_need_not_be_on(
    lab: Topology, table: Table, family: socket.AddressFamily
) -> None:
    lab.router.sysctl(
        "ipv4/ip_forward" if family == socket.AF_INET else "ipv6/conf/all/forwarding", 0
    )
    table.mroute.add_mfc(table.entry("up0", "down0"))
    sent = lab.sender().send(10)
    assert lab.arrived() == {"down0": sent}


@IPV4_ONLY
def test_rp_filter_drops_and_the_entry_counts_nothing(lab: Topology, table: Table) -> None:
    table.mroute.add_mfc(table.entry("up0", "down0"))
    lab.router.sysctl("ipv4/conf/up0/rp_filter", 1)
    lab.sender().send(10)
    assert lab.arrived() == {}
    assert table.sg_count() == (0, 0, 0)
