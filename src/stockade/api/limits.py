"""How large a body may be, by path, and what a body of JSON may hold."""

from __future__ import annotations

import re
from typing import Final

from stockade.errors import InvalidRequest

MIB: Final = 1 << 20

_DEFAULT: Final = MIB
# The first that matches. None: the body is streamed and bounded by who takes it.
_BY_PATH: Final = (
    (re.compile(r"/v1/devboxes/[^/]+/upload_file"), None),
    (re.compile(r"/v1/stockade/objects/[^/]+/content"), None),
    # 100 MB of text, and what JSON makes of it.
    (re.compile(r"/v1/devboxes/[^/]+/write_file_contents"), 240 * MIB),
    (re.compile(r"/v1/devboxes/[^/]+/executions/[^/]+/send_std_in"), 8 * MIB),
    # File mounts: 7.86 MB in all.
    (re.compile(r"/v1/devboxes(/create_and_await_running)?"), 24 * MIB),
    (re.compile(r"/v1/blueprints(/preview)?"), 24 * MIB),
)
# Texts that go to a devbox as they are, and into no database.
_RAW: Final = re.compile(r"/v1/devboxes/.*/(write_file_contents|send_std_in)")


def body_limit(path: str) -> int | None:
    """The most bytes a body for *path* may have; None: no limit here."""
    for pattern, limit in _BY_PATH:
        if pattern.fullmatch(path):
            return limit
    return _DEFAULT


def check_texts(value: object, path: str) -> None:
    r"""Refuse texts that are not Unicode, and NUL where a database would not have it.

    Only JSON that writes characters as `\u…` can hold either. Raises `InvalidRequest`.
    """
    takes_nul = _RAW.fullmatch(path) is not None
    pending = [value]
    while pending:
        match pending.pop():
            case str() as text:
                if not takes_nul and "\0" in text:
                    raise InvalidRequest("the body holds a NUL character")
                try:
                    text.encode()
                except UnicodeEncodeError:
                    raise InvalidRequest(
                        "the body holds a surrogate that is no character"
                    ) from None
            case dict() as fields:
                pending.extend(fields)
                pending.extend(fields.values())
            case list() as entries:
                pending.extend(entries)
