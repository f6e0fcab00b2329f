"""The settings that the service goes by, and the way back from those that could not be stored."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from mfc_dbus.config.settings import CurrentSettings, Settings
from mfc_dbus.control.reconciler import Reconciler
from mfc_dbus.control.router_discovery import RouterDiscovery
from mfc_dbus.model.errors import RequestError

log = logging.getLogger(__name__)


class SettingsInForce:
    """Has tables and interfaces follow the settings. It alone changes `CurrentSettings`."""

    def __init__(
        self, current: CurrentSettings, reconciler: Reconciler, router_discovery: RouterDiscovery
    ) -> None:
        self._current = current
        self._committed = current.now
        self._reconciler = reconciler
        self._router_discovery = router_discovery

    @contextmanager
    def changing_to(self, settings: Settings) -> Iterator[None]:
        """Go by other settings, and by those of before again if what this is the context of fails.

        Raises KernelError.
        """
        before = self._current.now
        try:
            self._go_by(settings)
            yield
        except Exception:
            self._go_back_to(before)
            raise

    def commit(self) -> None:
        """Keep the present settings: what was changed with them is stored."""
        self._committed = self._current.now

    def take_back(self) -> None:
        """Go by the settings of the last commit again, as far as the kernel allows."""
        if self._current.now is not self._committed:
            self._go_back_to(self._committed)

    def _go_by(self, settings: Settings) -> None:
        self._current.now = settings
        self._router_discovery.configure(self._reconciler.present)
        self._reconciler.own(settings.tables)
        self._reconciler.watch_others(settings.discovery_interfaces)

    def _go_back_to(self, settings: Settings) -> None:
        try:
            self._go_by(settings)
        except RequestError as error:
            log.error("Not all settings are those of before: %s", error)
