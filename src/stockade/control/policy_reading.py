"""Reading a policy from a request: what is wrong with it is said all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from stockade.errors import HostnameError, InvalidRequest
from stockade.names import HostPattern
from stockade.policy.model import AllowedCidr, NetworkPolicy

_SHOWN = 20


def read_policy(raw: Mapping[str, object]) -> NetworkPolicy:
    """The policy that *raw* describes. Raises `InvalidRequest` with every bad entry."""
    try:
        return NetworkPolicy.from_mapping(raw)
    except InvalidRequest as first:
        problems = list(dict.fromkeys(_problems(raw))) or [str(first)]
    text = "; ".join(problems[:_SHOWN])
    if len(problems) > _SHOWN:
        text += f"; and {len(problems) - _SHOWN} more"
    raise InvalidRequest(text).coded("invalid_network_policy")


def _problems(raw: Mapping[str, object]) -> Iterator[str]:
    """Each field by itself, and in the lists each entry by itself."""
    named = {"name": "x"}
    for key, value in raw.items():
        if key == "allowed_hostnames" and isinstance(value, list):
            yield from _entries(key, value, _read_hostname)
        elif key == "allowed_cidrs" and isinstance(value, list):
            yield from _entries(key, value, _read_cidr)
        yield from _problem(partial(_read_alone, {**named, key: value}))
    if "name" not in raw:
        yield from _problem(partial(_read_alone, {}))


def _read_alone(fields_given: Mapping[str, object]) -> None:
    """Read one field, but not the entries of a list: they are read one by one."""
    known = dict(fields_given)
    for key in ("allowed_hostnames", "allowed_cidrs"):
        value = known.get(key)
        if isinstance(value, list):
            # As many good entries, for the bound on their number.
            good: object = "a.test" if key == "allowed_hostnames" else _GOOD_CIDR
            known[key] = [good] * len(value)
    NetworkPolicy.from_mapping(known)


_GOOD_CIDR = {"cidr": "192.0.2.0/24"}


def _entries(
    key: str, values: list[object], read: Callable[[object, str], object]
) -> Iterator[str]:
    for index, value in enumerate(values):
        yield from _problem(partial(read, value, f"{key}[{index}]"))


def _read_hostname(value: object, where: str) -> object:
    if not isinstance(value, str):
        raise InvalidRequest(f"{where}: {value!r} is not a text")
    try:
        return HostPattern.parse(value)
    except HostnameError as error:
        raise InvalidRequest(f"{where}: {error}") from None


def _read_cidr(value: object, where: str) -> object:
    return AllowedCidr.from_mapping(value, where)


def _problem(read: Callable[[], object]) -> Iterator[str]:
    try:
        read()
    except InvalidRequest as error:
        yield str(error)[:500]
