"""What the user does: calls that change something, what is told of them, and how they are undone.

No call is made that the user may not make. Where a password is needed he unlocks first, and from
then on polkit may ask for it (ALLOW_INTERACTIVE_AUTHORIZATION).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gi.repository import GLib, GObject

from mfc_dbus.applet import texts
from mfc_dbus.applet.coroutines import spawn
from mfc_dbus.applet.requests import (
    Request,
    change_route,
    delete_route,
    leave_group,
    shape,
)
from mfc_dbus.applet.service import LONG_TIMEOUT_MS, TIMEOUT_MS, Service
from mfc_dbus.applet.translation import _
from mfc_dbus.client.errors import ClientError
from mfc_dbus.client.info import FindingInfo, MembershipInfo, RouteInfo
from mfc_dbus.model.members import Action, Permission

_RECENT = 20  # changes among which one is looked for that is to be undone
_NOTHING = Request("Apply", ("{}",), {"merge": True, "dry-run": True})


class Acting(GObject.Object):
    """Makes the calls.

    told: a sentence on what was done, and what undoes it, or None. failed: a sentence. locks: what
    the user may do is another now.
    """

    __gsignals__ = {  # noqa: RUF012 # GObject reads it from the class
        "told": (GObject.SignalFlags.RUN_FIRST, None, (str, object)),
        "failed": (GObject.SignalFlags.RUN_FIRST, None, (str,)),
        "locks": (GObject.SignalFlags.RUN_FIRST, None, ()),
    }

    def __init__(self, service: Service) -> None:
        super().__init__()
        self._service = service
        self._unlocked = False
        self._before: Mapping[Action, Permission] = {}
        self._handlers = [
            service.connect("permissions-changed", self._permissions_changed),
            service.connect("reset", self._permissions_changed),
            service.connect("availability-changed", lambda *_: self.emit("locks")),
        ]

    def stop(self) -> None:
        """Follow the service no longer."""
        for handler in self._handlers:
            self._service.disconnect(handler)
        self._handlers.clear()

    def may(self, action: Action = Action.MANAGE_ROUTES) -> bool:
        """Return whether the user can do this now, perhaps after a password."""
        permission = self._service.state.may(action)
        allowed = permission is Permission.YES or (permission is Permission.AUTH and self._unlocked)
        return self._service.available and allowed

    @property
    def is_locked(self) -> bool:
        """Whether there is something that the user could unlock."""
        permissions = [self._service.state.may(action) for action in _ACTIONS]
        return self._service.available and Permission.AUTH in permissions and not self._unlocked

    @property
    def is_forbidden(self) -> bool:
        """Whether the user can change nothing, whatever he types."""
        permissions = {self._service.state.may(action) for action in _ACTIONS}
        return self._service.available and permissions == {Permission.NO}

    def check(self, request: Request, granted: Callable[[], None]) -> None:
        """Call `granted` where the user may make this call though not all of its kind."""
        spawn(self._check(request, granted))

    def unlock(self) -> None:
        spawn(self._unlock())

    def do(
        self,
        request: Request,
        told: str,
        *,
        undo: Callable[[], None] | None = None,
        done: Callable[[str], None] | None = None,
    ) -> None:
        """Make a call and tell of it. done: gets "" where it succeeded, else why not; without it
        a failure is told.
        """
        spawn(self._do(request, told, undo, done))

    def delete(self, route: RouteInfo) -> None:
        name = texts.stream(route.source, route.group)
        self.do(
            delete_route(route),
            _("Deleted {route}").format(route=name),
            undo=lambda: spawn(self._undo_delete(route.source, route.group)),
        )

    def leave(self, membership: MembershipInfo) -> None:
        name = texts.stream(membership.source, membership.group)
        self.do(
            leave_group(membership),
            _("Left {group}").format(group=name),
            undo=lambda: spawn(self._undo_delete(membership.source, membership.group)),
        )

    def enable(self, route: RouteInfo, *, enabled: bool, failed: Callable[[], None]) -> None:
        name = texts.stream(route.source, route.group)
        told = _("Switched {route} on") if enabled else _("Switched {route} off")
        self._try(change_route(route, enabled=enabled), told.format(route=name), failed)

    def set_oif(
        self,
        route: RouteInfo,
        oif: str,
        *,
        leaves: bool,
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        """Have a route leave by an interface too, or no longer."""
        name = texts.stream(route.source, route.group)
        if leaves:
            request = change_route(route, add_oifs=[oif])
            told = _("{route} leaves by {oif} too")
        else:
            request = change_route(route, remove_oifs=[oif])
            told = _("{route} leaves by {oif} no longer")
        self._try(request, told.format(route=name, oif=oif), failed)

    def _try(self, request: Request, told: str, failed: Callable[[], None]) -> None:
        """Make a call; where it fails say so, and take back what the user sees."""

        def done(sentence: str) -> None:
            if sentence:
                self._fail(sentence)
                failed()

        self.do(request, told, done=done)

    def explain(
        self,
        source: str,
        group: str,
        iif: str,
        done: Callable[[Sequence[FindingInfo], str], None],
    ) -> None:
        """Ask why a stream is forwarded or not. done: gets the findings, and why there are none."""
        spawn(self._explain(source, group, iif, done))

    def apply(
        self,
        document: str,
        options: Mapping[str, bool],
        done: Callable[[Sequence[int], str], None],
    ) -> None:
        """Apply a document. done: gets the numbers of what it changes, or what is wrong with it."""
        spawn(self._apply(document, options, done))

    async def _check(self, request: Request, granted: Callable[[], None]) -> None:
        arguments = GLib.Variant("(sv)", (request.member, _arguments(request)))
        try:
            (permission,) = await self._service.ask("Check", arguments)
        except ClientError:
            return  # it is gone, or cannot be done for another reason
        if permission == Permission.YES:
            granted()

    async def _call(self, request: Request) -> list[Any]:
        arguments = _arguments(request)
        long = LONG_TIMEOUT_MS if request.member == "Apply" else TIMEOUT_MS
        interactive = self._unlocked and request.member not in ("Explain", "ListChanges")
        values: list[Any] = await self._service.ask(
            request.member, arguments, interactive=interactive, timeout_ms=long
        )
        return values

    async def _do(
        self,
        request: Request,
        told: str,
        undo: Callable[[], None] | None,
        done: Callable[[str], None] | None,
    ) -> None:
        try:
            await self._call(request)
        except ClientError as error:
            (done or self._fail)(str(error))
            return
        if done is not None:
            done("")
        self.emit("told", told, undo)

    def _fail(self, sentence: str) -> None:
        self.emit("failed", sentence)

    async def _unlock(self) -> None:
        """Have polkit ask for a password, by a call that changes nothing."""
        self._unlocked = True
        try:
            await self._call(_NOTHING)
        except ClientError as error:
            self._unlocked = False
            self._fail(_("It stays locked: {sentence}").format(sentence=error))
        self.emit("locks")

    async def _undo_delete(self, source: str, group: str) -> None:
        """Undo the last change that deleted this, by its number in the service's history."""
        try:
            changes, _total = await self._call(Request("ListChanges", (), {"limit": _RECENT}))
            numbers = [
                change["number"]
                for change in changes
                if change["action"] in ("delete", "leave")
                and "undone-by" not in change
                and (change.get("source"), change.get("group")) == (source, group)
            ]
            if not numbers:
                self._fail(_("The service does not know this change any more"))
                return
            await self._call(Request("Undo", (), {"number": numbers[0]}))
        except ClientError as error:
            self._fail(str(error))
        else:
            name = texts.stream(source, group)
            self.emit("told", _("{route} is back").format(route=name), None)

    async def _explain(
        self,
        source: str,
        group: str,
        iif: str,
        done: Callable[[Sequence[FindingInfo], str], None],
    ) -> None:
        request = Request("Explain", (source, group), {"iif": iif} if iif else {})
        try:
            (findings,) = await self._call(request)
        except ClientError as error:
            done([], str(error))
            return
        done([FindingInfo(**_known_finding(each)) for each in findings], "")

    async def _apply(
        self,
        document: str,
        options: Mapping[str, bool],
        done: Callable[[Sequence[int], str], None],
    ) -> None:
        try:
            numbers = await self._call(Request("Apply", (document,), options))
        except ClientError as error:
            done([], str(error))
        else:
            done(numbers, "")

    def _permissions_changed(self, *_: object) -> None:
        """Lock again where polkit no longer keeps the password."""
        now = {action: self._service.state.may(action) for action in _ACTIONS}
        for action, permission in now.items():
            if permission is Permission.AUTH and self._before.get(action) is Permission.YES:
                self._unlocked = False
        self._before = now
        self.emit("locks")


_ACTIONS = (Action.MANAGE_ROUTES, Action.MANAGE_MEMBERSHIPS)


def _arguments(request: Request) -> GLib.Variant:
    signature, signatures = shape(request)
    said = {name: GLib.Variant(signatures[name], value) for name, value in request.options.items()}
    return GLib.Variant(f"({signature}a{{sv}})", (*request.arguments, said))


def _known_finding(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: told[name] for name in FindingInfo._fields if name in told}
