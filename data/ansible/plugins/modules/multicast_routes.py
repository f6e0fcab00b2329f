"""Applies a document of multicast routes and memberships on a managed host."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.command_line import ARGUMENTS, CommandLine, as_text

DOCUMENTATION = r"""
---
module: multicast_routes
short_description: Apply a document of multicast routes and memberships
description:
  - Makes the routes and memberships of a document those of the host's mfc-dbus service,
    by C(mfc-dbus-cli apply). All of the document is done or nothing of it, and a route that stays
    loses no packet.
  - Left alone is what no document speaks for, which are routes with a timeout and what
    C(/etc/mfc-dbus/routes.d) has.
version_added: 0.1.0
options:
  document:
    description:
      - The document, as text in TOML or JSON, or as data with the lists C(route) and C(membership).
        mfc-dbus-routes(5) says what entries have.
    type: raw
    required: true
  state:
    description:
      - V(exact) has what the document says and deletes all else.
      - V(merged) adds and changes, and deletes nothing.
      - V(absent) takes away what the document names, whatever else it is by now.
    type: str
    choices: [exact, merged, absent]
    default: exact
  transient:
    description: What is new or changed ends with the next boot.
    type: bool
    default: false
  wait:
    description: Accept interfaces that do not exist yet.
    type: bool
    default: false
  empty:
    description: A document without entries deletes all there are, and is not refused.
    type: bool
    default: false
  backup:
    description:
      - A directory on the host, made where it is missing, for a document of all that was there
        before, if anything changes. The same module takes it to go back.
    type: path
attributes:
  check_mode:
    description: The service itself says what it would change, or why it would refuse.
    support: full
  diff_mode:
    description: A line for each value of what is added, changed and deleted.
    support: full
requirements:
  - mfc-dbus on the managed host
extends_documentation_fragment: example.multicast_forwarding.command_line
author:
  - mfc-dbus maintainers (@mfc-dbus)
"""

EXAMPLES = r"""
- name: A file of the repository for each router
  example.multicast_forwarding.multicast_routes:
    document: "{{ lookup('ansible.builtin.file', 'documents/' ~ inventory_hostname ~ '.toml') }}"
    backup: /var/backups/mfc-dbus

- name: One stream more, until the next boot
  example.multicast_forwarding.multicast_routes:
    state: merged
    transient: true
    document:
      route:
        - source: 10.0.1.10
          group: 239.1.1.1
          iif: eth1
          oifs: [eth2, eth3]
"""

RETURN = r"""
difference:
  description: What has changed, or in check mode would change. A membership has an C(interface).
  returned: success
  type: dict
  contains:
    added:
      description: Entries that were not there.
      type: list
      elements: dict
    changed:
      description: Entries that were others, C(before) and C(after).
      type: list
      elements: dict
    deleted:
      description: Entries that are gone.
      type: list
      elements: dict
backup_file:
  description: The document of what was there before.
  returned: with O(backup), if anything was changed
  type: path
  sample: /var/backups/mfc-dbus/20261127T200801.123456Z.toml
problems:
  description: What is wrong with the document, each with C(message), and C(line) where it has one.
  returned: failure
  type: list
  elements: dict
"""

_OPTIONS = {"exact": [], "merged": ["--merge"], "absent": ["--remove"]}
_KEY = ("table", "source", "group", "iif", "interface")
Entry = Mapping[str, Any]


def main() -> None:
    flags = {name: {"type": "bool", "default": False} for name in ("transient", "wait", "empty")}
    module = AnsibleModule(
        argument_spec={
            "document": {"type": "raw", "required": True},
            "state": {"choices": [*_OPTIONS], "default": "exact"},
            "backup": {"type": "path"},
            **flags,
            **ARGUMENTS,
        },
        supports_check_mode=True,
    )
    given = module.params
    options = [*_OPTIONS[given["state"]], *(f"--{name}" for name in flags if given[name])]
    backup = None
    if module.check_mode:
        options.append("--dry-run")
    elif given["backup"]:
        backup = _new_file(Path(given["backup"]))
        options += ["--backup", str(backup)]
    difference = CommandLine(module).ask("apply", "-", *options, data=as_text(given["document"]))
    result = {
        "changed": any(difference.values()),
        "difference": difference,
        "diff": {
            "before": _lines([*_each(difference, "before"), *difference["deleted"]]),
            "after": _lines([*_each(difference, "after"), *difference["added"]]),
            "before_header": "multicast routes and memberships",
            "after_header": "multicast routes and memberships",
        },
    }
    if result["changed"] and backup is not None:
        result["backup_file"] = str(backup)
    module.exit_json(**result)


def _new_file(directory: Path) -> Path:
    """Name a file that is not there yet, in a directory that is made where it is missing."""
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    now = time.time_ns()
    written = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now // 10**9))
    return directory / f"{written}.{now % 10**9 // 1000:06}Z.toml"


def _each(difference: Mapping[str, Sequence[Entry]], which: str) -> Iterator[Entry]:
    return (change[which] for change in difference["changed"])


def _lines(entries: Sequence[Entry]) -> str:
    """Write a line for each value of each entry, which all name the entry, in the same order."""
    lines = [
        f"({entry.get('source', '*')}, {entry['group']}) {name} = {json.dumps(entry[name])}\n"
        for entry in sorted(entries, key=lambda each: [str(each.get(key, "")) for key in _KEY])
        for name in sorted(entry)
        if name not in ("source", "group")
    ]
    return "".join(lines)


if __name__ == "__main__":
    main()
