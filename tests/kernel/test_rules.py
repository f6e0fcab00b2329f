"""Which table packets use, as `ip mrule` shows it and as packets find it.

up0 ──┐ router ┌── down0
      ├────────┤
up1 ──┘        └── down1
"""

import pytest
from lab.privileges import in_child, set_capabilities
from lab.table import Table
from lab.topology import Topology
from lab.witness import IP_OPTIONS

from mfc_dbus.kernel import rules
from mfc_dbus.kernel.rules import Rule

OTHER = 100


def shown(lab: Topology) -> list[tuple[str, str]]:
    """The rules by iif, as `ip mrule` shows them: with their tables."""
    return sorted(
        (rule["iif"], rule.get("table", ""))
        for rule in lab.router.ip_json("mrule show", IP_OPTIONS[lab.family])
        if "iif" in rule
    )


def test_packets_use_the_table_of_their_iif(lab: Topology, table: Table) -> None:
    with Table(lab, OTHER) as other:
        other.mroute.init()
        other.add_vifs("up1", "down1")
        table.mroute.add_mfc(table.entry("up0", "down0"))
        other.mroute.add_mfc(other.entry("up1", "down1"))
        first, second = lab.sender("up0"), lab.sender("up1")
        sent = first.send(5)
        second.send(5)
        assert lab.arrived() == {"down0": sent}
        with lab.router:
            rules.replace([Rule(lab.family, OTHER, "up1")])
        sent, others = first.send(5), second.send(5)
        assert lab.arrived() == {"down0": sent, "down1": others}


def test_a_rule_for_a_table_that_nobody_owns_does_nothing(lab: Topology, table: Table) -> None:
    table.mroute.add_mfc(table.entry("up0", "down0"))
    with lab.router:
        rules.replace([Rule(lab.family, OTHER, "up0")])
    sent = lab.sender("up0").send(5)
    assert lab.arrived() == {"down0": sent}


def test_ours_are_replaced_and_those_of_others_not_touched(lab: Topology) -> None:
    lab.router.ip_json("mrule add iif up0 lookup 77", IP_OPTIONS[lab.family])
    kept, gone = Rule(lab.family, OTHER, "up1"), Rule(lab.family, OTHER, "not-there-yet")
    with lab.router:
        assert rules.ours() == set()
        rules.replace([kept, gone])
        assert rules.ours() == {kept, gone}
    assert shown(lab) == [("not-there-yet", "100"), ("up0", "77"), ("up1", "100")]
    with lab.router:
        rules.replace([kept])
        rules.replace([kept])
    assert shown(lab) == [("up0", "77"), ("up1", "100")]
    with lab.router:
        rules.replace([])
    assert shown(lab) == [("up0", "77")]


@pytest.mark.parametrize(
    "rule", ["prohibit pref 1000", "lookup 100 pref 7"], ids=["of another action", "elsewhere"]
)
@pytest.mark.parametrize("sense", ["", "not "], ids=["for", "but for"])
def test_rules_with_our_protocol_that_we_never_made_are_those_of_others(
    lab: Topology, sense: str, rule: str
) -> None:
    lab.router.ip_json(f"mrule add {sense}iif up0 {rule} protocol 109", IP_OPTIONS[lab.family])
    _leaves_alone(lab)


def test_a_rule_for_all_but_an_interface_is_not_ours(lab: Topology) -> None:
    lab.router.ip_json(
        "mrule add not iif up0 lookup 100 pref 1000 protocol 109", IP_OPTIONS[lab.family]
    )
    _leaves_alone(lab)


def _leaves_alone(lab: Topology) -> None:
    before = shown(lab)
    with lab.router:
        assert rules.ours() == set()
        rules.replace([Rule(lab.family, OTHER, "up1")])
        rules.replace([])
    assert shown(lab) == before


def test_without_the_right_to_it_is_an_error(lab: Topology) -> None:
    def child() -> str:
        set_capabilities()
        with pytest.raises(PermissionError):
            rules.replace([Rule(lab.family, OTHER, "up1")])
        return "refused"

    with lab.router:
        assert in_child(child) == "refused"
    assert shown(lab) == []
