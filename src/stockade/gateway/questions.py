"""How many DNS questions of one devbox reach the resolvers.

Answers from the cache are free. What is asked upstream is bounded in rate and number,
and so are new names under a wildcard, since each of them tells its zone's servers
something.
"""

from __future__ import annotations

from dataclasses import dataclass

from stockade.names import Hostname
from stockade.policy.decide import Decision, Reason, deny

_MAX_KNOWN = 16_384


@dataclass(slots=True)
class Bucket:
    """A token bucket: *rate* tokens a second, *burst* at most."""

    rate: float
    burst: float
    tokens: float = -1.0
    at: float = 0.0

    def take(self, now: float) -> bool:
        """Take a token, if there is one."""
        if self.tokens < 0:
            self.tokens = self.burst
        else:
            self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class QuestionLimits:
    """The limits of one devbox."""

    def __init__(
        self, *, questions: Bucket, new_names: Bucket, max_in_flight: int
    ) -> None:
        self._questions = questions
        self._new_names = new_names
        self._max_in_flight = max_in_flight
        self._known: dict[Hostname, None] = {}
        self.in_flight = 0

    def refuse(self, name: Hostname, decision: Decision, now: float) -> Decision | None:
        """The denial of a question that would be one too many, or None."""
        if self.in_flight >= self._max_in_flight or not self._questions.take(now):
            return deny(Reason.TOO_MANY_QUESTIONS)
        by_wildcard = decision.rule is not None and ": *." in decision.rule
        if by_wildcard and name not in self._known:
            if not self._new_names.take(now):
                return deny(Reason.TOO_MANY_QUESTIONS)
            if len(self._known) >= _MAX_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[name] = None
        return None
