"""Denials that say why: what a client of each protocol gets instead of its destination."""

from __future__ import annotations

from stockade.gateway.devboxes import AttachedDevbox
from stockade.gateway.flowlog import Kind, Subject
from stockade.gateway.judging import Judged
from stockade.policy.decide import Decision, Reason
from stockade.wire.http1 import denial_response
from stockade.wire.tls import access_denied_alert

#: RFC 8914 section 4.16: the server was told to block this.
EDE_BLOCKED = 15

_HINTS = {
    Reason.HOSTNAME_NOT_ALLOWED: "add the host name to allowed_hostnames of the policy",
    Reason.ADDRESS_NOT_ALLOWED: (
        "no allowed host name of this devbox points there; "
        "add the address to allowed_cidrs, or use a host name that is allowed"
    ),
    Reason.POLICY_UNAVAILABLE: "the policy of this devbox could not be applied",
    Reason.GUARDRAIL_PRIVATE: "private addresses need an entry of allowed_cidrs",
    Reason.GUARDRAIL_HOST: "the machine itself is never reachable from a devbox",
    Reason.GUARDRAIL_METADATA: "metadata services are never reachable from a devbox",
    Reason.HTTP_CONNECT: (
        "the gateway needs no proxy: remove the proxy settings, "
        "or allow the proxy's address in allowed_cidrs"
    ),
    Reason.HTTP2_CLEARTEXT: "use HTTP/1.1 or TLS",
    Reason.HTTP_UNPARSEABLE: "the request cannot be read without doubt",
}


def hint(reason: Reason) -> str:
    """What a person can do about a denial."""
    return _HINTS.get(reason, "see the network policy of this devbox")


def sentence(subject: Subject, decision: Decision, name: str | None) -> str:
    """One line for people: what was denied, by which policy, and why."""
    what = name or "this destination"
    return (
        f"stockade: {what} is not reachable under network policy "
        f"{subject.policy_id or '(none)'} generation {subject.generation or 0}: "
        f"{decision.reason} ({hint(decision.reason)})"
    )


def message(judged: Judged, devbox: AttachedDevbox) -> bytes:
    """What a TCP client is sent before its connection ends; nothing means a reset."""
    if judged.kind is Kind.TLS:
        return access_denied_alert()
    if judged.kind is Kind.HTTP:
        return _http(judged, devbox)
    if judged.is_ssh:
        return ssh(devbox.subject, judged.decision, judged.display)
    return b""


def _http(judged: Judged, devbox: AttachedDevbox) -> bytes:
    """A `403` (a `400` for a request that cannot be read) with JSON and one plain line."""
    subject, decision, name = devbox.subject, judged.decision, judged.display
    body = {
        "error": "network_policy_denied",
        "host": name,
        "policy_id": subject.policy_id,
        "policy_name": devbox.policy.policy.name,
        "generation": subject.generation,
        "reason": str(decision.reason),
        "hint": hint(decision.reason),
    }
    status = 400 if decision.reason is Reason.HTTP_UNPARSEABLE else 403
    return denial_response(
        status=status, body=body, text=sentence(subject, decision, name)
    )


def ssh(subject: Subject, decision: Decision, name: str | None) -> bytes:
    """A line that may precede the version exchange (RFC 4253 section 4.2)."""
    return sentence(subject, decision, name).encode("ascii", "replace") + b"\r\n"


def dns_text(subject: Subject, decision: Decision, name: str) -> str:
    """The text of the extended DNS error."""
    return sentence(subject, decision, name)[:200]
