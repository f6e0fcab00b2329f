"""What the applet asks of the service, and the remedies that it can carry out."""

import pytest

from mfc_dbus.applet.requests import (
    Request,
    add_route,
    change_route,
    delete_route,
    join_group,
    leave_group,
    remedy,
    shape,
)
from mfc_dbus.client.info import MembershipInfo, RouteInfo
from mfc_dbus.model.members import METHODS
from mfc_dbus.names import INTERFACE

ROUTE = RouteInfo("10.0.0.1", "239.1.1.1", "eth1", ("eth2",), "active")
WIDE = ROUTE._replace(source="*", table=100)


def test_what_is_the_default_is_not_said() -> None:
    said = add_route("*", "239.1.1.1", "eth1", ["eth2"], comment="", persistent=False, wait=True)
    assert said.options == {"persistent": False, "wait": True}


def test_a_route_is_named_by_its_iif_where_there_may_be_others() -> None:
    assert change_route(ROUTE, add_oifs=["eth3"]).options == {"add-oifs": ["eth3"]}
    assert delete_route(WIDE).options == {"iif": "eth1", "table": 100}


def test_every_call_has_the_shape_that_the_service_takes() -> None:
    membership = MembershipInfo("*", "239.1.1.1", "eth1", "joined")
    for request in (
        add_route("*", "239.1.1.1", "eth1", []),
        change_route(WIDE, enabled=False),
        delete_route(WIDE),
        join_group("239.1.1.1", "*", "eth1"),
        leave_group(membership),
        Request("Apply", ("",)),
        Request("Undo", ()),
        Request("ListChanges", ()),
        Request("Explain", ("*", "239.1.1.1")),
    ):
        method = METHODS[f"{INTERFACE}.{request.member}"]
        signature, options = shape(request)
        assert f"{signature}a{{sv}}" == method.arguments
        assert request.options.keys() <= options.keys()
        if request.member not in ("ListChanges", "Explain"):
            assert request.action in (
                method.action,
                "org.example.MulticastForwarding.manage-routes",
            )


@pytest.mark.parametrize(
    ("command", "request_"),
    [
        (
            "mfc-dbus-cli mfc add --group 239.1.1.1 --iif eth1 --oifs IF",
            Request("AddRoute", ("*", "239.1.1.1", "eth1", ["IF"])),
        ),
        (
            "mfc-dbus-cli mfc add --source 10.0.0.1 --group 239.1.1.1 --table 100 --iif eth1 "
            "--oifs eth2 'a b'",
            Request("AddRoute", ("10.0.0.1", "239.1.1.1", "eth1", ["eth2", "a b"]), {"table": 100}),
        ),
        (
            "mfc-dbus-cli mfc change --source 10.0.0.1 --group 239.1.1.1 --enable",
            Request("ChangeRoute", ("10.0.0.1", "239.1.1.1"), {"enabled": True}),
        ),
        (
            "mfc-dbus-cli mfc change --group 239.0.0.0/8 --iif eth1 --remove-oifs eth2 "
            "--to-iif eth2",
            Request(
                "ChangeRoute",
                ("*", "239.0.0.0/8"),
                {"remove-oifs": ["eth2"], "to-iif": "eth2", "iif": "eth1"},
            ),
        ),
        (
            "mfc-dbus-cli mfc change --source 10.0.0.1 --group 239.1.1.1 --ttl eth2=1",
            Request("ChangeRoute", ("10.0.0.1", "239.1.1.1"), {"ttls": {"eth2": 1}}),
        ),
        (
            "mfc-dbus-cli mfc change --source 10.0.0.1 --group 239.1.1.1 --hairpin",
            Request("ChangeRoute", ("10.0.0.1", "239.1.1.1"), {"hairpin": True}),
        ),
        (
            "mfc-dbus-cli mfc del --source 10.0.0.1 --group 239.1.1.1",
            Request("DeleteRoute", ("10.0.0.1", "239.1.1.1")),
        ),
        (
            "mfc-dbus-cli group join --group 239.1.1.1 --interface eth1",
            Request("JoinGroup", ("239.1.1.1", "*", "eth1")),
        ),
        ("mfc-dbus-cli show interfaces", None),
        ("mfc-dbus-cli mfc change --group 239.1.1.1 --colour red", None),
        ("sysctl -w net/ipv4/conf/eth1/rp_filter=0", None),
        ("", None),
    ],
)
def test_a_remedy_is_a_call_where_it_is_the_services_own(
    command: str, request_: Request | None
) -> None:
    assert remedy(command) == request_


def test_words_in_capitals_are_left_to_choose() -> None:
    incomplete = remedy("mfc-dbus-cli mfc change --group 239.1.1.1 --add-oifs IF")
    assert incomplete is not None
    assert not incomplete.is_complete
    assert delete_route(WIDE).is_complete
