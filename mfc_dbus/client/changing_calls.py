"""The calls of the typed client that change something."""

from collections.abc import Mapping, Sequence
from typing import Any

from mfc_dbus.bus.codec import Variant
from mfc_dbus.client.call_options import numbers, strings, table_number, variants
from mfc_dbus.client.remote import LONG_TIMEOUT, TIMEOUT, Remote
from mfc_dbus.model.options import ADD_ROUTE, CHANGE_ROUTE, JOIN_GROUP
from mfc_dbus.names import ANY_SOURCE


class ChangingCalls:
    """A part of `Client`, which opens the connection."""

    _remote: Remote
    interactive: bool

    async def add_route(
        self,
        group: str,
        iif: str,
        oifs: Sequence[str],
        *,
        source: str = ANY_SOURCE,
        ttls: Mapping[str, int] | None = None,
        replace: bool = False,
        persistent: bool | None = None,
        timeout: int | None = None,
        wait: bool = False,
        comment: str = "",
        table: int = 0,
        hairpin: bool = False,
        enabled: bool = True,
    ) -> None:
        """Add a route. Group and source may be prefixes, interfaces may be shell patterns.

        Without oifs it stops its streams. ttls: TTL thresholds of oifs, 1 to 254, IPv4 only; the
        default is 1. replace: change a route that is there. persistent: keep it over a reboot; the
        default unless there is a timeout. timeout: seconds after which it is removed. wait: its
        interfaces need not be there yet. table: number of the kernel's routing table, 0 for the
        default one. hairpin: the iif may be an oif. enabled: if not, the route is kept, and other
        routes decide as if it were not there.
        """
        options = variants(
            ADD_ROUTE,
            ttls=dict(ttls or {}) or None,
            replace=replace or None,
            persistent=persistent,
            timeout=timeout,
            wait=wait or None,
            comment=comment or None,
            table=table or None,
            hairpin=hairpin or None,
            enabled=None if enabled else False,
        )
        body = [source, group, iif, list(oifs), options]
        await self._change("AddRoute", body)

    async def change_route(
        self,
        group: str,
        *,
        source: str = ANY_SOURCE,
        iif: str | None = None,
        table: int = 0,
        add_oifs: Sequence[str] = (),
        remove_oifs: Sequence[str] = (),
        to_iif: str | None = None,
        ttls: Mapping[str, int] | None = None,
        comment: str | None = None,
        persistent: bool | None = None,
        hairpin: bool | None = None,
        enabled: bool | None = None,
        timeout: int | None = None,
        wait: bool = False,
    ) -> None:
        """Change a part of a route, in one step: what is left out stays.

        iif and table say which route, as for `delete_route`. ttls: TTL thresholds of oifs, also of
        those that are added. timeout: seconds from now; 0 for no timeout any more. enabled: if not,
        the route is kept, and as if it were not there. wait: interfaces that are new in it need not
        be there yet.
        """
        options = variants(
            CHANGE_ROUTE,
            add_oifs=list(add_oifs) or None,
            remove_oifs=list(remove_oifs) or None,
            to_iif=to_iif,
            ttls=dict(ttls or {}) or None,
            comment=comment,
            persistent=persistent,
            hairpin=hairpin,
            enabled=enabled,
            timeout=timeout,
            wait=wait or None,
        )
        body = [source, group, options | strings(iif=iif) | table_number(table or None)]
        await self._change("ChangeRoute", body)

    async def delete_route(
        self, group: str, *, source: str = ANY_SOURCE, iif: str | None = None, table: int = 0
    ) -> None:
        """Delete a route. iif: needed where several routes differ in it alone. table: a number."""
        body = [source, group, strings(iif=iif) | table_number(table or None)]
        await self._change("DeleteRoute", body)

    async def flush_routes(
        self, *, iif: str | None = None, group: str | None = None, table: int | None = None
    ) -> int:
        """Delete all routes, or those of an iif, a group prefix ("239.1.0.0/16") or a table.

        Returns the number of deleted routes.
        """
        body = [strings(iif=iif, group=group) | table_number(table)]
        (count,) = await self._change("FlushRoutes", body, timeout=LONG_TIMEOUT)
        return int(count)

    async def join_group(
        self,
        group: str,
        interface: str,
        *,
        source: str = ANY_SOURCE,
        persistent: bool = True,
        wait: bool = False,
        comment: str = "",
    ) -> None:
        """Join a group, or each group of a prefix, on an interface.

        persistent: keep it over a reboot. wait: the interface need not be there yet.
        """
        options = variants(
            JOIN_GROUP,
            persistent=None if persistent else False,
            wait=wait or None,
            comment=comment or None,
        )
        body = [group, source, interface, options]
        await self._change("JoinGroup", body)

    async def leave_group(self, group: str, interface: str, *, source: str = ANY_SOURCE) -> None:
        body: list[Any] = [group, source, interface, {}]
        await self._change("LeaveGroup", body)

    async def apply(
        self,
        document: str,
        *,
        merge: bool = False,
        dry_run: bool = False,
        wait: bool = False,
        empty: bool = False,
        remove: bool = False,
        persistent: bool = True,
    ) -> tuple[int, int, int]:
        """Make the routes and memberships of a JSON document those of the service.

        merge: delete nothing. dry_run: do nothing. wait: interfaces need not be there yet. empty:
        allow a document without entries, which deletes all. remove: take away what it names, and
        do nothing else. persistent: if not, what is new ends with the next boot, and nothing else
        is removed. Returns how many were, or would be, added, changed and deleted.
        """
        given = {
            "merge": merge,
            "dry-run": dry_run,
            "wait": wait,
            "empty": empty,
            "remove": remove,
        }
        options = {name: Variant("b", True) for name, value in given.items() if value}
        if not persistent:
            options["persistent"] = Variant("b", False)
        added, changed, deleted = await self._change(
            "Apply", [document, options], timeout=LONG_TIMEOUT
        )
        return added, changed, deleted

    async def reload(self) -> None:
        """Have the configuration read again. Its problems are the error's text, a line for each."""
        await self._change("Reload", [{}], timeout=LONG_TIMEOUT)

    async def undo(self, number: int | None = None) -> int:
        """Undo a change of the history, or the last one of this user. Return its number."""
        body = [numbers(number=number)]
        (undone,) = await self._change("Undo", body, timeout=LONG_TIMEOUT)
        return int(undone)

    async def _change(
        self,
        member: str,
        body: Sequence[Any],
        *,
        timeout: float = TIMEOUT,
    ) -> list[Any]:
        return await self._remote.call(member, body, interactive=self.interactive, timeout=timeout)
