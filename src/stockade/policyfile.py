"""Policy files: the fields of a network policy as TOML."""

from __future__ import annotations

import tomllib
from pathlib import Path

from stockade.errors import InvalidRequest
from stockade.policy.model import NetworkPolicy

MAX_BYTES = 4 << 20


def load_policy(path: Path) -> NetworkPolicy:
    """Read a policy file. Raises `InvalidRequest` that names file, line and field.

    A file without a `name` is named after itself.
    """
    return parse_policy(read_policy_text(path), path)


def parse_policy(text: str, path: Path) -> NetworkPolicy:
    """Read the text of a policy file, *path*. Raises as `load_policy` does."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidRequest(f"{path}: {error}") from None
    except RecursionError:
        raise InvalidRequest(f"{path}: lists nested too deeply") from None
    values.setdefault("name", path.stem)
    try:
        return NetworkPolicy.from_mapping(values)
    except InvalidRequest as error:
        line = line_of(text, str(error))
        where = f"{path}:{line}" if line else str(path)
        raise InvalidRequest(f"{where}: {error}") from None


def read_policy_text(path: Path) -> str:
    """The text of a policy file. Raises `InvalidRequest` when it cannot be read."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidRequest(f"{path}: larger than {MAX_BYTES} bytes")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidRequest(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{path}: not UTF-8: {error}") from None


def line_of(text: str, message: str) -> int | None:
    """The line that *message* is about: that of the value it quotes, else of its field.

    TOML readers do not keep positions, so the value is looked for as it is written.
    """
    quoted = [part for quote in "'\"" for part in message.split(quote)[1::2] if part]
    field = message.partition(":")[0].partition("[")[0].partition(".")[0].strip()
    for wanted in (*quoted, field):
        for number, line in enumerate(text.splitlines(), 1):
            if wanted and wanted in line.partition("#")[0]:
                return number
    return None
