"""A route or membership that somebody desires, and a change of one (pure)."""

from typing import NamedTuple

from mfc_dbus.model.membership import Membership, MembershipKey
from mfc_dbus.model.route import Route, RouteKey

Key = RouteKey | MembershipKey
Desired = Route | Membership


class Edit(NamedTuple):
    """A change of a route or membership: `old` is None where it is added, `new` where deleted."""

    old: Desired | None
    new: Desired | None
