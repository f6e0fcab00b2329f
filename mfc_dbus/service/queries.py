"""The methods of our own interface that only read, each of which may take long."""

from collections.abc import Mapping

from mfc_dbus.bus.backend import Body
from mfc_dbus.bus.calls import Call
from mfc_dbus.bus.connection import Connection
from mfc_dbus.control.controller import Controller
from mfc_dbus.service import describe, explanations, listed_streams, past_changes
from mfc_dbus.service.access import Access
from mfc_dbus.service.request import Prepare, Request, read_options


class Queries:
    """The behaviour of these methods: by its name, what makes a request of a call."""

    def __init__(self, connection: Connection, access: Access, controller: Controller) -> None:
        self._connection = connection
        self._access = access
        self._controller = controller
        self._readers = describe.LongAnswers()
        self._history_readers = describe.LongAnswers()
        self._streams = listed_streams.ListedStreams(controller.view)
        self._explanations = explanations.Explanations(controller.observer)
        self.prepare: Mapping[str, Prepare] = {
            "Describe": self._describe,
            "ListStreams": self._list_streams,
            "Explain": self._explain,
            "ListChanges": self._list_changes,
        }

    def _describe(self, call: Call) -> Request:
        (options,) = call.body
        chosen = describe.parse_filter(read_options(options, describe.OPTIONS))

        async def act() -> Body:
            sender = call.header.sender
            async with self._readers.turn(sender, await self._access.known_uid(sender)):
                await self._connection.writable()
                return await describe.describe(self._controller.view, chosen)

        return Request(act)

    def _list_changes(self, call: Call) -> Request:
        (options,) = call.body
        chosen = read_options(options, past_changes.OPTIONS)

        async def act() -> Body:
            sender = call.header.sender
            uid = await self._access.known_uid(sender)
            async with self._history_readers.turn(sender, uid):
                await self._connection.writable()
                return await past_changes.list_changes(self._controller.history, chosen)

        return Request(act)

    def _list_streams(self, call: Call) -> Request:
        (options,) = call.body
        question = listed_streams.parse_question(read_options(options, listed_streams.OPTIONS))

        async def act() -> Body:
            sender = call.header.sender
            uid = await self._access.known_uid(sender)
            return await self._streams.answer(question, sender, uid)

        return Request(act)

    def _explain(self, call: Call) -> Request:
        source, group, options = call.body
        question, seconds = explanations.parse_question(
            source, group, read_options(options, explanations.OPTIONS)
        )
        self._controller.observer.check(question)

        async def act() -> Body:
            sender = call.header.sender
            uid = await self._access.known_uid(sender)
            async with self._explanations.place(sender, uid):
                found = await self._explanations.explain(question, seconds, uid)
            return [[explanations.describe(each) for each in found]]

        return Request(act)
