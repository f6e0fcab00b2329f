"""What was seen of a stream is judged in the order of a packet's way, and nothing is guessed."""

import socket
from collections.abc import Mapping
from typing import Any

import pytest

from mfc_dbus.explain.explanation import explain
from mfc_dbus.explain.rules import chosen_table
from mfc_dbus.explain.situation import Interface, ReversePath, Situation, StreamQuestion
from mfc_dbus.explain.snapshot import Rise, Snapshot
from mfc_dbus.kernel.counters import LinkCount
from mfc_dbus.kernel.link_details import Details
from mfc_dbus.kernel.links import Link
from mfc_dbus.kernel.mroute import SGCount, VIFCount
from mfc_dbus.kernel.queues import Dropped
from mfc_dbus.kernel.rules import AnyRule
from mfc_dbus.model.addresses import parse_asked
from mfc_dbus.model.findings import Code, Finding, Level
from mfc_dbus.model.quoting import printable
from mfc_dbus.model.route import parse_route
from mfc_dbus.model.status import Sighting
from mfc_dbus.service.explanations import describe

SOURCE, GROUP = "10.1.0.10", "239.1.2.3"
QUESTION = StreamQuestion(*parse_asked(SOURCE, GROUP))
ROUTE = parse_route(SOURCE, GROUP, "up0", ["down0", "down1"])


def interface(name: str, ttl: int = 1, **more: Any) -> Interface:
    link = Link(name, 1, multicast=True, up=True, enabled=True)
    return Interface(name, link, Details(mtu=1500), ttl=ttl)._replace(**more)


def situation(**more: Any) -> Situation:
    usual = Situation(
        QUESTION,
        route=ROUTE,
        iif=interface("up0"),
        oifs=[interface("down0"), interface("down1")],
    )
    return usual._replace(**more)


def rise(
    packets: int = 10,
    wrong: int = 0,
    out: Mapping[str, int] | None = None,
    sent: Mapping[str, int] | None = None,
    received: Mapping[str, int] | None = None,
    seconds: float = 2.0,
    **more: Any,
) -> Rise:
    """The counters of two moments; all oifs have what arrived where nothing else is said."""
    out = {"down0": packets, "down1": packets} | dict(out or {})
    sent = out | dict(sent or {})
    links = {name: LinkCount(0, count, 0) for name, count in sent.items()}
    for name, count in (received or {"up0": packets}).items():
        links[name] = LinkCount(count, 0, 0)
    vifs = {name: VIFCount(0, count, 0, 0) for name, count in out.items()}
    entry = SGCount(packets + wrong, 100 * packets, wrong)
    return Rise(Snapshot(SGCount(0, 0, 0)), Snapshot(entry, vifs, links, **more), seconds)


def codes(situation: Situation, rise: Rise | None) -> list[Code]:
    return [finding.code for finding in explain(situation, rise)]


def test_a_stream_that_flows_gives_that_alone_with_its_rate() -> None:
    (finding,) = explain(situation(), rise())
    assert (finding.code, finding.level) == (Code.FLOWING, Level.OK)
    assert finding.evidence["packets-per-second"] == 5.0
    assert finding.evidence["oifs"] == ["down0", "down1"]


def test_what_flows_by_some_oifs_names_the_others_first() -> None:
    assert codes(situation(), rise(out={"down0": 0})) == [Code.TTL_EXPIRED, Code.FLOWING]
    found = explain(situation(), rise(out={"down0": 3}, sent={"down1": 0}))
    assert [each.code for each in found] == [Code.TTL_EXPIRED, Code.FORWARD]
    assert "7 of 10 packets" in found[0].sentence


@pytest.mark.parametrize(
    ("counted", "code"),
    [
        ({}, Code.FORWARD),
        ({"ipv4": {"IpForwDatagrams": 10}}, Code.FORWARD),  # those that down0 had
        ({"ipv4": {"IpForwDatagrams": 20}}, Code.POSTROUTING),
        ({"ipv4": {"IpForwDatagrams": 19}}, Code.POSTROUTING),  # one is on its way
        ({"ipv4": {"IpForwDatagrams": 20, "IpExtOutMcastPkts": 10}}, Code.POSTROUTING),
        ({"ipv4": {"IpForwDatagrams": 20, "IpExtOutMcastPkts": 20}}, Code.EGRESS),
        ({"drops": {"down1": Dropped(10, "tbf")}}, Code.QUEUE_FULL),
        ({"drops": {"down1": Dropped(filters=10)}}, Code.EGRESS),
    ],
)
def test_what_is_lost_after_the_table_is_told_by_what_counted_it(
    counted: dict[str, Any], code: Code
) -> None:
    assert codes(situation(), rise(sent={"down1": 0}, **counted)) == [code, Code.FLOWING]


@pytest.mark.parametrize(
    ("sent", "code"), [(999, Code.FLOWING), (900, Code.FLOWING), (899, Code.FORWARD)]
)
def test_packets_that_are_still_on_their_way_are_not_taken_for_lost(sent: int, code: Code) -> None:
    assert codes(situation(), rise(1000, sent={"down1": sent}))[0] == code


def test_of_a_slow_stream_one_packet_may_be_on_its_way_and_none_that_left_is_lost() -> None:
    assert codes(situation(), rise(2, sent={"down1": 1})) == [Code.FLOWING]
    assert codes(situation(), rise(1, sent={"down1": 0})) == [Code.FORWARD, Code.FLOWING]


def test_few_packets_are_lost_where_something_counted_them() -> None:
    counted = rise(1000, sent={"down1": 995}, drops={"down1": Dropped(5)})
    assert codes(situation(), counted)[0] == Code.QUEUE_FULL


@pytest.mark.parametrize(("out", "code"), [(999, Code.FLOWING), (950, Code.TTL_EXPIRED)])
def test_the_table_keeps_what_is_more_than_one_packet_between_two_counters(
    out: int, code: Code
) -> None:
    assert codes(situation(), rise(1000, out={"down1": out}))[0] == code


def test_to_raise_an_mtu_is_no_command_before_somebody_says_how_far() -> None:
    wide = [interface("down0"), interface("down1", details=Details(mtu=9000))]
    (finding, _) = explain(situation(oifs=wide), rise(out={"down1": 0}, ipv4={"IpFragFails": 10}))
    assert finding.remedy == "ip link set dev down1 mtu MTU"


def test_packets_that_are_too_long_are_not_taken_for_an_expired_ttl() -> None:
    counted = {"IpFragFails": 10}
    found = explain(situation(), rise(out={"down1": 0}, ipv4=counted))
    assert found[0].code == Code.TOO_BIG
    assert found[0].evidence["mtu"] == 1500


def test_where_nobody_counted_only_what_can_be_seen_is_told() -> None:
    assert codes(situation(), None) == []
    gone = situation(oifs=[Interface("down0"), interface("down1")])
    assert codes(gone, None) == [Code.OIF_MISSING]


def test_an_oif_that_the_route_has_not_is_told_whether_packets_arrive_or_not() -> None:
    asked = situation(question=QUESTION._replace(oif="eth9"), oifs=())
    for counted in (None, rise(), rise(0)):
        found = explain(asked, counted)
        assert Code.OIF_MISSING in {each.code for each in found}
    (finding,) = explain(asked, rise())
    assert "does not leave by 'eth9'" in finding.sentence
    assert finding.remedy.endswith("--add-oifs eth9")


def test_a_stream_does_not_leave_where_it_arrives_unless_the_route_says_so() -> None:
    route = parse_route(SOURCE, GROUP, "up0", ["up*"])
    asked = situation(route=route, question=QUESTION._replace(oif="up0"), oifs=())
    (finding,) = explain(asked, rise())
    assert (finding.code, finding.level) == (Code.OIF_MISSING, Level.PROBLEM)
    assert finding.remedy.endswith("--hairpin")


def test_a_route_whose_patterns_are_for_no_interface_is_not_well() -> None:
    route = parse_route(SOURCE, GROUP, "up0", ["down*", "ppp*"])
    nowhere = situation(route=route, oifs=())
    for counted in (None, rise()):
        (finding,) = explain(nowhere, counted)
        assert (finding.code, finding.level) == (Code.OIF_MISSING, Level.PROBLEM)
        assert "'down*'" in finding.sentence
    gone = nowhere._replace(question=QUESTION._replace(oif="down7"))
    (finding,) = explain(gone, rise())
    assert "Interface 'down7'" in finding.sentence


def test_of_an_iif_that_is_missing_no_pattern_is_blamed() -> None:
    route = parse_route(SOURCE, GROUP, "up*", ["down*"])
    assert codes(situation(route=route, iif=None, oifs=()), None) == [Code.IIF_MISSING]


def test_interfaces_that_the_kernel_has_no_room_for_are_told() -> None:
    full = situation(left_out="The kernel knows 32 interfaces a table: 'down7' left out")
    (note, flowing) = explain(full, rise())
    assert (note.code, note.level) == (Code.NO_ROOM, Level.NOTE)
    assert "'down7' left out" in note.sentence
    assert flowing.code == Code.FLOWING
    (none,) = explain(full._replace(oifs=()), rise())
    assert (none.code, none.level) == (Code.NO_ROOM, Level.PROBLEM)


def test_what_flows_was_not_stopped_by_what_is_wrong_with_the_iif() -> None:
    without = interface("up0")
    assert without.link is not None
    without = without._replace(link=without.link._replace(up=False))
    assert codes(situation(iif=without), rise()) == [Code.FLOWING]
    assert codes(situation(iif=without), rise(0)) == [Code.NO_CARRIER]


def test_a_packet_on_a_wrong_interface_counts_before_whatever_else_was_counted() -> None:
    seen = [Sighting(QUESTION.source.address, QUESTION.group.address, "up1", 10**9)]
    counted = {"TcpExtIPReversePathFilter": 5}
    strict = situation(reverse=ReversePath(0, 1), sightings=seen)
    (finding,) = explain(strict, rise(0, wrong=5, ipv4=counted))
    assert finding.code == Code.WRONG_INTERFACE
    assert finding.remedy.endswith("--to-iif up1")
    assert codes(strict, rise(0, ipv4=counted)) == [Code.ARRIVES_ELSEWHERE]
    assert codes(strict._replace(sightings=()), rise(0, ipv4=counted)) == [Code.RP_FILTER]


def test_the_reverse_path_filter_is_not_blamed_where_it_is_off() -> None:
    counted = {"TcpExtIPReversePathFilter": 5}
    assert codes(situation(), rise(0, ipv4=counted)) == [Code.NOTHING_ARRIVES]


@pytest.mark.parametrize(
    ("reverse", "noted"),
    [
        (ReversePath(0, 1, "up0"), False),
        (ReversePath(0, 1, "eth7"), True),
        (ReversePath(2, 0, "eth7"), False),
        (ReversePath(2, 1, ""), True),
        (ReversePath(0, 0, ""), False),
    ],
)
def test_where_nobody_counted_the_reverse_path_is_a_note(reverse: ReversePath, noted: bool) -> None:
    found = explain(situation(reverse=reverse), None)
    assert [each.code for each in found] == [Code.RP_FILTER] * noted
    assert all(each.level == Level.NOTE for each in found)


@pytest.mark.parametrize(
    ("reverse", "code"),
    [
        (ReversePath(0, 1, "up0"), Code.NOTHING_ARRIVES),
        (ReversePath(0, 1, "up1"), Code.RP_FILTER),
        (ReversePath(0, 1), Code.RP_FILTER),
        (ReversePath(2, 1, "up1"), Code.NOTHING_ARRIVES),
        (ReversePath(2, 0), Code.RP_FILTER),
        (ReversePath(1, 0, local=True), Code.WRONG_SOURCE),
    ],
)
def test_the_reverse_path_filter_is_blamed_only_where_the_way_back_has_it_drop(
    reverse: ReversePath, code: Code
) -> None:
    counted = {"TcpExtIPReversePathFilter": 5}
    assert codes(situation(reverse=reverse), rise(0, ipv4=counted)) == [code]


def test_of_any_source_the_way_back_is_not_known() -> None:
    question = StreamQuestion(*parse_asked("*", GROUP))
    counted = {"TcpExtIPReversePathFilter": 5}
    asked = situation(question=question, reverse=ReversePath(0, 1))
    (finding,) = explain(asked, rise(0, ipv4=counted))
    assert finding.code == Code.RP_FILTER
    assert "probably" in finding.sentence
    assert "by no interface" not in finding.sentence


def test_what_cannot_be_told_apart_is_said_with_the_command_that_does() -> None:
    (finding,) = explain(situation(joined=True), rise(0, received={"up0": 50}))
    assert finding.code == Code.NOTHING_ARRIVES
    assert "a rule of the firewall" in finding.sentence
    assert "'tcpdump -ni up0 dst 239.1.2.3 and src 10.1.0.10'" in finding.sentence
    (silent,) = explain(situation(), rise(0, received={"up0": 0, "eth7": 9}))
    assert "firewall" not in silent.sentence
    assert silent.evidence["received-on"] == ["eth7"]
    assert silent.remedy == (
        "mfc-dbus-cli group join --group 239.1.2.3 --source 10.1.0.10 --interface up0"
    )


def test_other_senders_are_named_once_each() -> None:
    other = socket.inet_aton("10.1.0.11")
    seen = [Sighting(other, QUESTION.group.address, "up0", 1)] * 2
    (finding,) = explain(situation(sightings=seen), rise(0, received={"up0": 7}))
    assert finding.code == Code.SOURCE_DIFFERS
    assert finding.evidence["sources"] == ["10.1.0.11"]


def test_a_table_that_is_not_ours_and_a_missing_route_end_the_search() -> None:
    taken = situation(table_reason="Another program owns it")
    assert codes(taken, rise()) == [Code.TABLE_NOT_OURS]
    assert codes(situation(route=None, iif=None, oifs=()), rise(0)) == [Code.NO_ROUTE]


def rule(table: int | None, iif: str = "", priority: int = 100, **more: Any) -> AnyRule:
    usual = AnyRule(priority, iif, table, False, False)
    return usual._replace(**more)


DEFAULT = rule(0, priority=32767)


@pytest.mark.parametrize(
    ("rules", "table", "sure"),
    [
        ([DEFAULT], 0, True),
        ([rule(100, "up0"), DEFAULT], 100, True),
        ([rule(100, "up1"), DEFAULT], 0, True),
        ([rule(100, "up0", inverted=True), DEFAULT], 0, True),
        ([rule(100, "up1", inverted=True), DEFAULT], 100, True),
        ([rule(None, "up0"), DEFAULT], None, True),
        ([rule(100, "up0", selects_more=True), DEFAULT], 0, False),
        ([rule(200, "up0"), DEFAULT], 0, False),  # which nobody may have
    ],
)
def test_the_first_rule_that_is_for_a_packet_chooses_its_table(
    rules: list[AnyRule], table: int | None, sure: bool
) -> None:
    chosen = chosen_table(rules, "up0", (0, 100))
    assert chosen is not None
    assert (chosen.table, chosen.sure) == (table, sure)


def test_a_table_to_which_only_some_unknown_mark_may_lead_is_not_blamed() -> None:
    question = QUESTION._replace(table=100)
    marked = [rule(100, "up0", selects_more=True), DEFAULT]
    assert Code.TABLE_NOT_CHOSEN not in codes(
        situation(question=question, rules=marked), rise(0, received={"up0": 0})
    )
    assert codes(situation(question=question, rules=[DEFAULT]), rise(0)) == [Code.TABLE_NOT_CHOSEN]


def test_a_rule_for_a_table_that_nobody_may_have_is_not_blamed_where_no_multicast_arrives() -> None:
    foreign = situation(rules=[rule(200, "up0"), DEFAULT])
    assert codes(foreign, rise(0)) == [Code.NOTHING_ARRIVES]
    assert codes(foreign, rise(0, ipv4={"IpExtInMcastPkts": 5})) == [Code.MRULE]


def test_what_goes_over_the_bus_can_be_carried_and_shown() -> None:
    odd = "up\udcff\x1b"
    told = describe(Finding(Code.FLOWING, Level.OK, odd, odd, {"iif": odd, "oifs": [odd], "n": 7}))
    shown = r"up\udcff\x1b"
    assert (told["sentence"].value, told["remedy"].value) == (shown, shown)
    evidence = {name: (each.signature, each.value) for name, each in told["evidence"].value.items()}
    assert evidence == {"iif": ("s", shown), "oifs": ("as", [shown]), "n": ("t", 7)}


def test_every_sentence_is_fit_for_a_terminal() -> None:
    odd = interface("up\x1b[2J")
    found = explain(situation(iif=odd, oifs=[Interface("down\n0")]), rise(0, out={}))
    assert found
    assert all(printable(each.sentence) == each.sentence for each in found)
