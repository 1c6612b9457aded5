"""What the server logs, and what never gets into a line."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from stockade.server.logs import HIDDEN, configure_logs

SECRET = "ak_0123456789abcdef0123456789abcdef"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logs(stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_lines_are_json_with_their_fields(lines: io.StringIO) -> None:
    logging.getLogger("stockade.x").info("a devbox ended", extra={"devbox": "dbx_1"})
    said = json.loads(lines.getvalue())
    assert said["event"] == "a devbox ended"
    assert (said["logger"], said["level"]) == ("stockade.x", "info")
    assert said["devbox"] == "dbx_1"
    assert said["timestamp"].endswith("Z")


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        pytest.param(f"got {SECRET}", {}, id="a key in a text"),
        pytest.param("x", {"authorization": SECRET[3:]}, id="a field with that name"),
        pytest.param("x", {"headers": {"Cookie": SECRET[3:]}}, id="a nested one"),
        pytest.param("x", {"seen": [f"Bearer {SECRET[3:]}"]}, id="a header in a list"),
        pytest.param("x", {"error": ValueError(SECRET)}, id="in an error"),
        pytest.param(
            "x",
            {"url": f"postgresql://me:{SECRET[3:]}@db/x"},
            id="the password of a URL",
        ),
    ],
)
def test_secrets_are_not_written(
    lines: io.StringIO, text: str, fields: dict[str, object]
) -> None:
    logging.getLogger("stockade.x").warning(text, extra=fields)
    structlog.get_logger("stockade.y").warning(text, **fields)
    said = lines.getvalue()
    assert len(said.splitlines()) == 2
    assert SECRET[3:] not in said
    assert said.count(HIDDEN) == 2


def test_tracebacks_have_no_secrets_either(lines: io.StringIO) -> None:
    try:
        int(SECRET)
    except ValueError:
        logging.getLogger("stockade.x").exception("failed")
    assert "ValueError" in lines.getvalue()
    assert SECRET not in lines.getvalue()
