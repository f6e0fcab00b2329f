"""OpenMetrics, read back, and by Prometheus's own tool."""

import shutil
import subprocess
from collections.abc import Mapping

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

# The value of each sample, by its name and labels.
Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def read(text: str) -> Samples:
    """Raises ValueError for what is no OpenMetrics."""
    families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def promtool(*words: object, text: str = "") -> str:
    """Run promtool on a text, or on files; it must be content. Return what it says."""
    if not shutil.which("promtool"):
        pytest.skip("there is no promtool")
    command = ["promtool", *map(str, words)]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def one(samples: Samples, name: str, **labels: str) -> float:
    """The value of the sample with exactly these labels."""
    return samples[name, frozenset(labels.items())]


def by(samples: Samples, name: str, label: str) -> dict[str, float]:
    """The values of a metric by one of its labels."""
    return {dict(labels)[label]: value for (each, labels), value in samples.items() if each == name}
