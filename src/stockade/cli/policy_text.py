"""Network policies as bodies of requests and as lines for people. Without IO."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stockade.cli.show import moment
from stockade.policy.model import AllowedCidr, NetworkPolicy

_FLAGS = (
    "allow_all",
    "allow_devbox_to_devbox",
    "allow_agent_gateway",
    "allow_mcp_gateway",
    "allow_runloop_mirrors",
)


def body_of(policy: NetworkPolicy | Mapping[str, Any]) -> dict[str, Any]:
    """The body that makes a policy what *policy* is: every field, none left to chance.

    *policy* is a value, or the view of one that the server has.
    """
    if not isinstance(policy, NetworkPolicy):
        egress = policy["egress"]
        fields = {key: policy.get(key) for key in ("name", "description")}
        policy = NetworkPolicy.from_mapping({**fields, **egress})
    body = policy.to_mapping()
    # Null keeps what is there; what the file does not say, is not to stay.
    body["description"] = body["description"] or ""
    return body


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What turns one body into the other, as lines with `+` and `-`."""
    lines: list[str] = []
    for key, new in after.items():
        old = before.get(key)
        if isinstance(new, list):
            olds, news = _entries(key, old or []), _entries(key, new)
            lines += [f"- {key}: {entry}" for entry in olds if entry not in news]
            lines += [f"+ {key}: {entry}" for entry in news if entry not in olds]
        elif old != new and (before or new not in (False, "")):
            if old not in (None, ""):
                lines.append(f"- {key}: {_text(old)}")
            if new != "":
                lines.append(f"+ {key}: {_text(new)}")
    return lines


def fields_of(view: Mapping[str, Any]) -> dict[str, object]:
    """A policy's view, as `print_fields` takes it."""
    egress = view["egress"]
    fields: dict[str, object] = {
        "id": view["id"],
        "name": view["name"],
        "description": view.get("description"),
        "allowed_hostnames": egress["allowed_hostnames"],
        "allowed_cidrs": _entries("allowed_cidrs", egress["allowed_cidrs"]),
    }
    fields.update({flag: _text(egress[flag]) for flag in _FLAGS})
    fields["created"] = moment(view["create_time_ms"])
    fields["changed"] = moment(view["update_time_ms"])
    return fields


def _entries(key: str, values: list[Any]) -> list[str]:
    if key == "allowed_cidrs":
        return [str(AllowedCidr.from_mapping(value, key)) for value in values]
    return [str(value) for value in values]


def _text(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
