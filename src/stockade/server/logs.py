"""The server's log: structured lines on standard error, without secrets.

Whatever a module logs, by whatever name, keys and tokens do not get into a line: fields
with telling names are left out, and texts are searched for what looks like a key.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final, TextIO

import structlog

HIDDEN: Final = "[hidden]"
_NAMES: Final = re.compile(
    r"authorization|api_?key|key_secret|password|secret_value|cookie|bearer|token",
    re.IGNORECASE,
)
# Our keys, tokens of gateways, and what stands behind "Bearer" and "Basic".
_TEXTS: Final = (
    re.compile(r"\b(?:ak|rk|gws|gwk)_[A-Za-z0-9_-]{4,}"),
    re.compile(r"\b(?:Bearer|Basic)\s+[^\s\"',]+", re.IGNORECASE),
    re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"),
)
# They say what their callers say, or too much.
_QUIET: Final = ("_granian", "granian", "sqlalchemy.engine", "aiosqlite", "alembic")

Event = MutableMapping[str, Any]


def configure_logs(stream: TextIO = sys.stderr, *, debug: bool = False) -> None:
    """Send what is logged, by us and by libraries, to *stream*.

    For a person at a terminal in colour, for anything else as JSON lines.
    """
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        hide_secrets,
    ]
    to_person = stream.isatty()
    render: Any = (
        structlog.dev.ConsoleRenderer()
        if to_person
        else structlog.processors.JSONRenderer()
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def hide_secrets(_: object, __: str, event: Event) -> Event:
    """Take what must not be written out of an event."""
    return {key: _clean(key, value) for key, value in event.items()}


def _clean(name: str, value: Any) -> Any:
    # Its own fields are objects that the formatter needs.
    if name.startswith("_"):
        return value
    if value is not None and _NAMES.search(name):
        return HIDDEN
    if isinstance(value, str):
        for pattern in _TEXTS:
            value = pattern.sub(HIDDEN, value)
        return value
    if isinstance(value, dict):
        return {key: _clean(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean("", item) for item in value]
    if isinstance(value, int | float | bool) or value is None:
        return value
    return _clean("", str(value))
