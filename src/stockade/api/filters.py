"""Filters of lists by metadata: `metadata[KEY]=VALUE`, `metadata[KEY][in]=A,B`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from starlette.datastructures import QueryParams

from stockade.errors import InvalidRequest

_FILTER: Final = re.compile(r"metadata\[([^\[\]]{1,255})\](\[in\])?")


def metadata_filters(query: QueryParams) -> Mapping[str, list[str]]:
    """The values that each key may have. Raises `InvalidRequest`."""
    found: dict[str, list[str]] = {}
    for name, value in query.multi_items():
        # Older clients send this one, which says nothing, as it is written.
        if not name.startswith("metadata[") or name == "metadata[key]":
            continue
        match = _FILTER.fullmatch(name)
        if match is None:
            raise InvalidRequest(f"{name[:80]!r} is not a filter: metadata[KEY]=VALUE")
        values = value.split(",") if match[2] else [value]
        found.setdefault(match[1], []).extend(values)
    return found
