"""The interface file is the contract: in signatures it says what the table of members does, and in
words what the service says."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any
from xml.etree import ElementTree

import pytest
from lab.bus import DATA
from lab.contract import CONTRACT, about, documentation, words

from mfc_dbus.model import members
from mfc_dbus.model.findings import Code, Level
from mfc_dbus.model.members import Action
from mfc_dbus.model.states import InterfaceState, MembershipState, RouteState, TableState
from mfc_dbus.names import INTERFACE

# What else the texts have in quotation marks: of the origin, and of the families.
_OTHERS = {"config", "ipv4", "ipv6"}
_EMITS = "org.freedesktop.DBus.Property.EmitsChangedSignal"


def documented(kind: str, tell: Callable[[ElementTree.Element], Any]) -> Mapping[str, Any]:
    """Tell something of all members of a kind, by their full names."""
    return {
        f"{interface.attrib['name']}.{member.attrib['name']}": tell(member)
        for interface in CONTRACT.iterfind("interface")
        for member in interface.iterfind(kind)
    }


def signature(member: ElementTree.Element, direction: str = "") -> str:
    return "".join(
        arg.attrib["type"]
        for arg in member.iterfind("arg")
        if arg.attrib.get("direction", "") == direction
    )


def test_the_methods_of_the_table_are_those_documented() -> None:
    declared = {
        name: (method.arguments, method.returns) for name, method in members.METHODS.items()
    }
    assert declared.pop(members.SET_LOG) == ("ssv", "")
    assert declared == documented("method", lambda m: (signature(m, "in"), signature(m, "out")))


def test_the_properties_of_the_table_are_those_documented_and_only_read() -> None:
    def tell(node: ElementTree.Element) -> tuple[str, str, Mapping[str, str]]:
        annotations = {each.attrib["name"]: each.attrib["value"] for each in node}
        return node.attrib["type"], node.attrib["access"], annotations

    assert documented("property", tell) == {
        f"{INTERFACE}.{name}": (each.signature, "read", {_EMITS: each.emits})
        for name, each in members.PROPERTIES.items()
    }


def test_the_signals_of_the_table_are_those_documented() -> None:
    assert documented("signal", signature) == members.SIGNALS


def test_every_member_of_our_own_has_a_text_that_begins_with_its_name() -> None:
    ours = [name for name in (*members.METHODS, *members.SIGNALS) if name.startswith(INTERFACE)]
    names = {name.removeprefix(f"{INTERFACE}.") for name in ours} | members.PROPERTIES.keys()
    assert documentation().keys() == names
    assert not [name for name in names if not about(name).startswith(f"{name}: ")]


def test_every_argument_of_a_call_has_a_text() -> None:
    arguments = {
        (member.attrib["name"], arg.attrib["name"])
        for member in CONTRACT.iterfind(f"interface[@name='{INTERFACE}']/method")
        for arg in member.iterfind("arg")
    }
    assert arguments
    assert not [each for each in arguments if not about(*each)]


def test_polkit_knows_the_actions_of_the_table_and_lets_the_service_ask_about_them() -> None:
    policy = ElementTree.parse(DATA / f"{INTERFACE}.policy")
    owners = {
        action.attrib["id"]: action.findtext("annotate[@key='org.freedesktop.policykit.owner']")
        for action in policy.iterfind("action")
    }
    assert owners == {
        action: "unix-user:mfc-dbus" for action in Action if action is not Action.PUBLIC
    }


@pytest.mark.parametrize(
    ("name", "states"),
    [
        ("Routes", RouteState),
        ("Interfaces", InterfaceState),
        ("Tables", TableState),
        ("Memberships", MembershipState),
    ],
)
def test_a_property_lists_the_states_that_there_are_and_no_others(
    name: str, states: type[StrEnum]
) -> None:
    assert words(about(name)) - _OTHERS == {*states} - _OTHERS


def test_explain_lists_the_codes_and_levels_that_there_are_and_no_others() -> None:
    told = about("Explain", "findings")
    fields = {"code", "level", "sentence", "remedy", "evidence"}
    assert words(told) - fields == {*Code, *Level}
