"""Whose the table is, how long it lives, and the errno of each refusal.

up0 ──┐ router ┌── down0
      ├────────┤
up1 ──┘        └── down1
"""

import errno
import os
import socket
from collections.abc import Callable
from contextlib import closing
from unittest import mock

import pytest
from lab.netns import Namespace
from lab.privileges import CAP_NET_RAW, in_child, set_capabilities
from lab.table import Table
from lab.topology import Topology
from lab.witness import IP_OPTIONS, Entry

from mfc_dbus.kernel import dump, netlink
from mfc_dbus.kernel.mfc_events import EntryChanges
from mfc_dbus.kernel.mroute import MFCEntry, MRoute


def fails_with(expected: int, call: Callable[[], object]) -> None:
    with pytest.raises(OSError, check=lambda error: error.errno == expected):
        call()


def oifs(**thresholds: int) -> frozenset[tuple[str, int]]:
    return frozenset(thresholds.items())


def test_without_cap_net_raw_there_is_no_socket(
    family: socket.AddressFamily, namespace: Namespace
) -> None:
    def child() -> str:
        namespace.enter()
        set_capabilities()
        fails_with(errno.EPERM, lambda: MRoute(family))
        return "refused"

    assert in_child(child) == "refused"


def test_without_cap_net_admin_there_is_no_other_table(
    family: socket.AddressFamily, namespace: Namespace
) -> None:
    def child() -> str:
        namespace.enter()
        set_capabilities([CAP_NET_RAW])
        fails_with(errno.EACCES, lambda: MRoute(family, 100))
        return "refused"

    assert in_child(child) == "refused"


def test_cap_net_raw_alone_makes_an_owner(
    family: socket.AddressFamily, namespace: Namespace
) -> None:
    def child() -> str:
        namespace.enter()
        set_capabilities([CAP_NET_RAW])
        with MRoute(family) as mroute:
            set_capabilities()
            mroute.init()
        return "owner"

    assert in_child(child) == "owner"


def test_an_owner_needs_no_capability(lab: Topology, table: Table) -> None:
    vifs = {number: lab.ifindex(name) for number, name in lab.vifs().items()}

    def child() -> str:
        set_capabilities()
        table.mroute.add_mfc(table.entry("up0", "down0"))
        table.mroute.del_mfc(table.entry("up0"))
        table.mroute.done()
        table.mroute.init()
        for number, ifindex in vifs.items():
            table.mroute.add_vif(number, ifindex)
        table.mroute.add_mfc(table.any_source_entry("up0", "down0"))
        table.mroute.del_vif(1)
        assert table.vif_count("up0") == (0, 0, 0, 0)
        assert table.sg_count(lab.addresses.any_source) == (0, 0, 0)
        return "all done"

    assert in_child(child) == "all done"
    assert lab.vifs() == {0: "up0", 2: "down0", 3: "down1"}
    sent = lab.sender().send(10)
    assert lab.arrived() == {"down0": sent}


def test_a_table_has_one_owner(lab: Topology, table: Table) -> None:
    with Table(lab) as other:
        fails_with(errno.EADDRINUSE, other.mroute.init)
    fails_with(errno.EADDRINUSE, table.mroute.init)


def test_a_table_that_was_given_up_is_free_and_empty(lab: Topology, table: Table) -> None:
    table.mroute.add_mfc(table.entry("up0", "down0"))
    table.mroute.done()
    assert (lab.vifs(), lab.entries()) == ({}, set())
    with Table(lab) as other:
        other.mroute.init()


def test_a_table_that_was_closed_is_free_and_empty(lab: Topology) -> None:
    with Table(lab) as table:
        table.mroute.init()
        table.add_vifs("up0", "down0")
        table.mroute.add_mfc(table.entry("up0", "down0"))
    assert (lab.vifs(), lab.entries()) == ({}, set())
    lab.sender().send(10)
    assert lab.arrived() == {}
    with Table(lab) as other:
        other.mroute.init()


def test_a_copy_of_the_descriptor_keeps_everything(lab: Topology) -> None:
    with Table(lab) as table:
        table.mroute.init()
        table.add_vifs("up0", "down0")
        table.mroute.add_mfc(table.entry("up0", "down0"))
        copy = os.dup(table.mroute.fileno())
    try:
        sent = lab.sender().send(10)
        assert lab.arrived() == {"down0": sent}
    finally:
        os.close(copy)
    assert (lab.vifs(), lab.entries()) == ({}, set())


def test_ip_mroute_shows_what_was_added(lab: Topology, table: Table) -> None:
    table.mroute.add_mfc(table.entry("up0", "down0", "down1"))
    table.mroute.add_mfc(table.any_source_entry("up1", "down1"))
    addresses = lab.addresses
    assert lab.entries() == {
        Entry(addresses.source, addresses.group, "up0", oifs(down0=1, down1=1)),
        Entry(addresses.any_source, addresses.group, "up1", oifs(up1=1, down1=1)),
    }


def test_another_table_gets_the_packets_that_a_rule_sends_to_it(
    lab: Topology, table: Table
) -> None:
    table.mroute.add_mfc(table.entry("up0", "down0"))
    table.mroute.add_mfc(table.entry("up1", "down0", source=lab.addresses.other_source))
    with Table(lab, 100) as other:
        other.mroute.init()
        other.add_vifs("up1", "down1")
        other.mroute.add_mfc(other.entry("up1", "down1"))
        lab.router.ip_json("mrule add iif up1 lookup 100", IP_OPTIONS[lab.family])
        from_up0, from_up1 = lab.sender("up0").send(10), lab.sender("up1").send(10)
        assert lab.arrived() == {"down0": from_up0, "down1": from_up1}


def test_an_edit_keeps_the_counters_and_a_new_entry_starts_at_zero(
    lab: Topology, table: Table
) -> None:
    table.mroute.add_mfc(table.entry("up0", "down0"))
    lab.sender().send(10)
    lab.sender("up1").send(5)
    lab.arrived()
    table.mroute.add_mfc(table.entry("up0", "down1"))
    assert table.sg_count() == (15, 15 * lab.sender().packet_size, 5)
    table.mroute.del_mfc(table.entry("up0"))
    table.mroute.add_mfc(table.entry("up0", "down1"))
    assert table.sg_count() == (0, 0, 0)


def test_a_vif_needs_a_device(table: Table) -> None:
    fails_with(errno.EADDRNOTAVAIL, lambda: table.mroute.add_vif(31, 9999))


def test_a_vif_number_is_below_32(lab: Topology, table: Table) -> None:
    fails_with(errno.ENFILE, lambda: table.mroute.add_vif(32, lab.ifindex("lo")))


def test_a_vif_number_is_given_once(lab: Topology, table: Table) -> None:
    fails_with(errno.EADDRINUSE, lambda: table.mroute.add_vif(0, lab.ifindex("down1")))


@pytest.mark.parametrize("ifindex", [70000, 65536 + 2])
def test_a_large_ifindex_is_right_in_ipv4_and_refused_in_ipv6(
    lab: Topology, table: Table, ifindex: int
) -> None:
    lab.router.ip(f"link add name far index {ifindex} type veth peer name away")
    if lab.family == socket.AF_INET:
        table.mroute.add_vif(31, ifindex)
        assert lab.vifs()[31] == "far"
    else:
        fails_with(errno.EOVERFLOW, lambda: table.mroute.add_vif(31, ifindex))


def test_a_vif_that_is_not_there_is_deleted_without_an_error(table: Table) -> None:
    table.mroute.del_vif(31)


def test_a_vif_whose_device_has_gone_is_deleted_without_an_error_or_a_wait_for_the_kernel(
    lab: Topology, table: Table
) -> None:
    before = lab.vifs()
    lab.delete_link("down1")
    assert lab.vifs() == {number: name for number, name in before.items() if name != "down1"}
    with mock.patch.object(table.mroute, "_set") as set_:  # which waits for its lock
        table.del_vif("down1")
    assert not set_.called


def test_an_entry_needs_a_multicast_group(lab: Topology, table: Table) -> None:
    entry = table.entry("up0", "down0", group=lab.addresses.source)
    fails_with(errno.EINVAL, lambda: table.mroute.add_mfc(entry))


@pytest.mark.parametrize("ttls", [((32, 1),), ((255, 1),), ((256, 1),)])
def test_an_entry_names_only_vifs_that_can_be(table: Table, ttls: tuple[tuple[int, int]]) -> None:
    entry = table.entry("up0", "down0")
    fails_with(errno.EINVAL, lambda: table.mroute.add_mfc(entry._replace(ttls=ttls)))


def test_an_entry_that_is_not_there_cannot_be_deleted(table: Table) -> None:
    fails_with(errno.ENOENT, lambda: table.mroute.del_mfc(table.entry("up0")))
    fails_with(errno.ENOENT, lambda: table.mroute.del_mfc(table.any_source_entry("up0")))
    table.mroute.add_mfc(table.any_source_entry("up0", "down0"))
    fails_with(errno.ENOENT, lambda: table.mroute.del_mfc(table.any_source_entry("up1")))


def test_counters_of_what_is_not_there_cannot_be_read(lab: Topology, table: Table) -> None:
    fails_with(errno.EADDRNOTAVAIL, table.sg_count)
    fails_with(errno.EADDRNOTAVAIL, lambda: table.sg_count(lab.addresses.any_source))
    table.del_vif("down0")
    fails_with(errno.EADDRNOTAVAIL, lambda: table.mroute.vif_count(2))
    fails_with(errno.EINVAL, lambda: table.mroute.vif_count(4))
    fails_with(errno.EINVAL, lambda: table.mroute.vif_count(32))
    fails_with(errno.EINVAL, lambda: table.mroute.vif_count(65536))


def test_what_is_heard_after_a_loss_is_newer_than_what_was_lost(
    lab: Topology, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(netlink, "_RECEIVE_BUFFER", 1)
    entry = table.entry("up0", "down0")
    with lab.router, EntryChanges() as changes:
        changes.hear_owners(True)
        for _ in range(100):
            table.mroute.add_mfc(entry)
            table.mroute.del_mfc(entry)
        assert set(changes.read()) == {None}
        table.mroute.add_mfc(entry)
        assert [change and change.deleted for change in changes.read()] == [False]


def test_streams_without_an_entry_take_no_room_from_changes_that_are_told(
    lab: Topology, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(netlink, "_RECEIVE_BUFFER", 1)
    sender, first = lab.sender("up0"), "239.9.9." if lab.family == socket.AF_INET else "ff15::"
    with lab.router, EntryChanges() as changes:
        for owners in (True, False):
            changes.hear_owners(owners)
            for number in range(1, 100):
                sender.send_to(f"{first}{number}")
            assert [each.resolved for each in dump.entries(lab.family)] == [False] * 99
            table.mroute.add_mfc(table.entry("up0", "down0"))
            assert [change and change.deleted for change in changes.read()] == [False] * owners
            table.mroute.done()  # forgets them all, and the entry
            assert [change and change.deleted for change in changes.read()] == [True]
            table.mroute.init()
            table.add_vifs("up0", "down0")


def test_what_is_written_in_another_network_namespace_is_not_heard(
    family: socket.AddressFamily,
) -> None:
    length = 4 if family == socket.AF_INET else 16
    group = b"\xff\x05" + bytes(13) + b"\1" if length == 16 else b"\xef\1\1\1"
    entry = MFCEntry(b"\n" + bytes(length - 2) + b"\1", group, 0, ())
    ours, theirs = Namespace(), Namespace()
    heard = []
    with ours, EntryChanges() as changes:
        changes.hear_owners(True)
        for namespace in (theirs, ours):
            with namespace, closing(MRoute(family)) as mroute:
                mroute.init()
                mroute.add_vif(0, socket.if_nametoindex("lo"))
                mroute.add_mfc(entry)
                heard.append(len(list(changes.read())))
    assert heard == [0, 1]


def test_what_the_owner_writes_is_heard_only_on_request_and_all_else_in_any_case(
    lab: Topology, table: Table
) -> None:
    entry, changed = table.entry("up0", "down0"), table.entry("up0", "down1")
    with lab.router, closing(MRoute(lab.family)) as stranger, EntryChanges() as changes:

        def heard(*acts: Callable[[], None]) -> list[bool]:
            """Do something, and return of what is heard whether it was deleted."""
            for act in acts:
                act()
            return [change.deleted for change in changes.read() if change]

        ours, theirs = table.mroute, stranger
        assert heard(lambda: ours.add_mfc(entry), lambda: ours.add_mfc(changed)) == []
        assert heard(lambda: theirs.add_mfc(entry)) == [False]
        assert heard(lambda: ours.add_mfc(changed)) == [False]  # of what is not ours alone
        assert heard(lambda: ours.del_mfc(entry), lambda: ours.add_mfc(entry)) == [True]
        assert heard(lambda: theirs.del_mfc(entry), lambda: theirs.add_mfc(entry)) == [True, False]
        assert heard(lambda: ours.del_mfc(entry)) == [True]
        any_source = table.any_source_entry("up0", "down0")
        assert heard(lambda: ours.add_mfc(any_source)) == [False]
        changes.hear_owners(True)
        assert heard(lambda: ours.add_mfc(entry), lambda: ours.add_mfc(changed)) == [False, False]
        changes.hear_owners(False)
        assert heard(lambda: ours.add_mfc(entry)) == []
