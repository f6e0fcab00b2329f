"""The names of users, which may come from a directory in the network that does not answer."""

import asyncio
import pwd

from mfc_dbus.loop.worker import aside
from mfc_dbus.model.quoting import printable

_PATIENCE = 0.5  # seconds; a name that comes later is there for the next one who asks
_MAX_NAMES = 1024
_MAX_LENGTH = 64  # characters of a name
_MAX_AT_ONCE = 4  # threads that wait for a directory


class Users:
    """Looks up the names of uids, each once, in threads of their own."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._asked: dict[int, asyncio.Future[str]] = {}
        self._late: set[int] = set()  # of those asked for, for which somebody has waited in vain

    async def name(self, uid: int) -> str:
        """Return the name of a user, empty where nobody knows it, or not in time."""
        if uid in self._names:
            return self._names[uid]
        if uid in self._late:
            return ""
        if uid not in self._asked:
            if len(self._asked) >= _MAX_AT_ONCE:
                return ""
            self._asked[uid] = aside(_look_up, uid)
            self._asked[uid].add_done_callback(lambda asked: self._remember(uid, asked))
        try:
            async with asyncio.timeout(_PATIENCE):
                return await asyncio.shield(self._asked[uid])
        except TimeoutError:
            if uid in self._asked:
                self._late.add(uid)
            return ""

    def _remember(self, uid: int, asked: "asyncio.Future[str]") -> None:
        del self._asked[uid]
        self._late.discard(uid)
        if asked.cancelled() or asked.exception():
            return
        if len(self._names) >= _MAX_NAMES:
            del self._names[next(iter(self._names))]
        self._names[uid] = asked.result()


def _look_up(uid: int) -> str:
    try:
        return printable(pwd.getpwuid(uid).pw_name[:_MAX_LENGTH])
    except (KeyError, OSError):
        return ""
