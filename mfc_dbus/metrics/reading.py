"""Reads from the service, over the bus, all that metrics are made of."""

import time
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from mfc_dbus.client import Client, ClientError, InterfaceInfo, StatisticsInfo, TableInfo

if TYPE_CHECKING:
    from mfc_dbus.documents.entries import Report

T = TypeVar("T")


class Reading(NamedTuple):
    """What the service told, and how long each question took, in seconds, by its member."""

    version: str
    changes: int  # Generation
    tables: Sequence[TableInfo]
    interfaces: Sequence[InterfaceInfo]
    report: "Report"
    learned: int
    statistics: StatisticsInfo
    seconds: dict[str, float]


async def read(client: Client) -> Reading | None:
    """Ask the service for everything; None where it does not run. Raises ClientError."""
    seconds: dict[str, float] = {}

    async def timed(member: str, question: Awaitable[T]) -> T:
        begin = time.monotonic()
        try:
            return await question
        finally:
            seconds[member] = time.monotonic() - begin

    try:
        version = await timed("Version", client.version())
        changes = await timed("Generation", client.generation())
        tables = await timed("Tables", client.tables())
        interfaces = await timed("Interfaces", client.interfaces())
        report = await timed("Describe", client.describe())
        _, learned = await timed("ListStreams", client.streams(learned=True, limit=0))
        statistics = await timed("GetStatistics", client.statistics())
    except ClientError:
        if await client.owner():
            raise
        return None
    return Reading(version, changes, tables, interfaces, report, learned, statistics, seconds)
