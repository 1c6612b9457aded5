"""The record of one connection: opened when it is clear what it is, closed at its end."""

from __future__ import annotations

from stockade.gateway.devboxes import AttachedDevbox
from stockade.gateway.flowlog import FlowLog, Kind, OpenFlow
from stockade.gateway.judging import Judged
from stockade.gateway.relay import Relay
from stockade.gateway.services import Limits
from stockade.policy.decide import Decision, Flow, Reason, deny
from stockade.policy.guardrails import Address


class ConnectionRecord:
    """Writes what became of a connection. Whatever happens, there is a record.

    *unclear* is what is written when the client is gone before it was clear what it is.
    *error* and *cut* say why the connection ended, if it did not end by itself.
    """

    def __init__(
        self, log: FlowLog, devbox: AttachedDevbox, address: Address, port: int
    ) -> None:
        self._log = log
        self._devbox = devbox
        self._address = address
        self._port = port
        self._flow: OpenFlow | None = None
        self.unclear = Judged(Kind.TCP, deny(Reason.ADDRESS_NOT_ALLOWED))
        self.error: str | None = None
        self.cut: Decision | None = None

    def open(self, judged: Judged, facts: Flow | None = None) -> None:
        """Announce the connection; *facts* tell the address dialled, if one was."""
        address = facts.address if facts and facts.address else self._address
        self._flow = self._log.open(
            self._devbox.subject,
            judged.kind,
            judged.decision,
            name=judged.display,
            address=str(address),
            port=self._port,
        )

    def describe(self, kind: Kind, name: str | None) -> None:
        """Add what was seen of a connection that is not judged by it."""
        if self._flow is not None:
            self._flow.describe(kind, name)

    def deny(self, judged: Judged) -> None:
        """Write a denial; it ends with its beginning."""
        self.open(judged)
        self.close(None)

    def close(self, relay: Relay | None) -> None:
        """Complete the record. A second call does nothing."""
        if self._flow is None:
            self.open(self.unclear)
        assert self._flow is not None  # noqa: S101 - opened above
        self._flow.close(
            bytes_up=relay.bytes_up if relay else 0,
            bytes_down=relay.bytes_down if relay else 0,
            error=self.error,
            cut=self.cut,
        )

    def cut_by(self, decision: Decision) -> None:
        """Note that the policy in force ends the connection."""
        self.cut = decision
        self.error = self._devbox.end_of_flow

    def failed(self, error: Exception) -> None:
        """Note the first error that ended the connection."""
        if self.error is None:
            said = error.strerror if isinstance(error, OSError) else str(error)
            self.error = said or str(error) or type(error).__name__


class IdleWatch:
    """Tells when nothing has passed for too long."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._is_probed = False
        self._moved = -1
        self._since = 0.0

    def problem(self, relay: Relay | None, now: float) -> str | None:
        """What is wrong with *relay*, seen at *now*; None if nothing."""
        if relay is None:
            return None
        if not self._is_probed:  # Not before it has lasted: most are short.
            self._is_probed = True
            relay.keep_alive()
        moved = relay.bytes_up + relay.bytes_down
        if moved != self._moved:
            self._moved, self._since = moved, now
            return None
        limits = self._limits
        limit = limits.half_open_timeout if relay.is_half_open else limits.idle_timeout
        return f"nothing passed for {limit:g} s" if now - self._since > limit else None
