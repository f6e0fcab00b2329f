"""The words that findings share."""

from collections.abc import Mapping, Sequence

from mfc_dbus.explain.situation import StreamQuestion
from mfc_dbus.model.addresses import format_address, format_source, format_stream
from mfc_dbus.model.findings import Code, Fact, Finding, Level
from mfc_dbus.model.quoting import quote
from mfc_dbus.model.route import Route
from mfc_dbus.model.status import Sighting

SECOND = 1_000_000_000


def problem(
    code: Code, sentence: str, remedy: str = "", facts: Mapping[str, Fact] | None = None
) -> Finding:
    return Finding(code, Level.PROBLEM, sentence, remedy, facts or {})


def stream(question: StreamQuestion) -> str:
    return format_stream(question.source, question.group)


def packets(count: int) -> str:
    return f"{count} packet{'' if count == 1 else 's'}"


def name(route: Route) -> str:
    return f"{route} from {quote(route.iif)}"


def facts_of(route: Route) -> Mapping[str, Fact]:
    """Return what says which route it is, and where it leads."""
    return {
        "route-source": format_source(route.source),
        "route-group": str(route.group),
        "route-iif": route.iif,
        "route-table": route.table,
        "route-oifs": [oif.name for oif in route.oifs],
        "route-hairpin": route.hairpin,
    }


def senders(sightings: Sequence[Sighting]) -> Sequence[str]:
    """Write the sources of what was seen, each once."""
    return list(dict.fromkeys(format_address(each.source) for each in sightings))
