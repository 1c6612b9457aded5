"""What a devbox is launched with: read from a request, laid over defaults, checked once.

Every field is checked on its own when it is read, and all together in `complete`, after
the defaults of a blueprint or snapshot have been laid under them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from stockade.errors import InvalidRequest

MAX_KEEP_ALIVE = 172_800
DEFAULT_KEEP_ALIVE = 3_600
DEFAULT_HOOK_MS = 30_000
MAX_HOOK_MS = 60_000
CUSTOM = "CUSTOM_SIZE"
SIZES = {
    # cores, GiB of memory, GiB of disk
    "X_SMALL": (0.5, 1, 4),
    "SMALL": (1.0, 2, 4),
    "MEDIUM": (2.0, 4, 8),
    "LARGE": (2.0, 8, 16),
    "X_LARGE": (4.0, 16, 16),
    "XX_LARGE": (8.0, 32, 16),
}
_USER_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}", re.ASCII)
_MAX_UID = 65_533
_MAX_COMMANDS = 1_000


def read_launch_parameters(raw: object) -> dict[str, Any]:
    """The known fields of *raw* that are not null, each checked.

    Fields that are not known are ignored. Raises `InvalidRequest`.
    """
    given = mapping(raw, "launch_parameters")
    known: dict[str, Any] = {}
    for name, read in _FIELDS.items():
        if given.get(name) is not None:
            known[name] = read(given[name], f"launch_parameters.{name}")
    return known


def complete(fields: Mapping[str, Any], machine: str) -> dict[str, Any]:
    """*fields* with their defaults, checked against each other and the *machine*."""
    done = {"resource_size_request": "SMALL", **fields}
    architecture = done.get("architecture", machine)
    if architecture != machine:
        raise InvalidRequest(
            f"launch_parameters.architecture: this server runs {machine} devboxes, "
            f"not {architecture}"
        )
    if services := done.get("required_services"):
        raise InvalidRequest(
            f"launch_parameters.required_services: there is no service {services[0]!r}"
        )
    _check_idle(done)
    size_of(done)
    if "after_idle" not in done and idle_rule(done) is None:
        done.setdefault("keep_alive_time_seconds", DEFAULT_KEEP_ALIVE)
    return done


def size_of(fields: Mapping[str, Any]) -> tuple[float, int, int]:
    """Cores, GiB of memory and GiB of disk. Raises `InvalidRequest`."""
    size = fields["resource_size_request"]
    if size != CUSTOM:
        return SIZES[size]
    cores, memory = fields.get("custom_cpu_cores"), fields.get("custom_gb_memory")
    if cores is None or memory is None:
        raise InvalidRequest(
            "launch_parameters: CUSTOM_SIZE needs custom_cpu_cores and custom_gb_memory"
        )
    if not 2 <= memory / cores <= 8:
        raise InvalidRequest(
            f"launch_parameters: {memory} GiB for {cores} cores: 2 to 8 GiB a core "
            "are possible"
        )
    return cores, memory, fields.get("custom_disk_size", 4)


def idle_rule(fields: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """`after_idle`, wherever it was given."""
    nested = fields.get("lifecycle", {}).get("after_idle")
    found: Mapping[str, Any] | None = nested or fields.get("after_idle")
    return found


def mapping(raw: object, place: str) -> Mapping[str, Any]:
    """*raw*, if it is an object; null is an empty one. Raises `InvalidRequest`."""
    if raw is None:
        return {}
    if not isinstance(raw, Mapping):
        raise InvalidRequest(f"{place}: an object is required")
    return raw


def texts(raw: object, place: str) -> list[str]:
    """*raw*, if it is a list of texts. Raises `InvalidRequest`."""
    if not isinstance(raw, list) or len(raw) > _MAX_COMMANDS:
        raise InvalidRequest(f"{place}: a list of at most {_MAX_COMMANDS} is required")
    return [text(one, f"{place}[{index}]") for index, one in enumerate(raw)]


def text(raw: object, place: str) -> str:
    """*raw*, if it is a text that can be passed to a program."""
    if not isinstance(raw, str):
        raise InvalidRequest(f"{place}: a text is required")
    if "\0" in raw:
        raise InvalidRequest(f"{place}: a zero octet is not possible here")
    return raw


def whole(low: int, high: int) -> Callable[[object, str], int]:
    """Reads a whole number from *low* to *high*."""

    def read(raw: object, place: str) -> int:
        # JSON has one kind of number: 4.0 is 4.
        if isinstance(raw, float) and raw.is_integer():
            raw = int(raw)
        if type(raw) is not int or not low <= raw <= high:
            raise InvalidRequest(f"{place}: a whole number from {low} to {high}")
        return raw

    return read


def one_of(*words: str) -> Callable[[object, str], str]:
    """Reads one of *words*."""

    def read(raw: object, place: str) -> str:
        if raw not in words:
            raise InvalidRequest(f"{place}: one of {', '.join(words)} is required")
        return str(raw)

    return read


def _cores(raw: Any, place: str) -> float:
    # JSON has whole numbers that no float can hold.
    is_number = type(raw) in (int, float) and 0 < raw <= 16
    number = float(raw) if is_number else math.nan
    if number in (0.5, 1) or number % 2 == 0:
        return number
    raise InvalidRequest(f"{place}: 0.5, 1 or a multiple of 2 up to 16")


def _even(low: int, high: int, *others: int) -> Callable[[object, str], int]:
    read_whole = whole(min((low, *others)), high)

    def read(raw: object, place: str) -> int:
        number = read_whole(raw, place)
        if number not in others and number % 2:
            raise InvalidRequest(f"{place}: {number} is not a multiple of 2")
        return number

    return read


def _user(raw: object, place: str) -> dict[str, Any]:
    given = mapping(raw, place)
    name = text(given.get("username"), f"{place}.username")
    uid = whole(0, _MAX_UID)(given.get("uid"), f"{place}.uid")
    if _USER_NAME.fullmatch(name) is None:
        raise InvalidRequest(f"{place}.username: {name[:40]!r} is not a user name")
    if (name == "root") != (uid == 0):
        raise InvalidRequest(f"{place}: root, and nobody else, has the uid 0")
    return {"username": name, "uid": uid}


def _idle(raw: object, place: str) -> dict[str, Any]:
    given = mapping(raw, place)
    seconds = whole(1, 10**9)
    return {
        "idle_time_seconds": seconds(
            given.get("idle_time_seconds"), f"{place}.idle_time_seconds"
        ),
        "on_idle": one_of("shutdown", "suspend")(
            given.get("on_idle"), f"{place}.on_idle"
        ),
    }


def _hooks(raw: object, place: str) -> dict[str, Any]:
    given = mapping(raw, place)
    hooks: dict[str, Any] = {}
    if (commands := given.get("suspend_commands")) is not None:
        hooks["suspend_commands"] = texts(commands, f"{place}.suspend_commands")
    if (deadline := given.get("suspend_deadline_ms")) is not None:
        hooks["suspend_deadline_ms"] = whole(1, MAX_HOOK_MS)(
            deadline, f"{place}.suspend_deadline_ms"
        )
    return hooks


def _lifecycle(raw: object, place: str) -> dict[str, Any]:
    given = mapping(raw, place)
    lifecycle: dict[str, Any] = {}
    if given.get("after_idle") is not None:
        lifecycle["after_idle"] = _idle(given["after_idle"], f"{place}.after_idle")
    if (triggers := given.get("resume_triggers")) is not None:
        lifecycle["resume_triggers"] = {
            name: value
            for name, value in mapping(triggers, f"{place}.resume_triggers").items()
            if name in ("http", "axon_event") and isinstance(value, bool)
        }
    if given.get("lifecycle_hooks") is not None:
        place = f"{place}.lifecycle_hooks"
        lifecycle["lifecycle_hooks"] = _hooks(given["lifecycle_hooks"], place)
    return lifecycle


def _ports(raw: object, place: str) -> list[int]:
    if not isinstance(raw, list):
        raise InvalidRequest(f"{place}: a list of ports is required")
    return [whole(1, 65_535)(port, place) for port in raw]


def _check_idle(fields: Mapping[str, Any]) -> None:
    nested = fields.get("lifecycle", {}).get("after_idle")
    plain = fields.get("after_idle")
    if nested and plain and nested != plain:
        raise InvalidRequest(
            "launch_parameters: after_idle and lifecycle.after_idle differ; give one"
        )


_FIELDS: Mapping[str, Callable[[object, str], Any]] = {
    "resource_size_request": one_of(*SIZES, CUSTOM),
    "custom_cpu_cores": _cores,
    "custom_gb_memory": _even(2, 64, 1),
    "custom_disk_size": _even(2, 64),
    "architecture": one_of("x86_64", "arm64"),
    "keep_alive_time_seconds": whole(1, MAX_KEEP_ALIVE),
    "after_idle": _idle,
    "lifecycle": _lifecycle,
    "launch_commands": texts,
    "network_policy_id": text,
    "user_parameters": _user,
    "required_services": texts,
    "provisioning_tier": one_of("standard", "flex"),
    "available_ports": _ports,
}
