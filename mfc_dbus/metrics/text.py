"""Writes metrics as text, by Prometheus' own library."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import exposition
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector, CollectorRegistry


class _Collected(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = [*metrics]

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics


def registry(metrics: Iterable[Metric]) -> CollectorRegistry:
    """Make a registry of metrics that have their values."""
    made = CollectorRegistry(auto_describe=False)
    made.register(_Collected(metrics))
    return made


# By the name that the command line has for it.
FORMATS: Mapping[str, Callable[[CollectorRegistry], bytes]] = {
    "openmetrics": openmetrics.generate_latest,
    "text": exposition.generate_latest,
}
