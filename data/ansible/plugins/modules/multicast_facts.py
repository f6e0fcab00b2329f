"""Tells how mfc-dbus is on a managed host, as facts."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.command_line import (
    ARGUMENTS,
    DONE,
    NOT_RUNNING,
    CommandLine,
)

DOCUMENTATION = r"""
---
module: multicast_facts
short_description: Tell how mfc-dbus is on a host
description:
  - Asks C(mfc-dbus-cli) how the service is, and what it has.
version_added: 0.1.0
options:
  gather_subset:
    description:
      - What to ask for beside the status. A router may have a hundred thousand routes, which then
        travel to the controller.
    type: list
    elements: str
    choices: [interfaces, memberships, routes, tables]
    default: [interfaces]
attributes:
  facts:
    description: It sets C(ansible_facts.multicast).
    support: full
extends_documentation_fragment: example.multicast_forwarding.command_line
author:
  - mfc-dbus maintainers (@mfc-dbus)
"""

EXAMPLES = r"""
- name: How it is
  example.multicast_forwarding.multicast_facts:

- name: Which routes wait
  ansible.builtin.debug:
    msg: "{{ ansible_facts.multicast.status.problems }}"
"""

RETURN = r"""
ansible_facts:
  description: What was found.
  returned: always
  type: dict
  contains:
    multicast:
      description: Of the service.
      type: dict
      contains:
        installed:
          description: Whether the host has the command line; without it there is nothing else here.
          type: bool
        status:
          description: >-
            What C(mfc-dbus-cli --json status) tells, such as C(running), C(version), C(routes) (how
            many in each state) and C(problems) (sentences).
          type: dict
        interfaces:
          description: >-
            As C(mfc-dbus-cli --json show) tells them; so are C(memberships), C(routes) and
            C(tables). Missing where the service does not run.
          type: list
          elements: dict
"""

_SUBSETS = ["interfaces", "memberships", "routes", "tables"]


def main() -> None:
    subset = {
        "type": "list",
        "elements": "str",
        "choices": _SUBSETS,
        "default": ["interfaces"],
    }
    module = AnsibleModule(
        argument_spec={"gather_subset": subset, **ARGUMENTS}, supports_check_mode=True
    )
    command_line = CommandLine(module)
    facts: dict[str, Any] = {"installed": command_line.installed}
    if command_line.installed:
        facts["status"] = command_line.ask("status", accepted=(DONE, NOT_RUNNING))
        if facts["status"]["running"]:
            for name in module.params["gather_subset"]:
                facts[name] = command_line.ask("show", name)
    module.exit_json(changed=False, ansible_facts={"multicast": facts})


if __name__ == "__main__":
    main()
