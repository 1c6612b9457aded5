"""Where the server is and which key to show it.

From `RUNLOOP_BASE_URL` and `RUNLOOP_API_KEY`, as for the official clients; else, for
root, from what the server of this machine left in its data directory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from stockade.config import Settings
from stockade.errors import InvalidRequest, NotFound

URL_VARIABLE = "RUNLOOP_BASE_URL"
KEY_VARIABLE = "RUNLOOP_API_KEY"
CA_VARIABLE = "SSL_CERT_FILE"
_FILE = "server.json"


@dataclass(frozen=True, slots=True)
class Access:
    """What a client needs: the URL, the key, and whom to trust if it is not public."""

    url: str
    api_key: str
    ca_file: str | None = None

    def variables(self) -> dict[str, str]:
        """As the official clients read it from their environment."""
        found = {URL_VARIABLE: self.url, KEY_VARIABLE: self.api_key}
        if self.ca_file:
            found[CA_VARIABLE] = self.ca_file
        return found


def find_access(environ: Mapping[str, str], settings: Settings) -> Access:
    """The server to talk to. Raises `InvalidRequest` saying how to name one."""
    url, key = environ.get(URL_VARIABLE), environ.get(KEY_VARIABLE)
    if url and key:
        return Access(url, key, environ.get(CA_VARIABLE))
    try:
        local = read_access(settings.data_dir)
    except (NotFound, InvalidRequest) as error:
        raise InvalidRequest(
            f"no server to talk to: set {URL_VARIABLE} and {KEY_VARIABLE} ({error})"
        ) from None
    if not (key or local.api_key):
        raise InvalidRequest(
            f"no key is kept in {settings.data_dir}: set {KEY_VARIABLE}, or start the "
            "server once with STOCKADE_API_KEY"
        )
    if url and url.rstrip("/") != local.url:
        # The local key is not for another server to see.
        raise InvalidRequest(f"{URL_VARIABLE} is set to {url}: set {KEY_VARIABLE} too")
    return Access(local.url, key or local.api_key, local.ca_file)


def read_access(directory: Path) -> Access:
    """What the server of *directory* left for root. Raises `NotFound` without one."""
    path = directory / _FILE
    try:
        return Access(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise NotFound(f"{path}: stockade serve has not run with {directory}") from None
    except PermissionError:
        raise InvalidRequest(f"{path}: only root may read it") from None
    except (OSError, ValueError, TypeError) as error:
        raise InvalidRequest(f"{path}: {error}") from None


def save_access(directory: Path, access: Access) -> None:
    """Leave *access* for root."""
    path = directory / _FILE
    partial = path.with_name(f".{_FILE}.{os.getpid()}")
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="utf-8") as file:
        json.dump(asdict(access), file)
    partial.replace(path)
