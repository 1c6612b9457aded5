"""`stockade policy`: what a policy file allows, and what is suspicious in it.

What concerns the policies of a server is in `cli.policies`.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import click

from stockade.cli.lazy import lazy_group
from stockade.cli.lint import Finding, Severity
from stockade.cli.lint_file import lint_file
from stockade.config import Settings, load_settings
from stockade.errors import HostnameError, InvalidRequest
from stockade.names import HostPattern
from stockade.policy.decide import (
    CompiledPolicy,
    Decision,
    Flow,
    Reason,
    decide,
    deny,
)
from stockade.policy.guardrails import Guardrails
from stockade.policy.model import Transport
from stockade.policyfile import load_policy

HTTPS = 443
_SCHEME_PORTS = {
    "http": 80,
    "https": HTTPS,
    "ws": 80,
    "wss": HTTPS,
    "ssh": 22,
    "git": 9418,
    "ftp": 21,
    "postgres": 5432,
    "postgresql": 5432,
    "mysql": 3306,
    "redis": 6379,
    "rediss": 6379,
}


class Refused(click.ClickException):
    """Input that cannot be judged: neither an allow nor a deny."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked about, and the flow it stands for."""

    text: str
    flow: Flow


_LAZY = {
    "create": ("stockade.cli.policies:create", "Create a policy on the server."),
    "list": ("stockade.cli.policies:list_command", "List the server's policies."),
    "get": ("stockade.cli.policies:get", "Show a policy of the server."),
    "update": ("stockade.cli.policies:update", "Change a policy of the server."),
    "delete": ("stockade.cli.policies:delete", "Delete a policy of the server."),
    "apply": ("stockade.cli.policies:apply", "Make a policy what a file says."),
    "diff": ("stockade.cli.policies:diff", "Show what apply would change."),
}


@click.group(cls=lazy_group(_LAZY))
def policy() -> None:
    """Network policies: what a file allows, and those of the server."""


@policy.command()
@click.option(
    "--policy",
    "path",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The policy file to ask.",
)
@click.option("--udp", is_flag=True, help="Ask about UDP, not TCP.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one line a target.")
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.pass_context
def test(
    context: click.Context,
    path: Path,
    targets: tuple[str, ...],
    *,
    udp: bool,
    as_json: bool,
) -> None:
    """Say whether a devbox with this policy may reach each TARGET.

    A TARGET is a URL, a host name, or an address, the last two with a port if it is not
    443. Exit status: 0 when all are allowed, 1 when one is denied, 2 when the question
    cannot be understood.
    """
    transport = Transport.UDP if udp else Transport.TCP
    try:
        compiled = CompiledPolicy(load_policy(path))
        guardrails = _guardrails(load_settings(os.environ))
        asked = [parse_target(text, transport) for text in targets]
    except InvalidRequest as error:
        raise Refused(str(error)) from None
    decisions = [(target, judge(compiled, guardrails, target.flow)) for target in asked]
    for target, decision in decisions:
        click.echo(_json(target, decision) if as_json else _line(target, decision))
    if not all(decision.allowed for _, decision in decisions):
        context.exit(1)


def parse_target(text: str, transport: Transport = Transport.TCP) -> Target:
    """Read a URL, `host[:port]` or `address[:port]`. Raises `InvalidRequest`."""
    host, port = _split(text)
    try:
        return Target(text, Flow(port, transport, address=ip_address(host)))
    except ValueError:
        pass
    try:
        pattern = HostPattern.parse(host)
    except HostnameError as error:
        raise InvalidRequest(f"{text!r}: {error}") from None
    if pattern.wildcard:
        raise InvalidRequest(f"{text!r}: ask about one name, such as {pattern.suffix}")
    return Target(text, Flow(port, transport, name=pattern.suffix))


def _split(text: str) -> tuple[str, int]:
    """Return the host and the port that *text* names."""
    try:
        return str(ip_address(text)), HTTPS
    except ValueError:
        pass
    has_scheme = "://" in text
    try:
        url = urlsplit(text if has_scheme else f"//{text}")
        port = url.port
    except ValueError as error:
        raise InvalidRequest(f"{text!r}: {error}") from None
    if port is None:
        if has_scheme and url.scheme not in _SCHEME_PORTS:
            raise InvalidRequest(f"{text!r}: give the port of {url.scheme}:// as :PORT")
        port = _SCHEME_PORTS.get(url.scheme, HTTPS)
    if not url.hostname or port == 0:
        raise InvalidRequest(f"{text!r} is not a URL, host[:port] or address[:port]")
    return url.hostname, port


def judge(compiled: CompiledPolicy, guardrails: Guardrails, flow: Flow) -> Decision:
    """Decide *flow* as the gateway would, as far as no network is needed to know.

    What an allowed name resolves to, and which addresses are the machine's own, is not
    known here; both can only deny more.
    """
    decision = decide(compiled, guardrails, flow)
    by_name = decision.reason is Reason.ALLOWED_HOSTNAME
    if by_name and flow.transport is Transport.UDP and flow.port == HTTPS:
        return deny(Reason.QUIC)
    return decision


def _guardrails(settings: Settings) -> Guardrails:
    return Guardrails.parse(settings.open_private_cidrs, settings.deny_cidrs)


def _line(target: Target, decision: Decision) -> str:
    line = f"{decision.verdict.value:<5}  {target.text}  {decision.reason.value}"
    if decision.rule:
        line += f"  ({decision.rule})"
    flow = target.flow
    if decision.reason is Reason.HOSTNAME_NOT_ALLOWED:
        line += f"  (permitted by: --allow {flow.name})"
    return line


def _json(target: Target, decision: Decision) -> str:
    flow = target.flow
    return json.dumps(
        {
            "target": target.text,
            "name": flow.name.text if flow.name else None,
            "address": str(flow.address) if flow.address else None,
            "port": flow.port,
            "transport": flow.transport.value,
            "verdict": decision.verdict.value,
            "reason": decision.reason.value,
            "rule": decision.rule,
        }
    )


@policy.command("lint")
@click.option("--strict", is_flag=True, help="Exit with 1 for warnings too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one line a finding.")
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_context
def lint_command(
    context: click.Context, path: Path, *, strict: bool, as_json: bool
) -> None:
    """Look for what is wrong or suspicious in the policy file PATH, line by line.

    Errors make the file unusable. Warnings are rules that open more than they seem to,
    or do nothing. Infos are worth knowing.
    """
    try:
        findings = lint_file(path)
    except InvalidRequest as error:
        findings = [_malformed(path, str(error))]
    for finding in findings:
        click.echo(_report(path, finding, as_json=as_json))
    severities = {finding.severity for finding in findings}
    failing = {Severity.ERROR, Severity.WARNING} if strict else {Severity.ERROR}
    if severities & failing:
        context.exit(1)


def _malformed(path: Path, message: str) -> Finding:
    """Turn a refusal, which starts with `file:` or `file:line:`, into a finding."""
    rest = message.removeprefix(f"{path}:")
    line, _, after = rest.partition(":")
    if line.isdigit():
        return Finding(int(line), Severity.ERROR, "", after.strip())
    return Finding(0, Severity.ERROR, "", rest.strip())


def _report(path: Path, finding: Finding, *, as_json: bool) -> str:
    if as_json:
        return json.dumps({"file": str(path), **asdict(finding)})
    if not finding.line:
        return f"{path}: {finding.severity.value}: {finding.message}"
    return f"{path}:{finding.line}: {finding.severity.value}: {finding.message}"
