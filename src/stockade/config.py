"""Settings: one TOML file and `STOCKADE_*` variables, read and checked once.

The file is `/etc/stockade/stockade.toml`, or the one `STOCKADE_CONFIG` names. A variable
`STOCKADE_DATA_DIR` stands for the key `data_dir`, and goes before the file; lists are
separated by commas. An unknown key is an error: a misspelt guardrail protects nothing.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from stockade.errors import InvalidRequest

DEFAULT_FILE = Path("/etc/stockade/stockade.toml")
PREFIX = "STOCKADE_"
DENIED_ANSWERS = ("sinkhole", "nxdomain", "refused")
POLICY_NAMES = ("unique", "reusable")
_MAX_NUMBER = 1_000_000

# Variables with our prefix that are read elsewhere.
_NOT_SETTINGS = frozenset(("CONFIG", "API_KEY"))
_TRUE = frozenset(("1", "true", "yes", "on"))
_FALSE = frozenset(("0", "false", "no", "off"))


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, with their defaults. `docs/configuration.md` explains each."""

    #: Images, and what else is kept between runs.
    data_dir: Path = Path("/var/lib/stockade")
    #: What exists only while something runs.
    run_dir: Path = Path("/run/stockade")
    #: The OCI runtime: "crun", "runc", "runsc", or a path.
    runtime: str = "crun"
    #: Whether CA certificates that the machine trusts are trusted in devboxes.
    trust_host_cas: bool = True
    #: Further PEM files with CA certificates to trust in devboxes.
    extra_ca_files: tuple[Path, ...] = ()
    #: Private ranges that every policy may reach.
    open_private_cidrs: tuple[str, ...] = ()
    #: Ranges that no policy may reach.
    deny_cidrs: tuple[str, ...] = ()
    #: How a denied name is answered.
    denied_dns_answer: str = "sinkhole"
    #: Where the API listens: an address and a port.
    listen: str = "127.0.0.1:8650"
    #: The domain of the API (`api.DOMAIN`) and of tunnels (`*.tunnel.DOMAIN`).
    domain: str = "stockade.localhost"
    #: Whether the API speaks TLS.
    tls: bool = False
    #: A certificate chain and its key (PEM), instead of those of the local authority.
    tls_certificate: str = ""
    tls_key: str = ""
    #: The URL of the database; if there is none, SQLite in `data_dir`.
    database: str = ""
    #: Whether two policies of an account may have one name: "unique" or "reusable".
    policy_names: str = "unique"
    #: How many network policies an account may have.
    policy_limit: int = 100
    #: How many devboxes the server makes ahead, so that a start need not wait.
    warm_pool: int = 2


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings. Raises `InvalidRequest` that names the file or variable."""
    chosen = environ.get(PREFIX + "CONFIG")
    path = Path(chosen) if chosen else DEFAULT_FILE
    values: dict[str, tuple[object, str]] = {}
    if chosen or path.exists():
        values = {key: (raw, f"{path}: {key}") for key, raw in _read(path).items()}
    for name, text in environ.items():
        key = name.removeprefix(PREFIX)
        if name.startswith(PREFIX) and key not in _NOT_SETTINGS:
            values[key.lower()] = (text, name)
    known = {field.name: field for field in fields(Settings)}
    defaults = Settings()
    chosen_values: dict[str, Any] = {}
    for key, (raw, where) in values.items():
        if key not in known:
            listed = ", ".join(sorted(known))
            raise InvalidRequest(f"{where}: unknown setting; the settings are {listed}")
        chosen_values[key] = _convert(getattr(defaults, key), raw, where)
    return _checked(replace(defaults, **chosen_values))


def _read(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise InvalidRequest(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path}: {error}") from None


def _convert(default: object, raw: object, where: str) -> object:
    """Give *raw* the type of *default*."""
    if isinstance(default, bool):
        text = str(raw).lower()
        if text in _TRUE | _FALSE:
            return text in _TRUE
        raise InvalidRequest(f"{where}: {raw!r} is not true or false")
    if isinstance(default, int):
        return _number(raw, where)
    if isinstance(default, tuple):
        items = raw.split(",") if isinstance(raw, str) else raw
        if not isinstance(items, list) or not all(isinstance(i, str) for i in items):
            raise InvalidRequest(f"{where}: {raw!r} is not a list of texts")
        texts = [item.strip() for item in items if item.strip()]
        return tuple(map(Path, texts)) if "ca_files" in where.lower() else tuple(texts)
    if not isinstance(raw, str):
        raise InvalidRequest(f"{where}: {raw!r} is not a text")
    return Path(raw) if isinstance(default, Path) else raw


def _number(raw: object, where: str) -> int:
    text = str(raw)
    if isinstance(raw, bool) or not (text.isascii() and text.isdigit()):
        raise InvalidRequest(f"{where}: {raw!r} is not a number")
    if len(text) > len(str(_MAX_NUMBER)) or int(text) > _MAX_NUMBER:
        raise InvalidRequest(f"{where}: {raw!r} is not from 0 to {_MAX_NUMBER}")
    return int(text)


def _checked(settings: Settings) -> Settings:
    for key in ("open_private_cidrs", "deny_cidrs"):
        for text in getattr(settings, key):
            try:
                ip_network(text)
            except ValueError as error:
                raise InvalidRequest(f"{key}: {error}") from None
    if settings.denied_dns_answer not in DENIED_ANSWERS:
        raise InvalidRequest(
            f"denied_dns_answer: {settings.denied_dns_answer!r} is not one of "
            f"{', '.join(DENIED_ANSWERS)}"
        )
    if settings.policy_names not in POLICY_NAMES:
        raise InvalidRequest(
            f"policy_names: {settings.policy_names!r} is not one of "
            f"{', '.join(POLICY_NAMES)}"
        )
    for key in ("data_dir", "run_dir"):
        if not getattr(settings, key).is_absolute():
            raise InvalidRequest(f"{key}: {getattr(settings, key)} is not absolute")
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        raise InvalidRequest("tls_certificate and tls_key: give both, or neither")
    return settings
