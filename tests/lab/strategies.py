"""Routes that hypothesis draws from few addresses and interfaces, so that many share streams."""

from hypothesis import settings
from hypothesis import strategies as st

from mfc_dbus.model.route import Route, parse_route

INTERFACES = ["eth0", "eth1", "eth2"]
NAMES = st.sampled_from([*INTERFACES, "eth*", "eth[01]", "*"])
SOURCES = ["10.0.0.1", "10.0.0.2", "10.128.0.1", "11.0.0.1"]
GROUPS = ["239.0.0.1", "239.0.0.2", "239.128.0.1", "238.0.0.1"]
_SOURCE_PREFIXES = st.sampled_from(["*", "8.0.0.0/5", "10.0.0.0/8", "10.0.0.0/30", *SOURCES])
_GROUP_PREFIXES = st.sampled_from(["224.0.0.0/4", "239.0.0.0/8", "239.0.0.0/30", *GROUPS])


@st.composite
def routes(draw: st.DrawFn) -> Route:
    iif = draw(NAMES)
    oifs = draw(st.lists(NAMES, unique=True, max_size=2).filter(lambda oifs: iif not in oifs))
    return parse_route(draw(_SOURCE_PREFIXES), draw(_GROUP_PREFIXES), iif, oifs)


def effort(runs: int, steps: int) -> settings:
    """How long a state machine is run: so often, with so many steps each time.

    A profile that does less of all else than hypothesis by itself does as much less of these.
    """
    profile = settings()
    return settings(
        max_examples=max(1, runs * profile.max_examples // 100),
        stateful_step_count=max(1, steps * profile.stateful_step_count // 50),
    )
