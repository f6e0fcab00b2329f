"""In CI a skip is a failure: the machine there has everything, so a skipped test is one lost.

And no test is judged by its speed, on whatever machine.
"""

import os
import signal
import socket
from collections.abc import Generator, Iterator

import pytest
from hypothesis import is_hypothesis_test, settings
from lab.topology import Topology

settings.register_profile("patient", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=5, stateful_step_count=25)
settings.load_profile("patient")

# Seconds for one test of hypothesis, which is many. One that is cut off in an example says
# "Inconsistent data generation", since the same example goes on when it is tried again.
_PATIENCE = 900

IN_CI = bool(os.environ.get("CI"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--thorough", action="store_true", help="try more of what goes wrong")


def pytest_configure(config: pytest.Config) -> None:
    # What is started in the background of a script ignores Ctrl-C, and what it starts does too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if IN_CI:  # a file that cannot be collected must not hide what the others have to say
        config.option.continue_on_collection_errors = True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if is_hypothesis_test(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.timeout(_PATIENCE))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_if_skipped(report)
    return report


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """A test that is expected to fail (xfail) is reported as skipped too, and is none."""
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"A skip is a failure in CI. {reason}"


@pytest.fixture(scope="session")
def thorough(pytestconfig: pytest.Config) -> bool:
    """Whether to try all, and not only some of each kind."""
    return bool(pytestconfig.getoption("--thorough"))


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
def family(request: pytest.FixtureRequest) -> socket.AddressFamily:
    family: socket.AddressFamily = request.param
    return family


@pytest.fixture
def lab(family: socket.AddressFamily) -> Iterator[Topology]:
    """Two upstreams and two downstreams."""
    with Topology(family, downstreams=2, upstreams=2) as lab:
        yield lab
