"""Writes the events that scripts would hear as lines of JSON, and runs none."""

import json

from mfc_dbus.dispatcher.backlog import Backlog
from mfc_dbus.dispatcher.heard import Heard


class Printer:
    """Takes events from the backlog as a Dispatcher does."""

    def __init__(self, heard: Heard) -> None:
        self._heard = heard
        self._stopping = False

    def wants_streams(self) -> bool:
        return True

    async def run(self, backlog: Backlog) -> None:
        while not self._stopping and await backlog.wait():
            event = backlog.next(self._heard)
            if event is not None:
                print(json.dumps(event.to_json()), flush=True)
                self._heard.finish(event, self._heard.number + 1)

    def stop(self) -> None:
        self._stopping = True

    def kill(self) -> None:
        self.stop()
