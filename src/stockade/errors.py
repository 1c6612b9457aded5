"""Every error raised on purpose.

A type exists because somebody catches it or maps it to an exit status or a response.
Each message says what was wrong, where, and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Self


class StockadeError(Exception):
    """The root of all errors raised on purpose.

    *code* is its name for programs, where the type does not say enough; *details* are
    values that help them, as the id of what is in the way.
    """

    code: str | None = None
    details: Mapping[str, object] = MappingProxyType({})

    def coded(self, code: str, **details: object) -> Self:
        """The same error with a name for programs and values that help them."""
        self.code = code
        self.details = details
        return self


class WireError(StockadeError):
    """Bytes from a devbox or an upstream are not what they claim to be."""


class HostnameError(StockadeError):
    """A text is not a host name, or not a host pattern."""


class InvalidRequest(StockadeError):
    """A request that is understood and refused: bad input."""


class Unauthenticated(StockadeError):
    """A request without a key, or with one that is not known or not valid any more."""


class PermissionDenied(StockadeError):
    """The key is good, but not for this."""


class NotOffered(StockadeError):
    """A part of the API that this server does not have."""


class HoldElapsed(StockadeError):
    """What was waited for has not happened as yet; wait again."""


class NotFound(StockadeError):
    """There is no such thing."""


class Conflict(StockadeError):
    """The thing is not in a state that permits this, or its name is taken."""


class Unavailable(StockadeError):
    """The host is full, lacks something, or cannot be reached."""


class EnforcementError(StockadeError):
    """Enforcement cannot be set up or cannot be proven, so the devbox does not start."""


class CommandError(StockadeError):
    """A host command failed."""

    def __init__(self, argv: Sequence[str], status: int, stderr: str) -> None:
        self.argv = tuple(argv)
        self.status = status
        self.stderr = stderr
        said = stderr.strip() or "it printed nothing on standard error"
        super().__init__(f"{' '.join(argv)} failed with status {status}: {said}")
