"""What is encrypted at rest, and what is signed, with one key kept in a file.

The file is beside the database and not in it: a copy of the database tells no secret.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from stockade.control.ids import Chance
from stockade.errors import InvalidRequest, Unavailable

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12


def load_key(path: Path, chance: Chance) -> bytes:
    """The key in *path*, which is made if there is none; nobody else may read it."""
    try:
        # Made aside and linked: of two that start at once, one key stays.
        aside = path.with_name(f"{path.name}.{chance(8).hex()}")
        if not path.exists():
            _write_new(aside, base64.b64encode(chance(_KEY_BYTES)) + b"\n")
            with contextlib.suppress(FileExistsError):
                os.link(aside, path)
            aside.unlink()
        if path.stat().st_mode & 0o077:
            raise InvalidRequest(f"{path}: others may read it; chmod 600 {path}")
        key = base64.b64decode(path.read_bytes(), validate=False)
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from None
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise InvalidRequest(f"{path} does not hold a key of {_KEY_BYTES} bytes")
    return key


class Sealer:
    """Encrypts texts, each for one purpose, and signs others."""

    def __init__(self, key: bytes, chance: Chance) -> None:
        self._cipher = AESGCM(_derive(key, b"stockade secrets"))
        self._signing = _derive(key, b"stockade signatures")
        self._chance = chance

    def seal(self, text: str, purpose: str) -> bytes:
        """*text* encrypted, such that it opens for *purpose* only."""
        nonce = self._chance(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, text.encode(), purpose.encode())

    def unseal(self, sealed: bytes, purpose: str) -> str:
        """The reverse of `seal`. Raises `Unavailable` with another key."""
        nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, rest, purpose.encode()).decode()
        except InvalidTag:
            raise Unavailable(
                "a secret does not open with the key in the data directory"
            ) from None

    def sign(self, text: str) -> str:
        """A signature of *text*, in hexadecimal."""
        return hmac.new(self._signing, text.encode(), hashlib.sha256).hexdigest()

    def is_signed(self, text: str, signature: str) -> bool:
        """Whether *signature* is that of *text*."""
        return hmac.compare_digest(self.sign(text).encode(), signature.encode())


def _derive(key: bytes, purpose: bytes) -> bytes:
    return hmac.new(key, purpose, hashlib.sha256).digest()


def _write_new(path: Path, content: bytes) -> None:
    descriptor = os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
    )
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
