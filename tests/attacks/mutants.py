"""What the mutation check switches off, one layer at a time, in processes of its own.

The product has no switch for any of this. A process that is started with a directory on
its path in which `HOOK` is the `sitecustomize`, and a mutant's name in `ATTACK_MUTANT`,
replaces a few functions of the product when their modules are imported; the tests
themselves run as they are. What is replaced by what is in `mutant_gateway` and
`mutant_host`.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

from tests.attacks import mutant_gateway as gateway
from tests.attacks import mutant_host as host

VARIABLE: Final = "ATTACK_MUTANT"
HOOK: Final = """\
import os, sys
if os.environ.get("ATTACK_MUTANT") and "pytest" not in sys.orig_argv:
    from tests.attacks.mutants import install
    install(os.environ["ATTACK_MUTANT"])
"""

_OF_GATEWAY: Final = ("stockade.policy.", "stockade.wire.", "stockade.gateway.")

Patch = Callable[[Any], None]


@dataclass(frozen=True, slots=True)
class Mutant:
    """A layer that is missing: what that means, and how each module is changed."""

    says: str
    patches: Mapping[str, Patch]
    #: The files of the suite it is tried on, once *allow* has killed what it kills.
    where: str = "."


def install(name: str) -> None:
    """Have this process lack what the mutant of that name lacks.

    What the gateway does is changed in gateways only, and the rest everywhere else.
    """
    is_gateway = "stockade.cli.gateway" in sys.orig_argv
    chosen = {
        module: patch
        for module, patch in MUTANTS[name].patches.items()
        if module.startswith(_OF_GATEWAY) == is_gateway
    }
    sys.meta_path.insert(0, _Finder(chosen))


class _Finder(importlib.abc.MetaPathFinder):
    """Lets a module be executed as it is, and changes it then."""

    def __init__(self, patches: Mapping[str, Patch]) -> None:
        self._patches = dict(patches)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        patch = self._patches.pop(fullname, None)
        if patch is None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is None or spec.loader is None:
            raise ImportError(f"there is no {fullname} to change")
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            patch(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


_DECIDE: Final = "stockade.policy.decide"
_SNIFF: Final = "stockade.wire.sniff"
_HTTP: Final = "stockade.gateway.http"
_HEAD: Final = "stockade.wire.http1_head"
_RULES: Final = "stockade.host.ruleset"

MUTANTS: Final[Mapping[str, Mutant]] = {
    "allow": Mutant(
        "every decision is *allow*", {_DECIDE: gateway.verdict("ALLOW", "ALLOW_ALL")}
    ),
    "deny": Mutant(
        "every decision is *deny*",
        {_DECIDE: gateway.verdict("DENY", "HOSTNAME_NOT_ALLOWED")},
    ),
    "reading": Mutant(
        "a policy that cannot be read is read generously",
        {
            "stockade.policyfile": host.careless_files,
            "stockade.names": host.any_pattern,
        },
        "policies|names",
    ),
    "guardrails": Mutant(
        "no guardrails: every address is an ordinary public one",
        {_DECIDE: gateway.no_guardrails},
        "dns|policies|host|cidr|udp|other|address|name",
    ),
    "open": Mutant(
        "no guardrails, and a ruleset that hands everything to the gateway",
        {_DECIDE: gateway.no_guardrails, _RULES: host.no_refusals},
        "host|udp|other|address|devboxes|channels",
    ),
    "sniffing": Mutant(
        "no protocol is recognised: what a lookup covers passes unread",
        {_SNIFF: gateway.all_is_opaque},
        "http|sni|hello|server|update|policies|name|garbage",
    ),
    "doubt": Mutant(
        "what cannot be read without doubt counts as a protocol without names",
        {_SNIFF: gateway.doubts_are_opaque},
        "http|sni|hello|server|name|garbage",
    ),
    "strictness": Mutant(
        "a parser of HTTP that takes anything, and the first Host there is",
        {_HEAD: gateway.careless_heads, _SNIFF: gateway.doubts_are_opaque},
        "http|name|garbage",
    ),
    "framing": Mutant(
        "what follows a request is its body, whatever it is",
        {"stockade.wire.http1": gateway.bodies_without_end},
        "http|garbage",
    ),
    "later requests": Mutant(
        "of a kept-alive connection, the first request is judged",
        {_HTTP: gateway.first_request_only},
        "http|update",
    ),
    "methods": Mutant(
        "CONNECT is a request like any other, and HTTP/2 a protocol without names",
        {_HTTP: gateway.connect_passes, _SNIFF: gateway.http2_is_opaque},
        "http",
    ),
    "upgrades": Mutant(
        "whoever asks for an upgrade has it, whatever the server says",
        {_HTTP: gateway.upgrades_by_word},
        "http|update",
    ),
    "addresses": Mutant(
        "the gateway connects to where the client says, not to where the name points",
        {"stockade.gateway.dialing": gateway.where_the_client_says},
        "sni|http|policies|dns|server|update|name",
    ),
    "questions": Mutant(
        "DNS messages are relayed as they come, of any type",
        {"stockade.wire.dns": gateway.any_question},
        "dns|name|garbage",
    ),
    "answers": Mutant(
        "any DNS answer is believed",
        {"stockade.wire.dns_answer": gateway.any_answer},
        "dns|name|faults",
    ),
    "resolvers": Mutant(
        "whoever answers is the resolver, a failure is an answer, a dead one is asked on",
        {"stockade.gateway.resolver": gateway.any_resolver},
        "resolver",
    ),
    "rebinding": Mutant(
        "all addresses in an answer are handed on",
        {"stockade.gateway.dns": gateway.all_addresses},
        "dns|policies|host",
    ),
    "remembering": Mutant(
        "the answer to any question is kept, however long that is",
        {"stockade.gateway.dns": gateway.remember_everything},
        "dns_devboxes",
    ),
    "interception": Mutant(
        "port 53 is a port like any other",
        {_RULES: host.port_53_is_any_port},
        "dns",
    ),
    "datagrams": Mutant(
        "QUIC by name is relayed",
        {"stockade.gateway.udp": gateway.quic_passes},
        "udp",
    ),
    "revocation": Mutant(
        "a change of policy cuts nothing",
        {"stockade.gateway.devboxes": gateway.no_revocation},
        "life|update",
    ),
    "updates": Mutant(
        "a change of policy is acknowledged and takes no effect",
        {"stockade.gateway.devboxes": gateway.no_updates},
        "life|update",
    ),
    "quarantine": Mutant(
        "a policy that cannot be read leaves the one before in force",
        {"stockade.gateway.devboxes": gateway.no_quarantine},
        "life|update",
    ),
    "order": Mutant(
        "generations may follow each other in any order",
        {"stockade.spec": host.any_order},
        "update",
    ),
    "limits": Mutant(
        "no limits on one devbox",
        {"stockade.gateway.services": gateway.no_limits},
        "exhaustion|fairness|server|hello|faults|channels",
    ),
    "leaks": Mutant(
        "sockets of ended connections stay open",
        {"stockade.gateway.sides": gateway.sockets_stay},
        "exhaustion|transfer|faults|life",
    ),
    "identity": Mutant(
        "the ruleset lets in a packet whatever its source address",
        {_RULES: host.any_source},
        "isolation",
    ),
    "refusals": Mutant(
        "the ruleset hands everything to the gateway and refuses nothing",
        {_RULES: host.no_refusals},
        "isolation|protocols|address",
    ),
    "silence": Mutant(
        "what the ruleset refuses is dropped without a word",
        {_RULES: host.silent_refusals},
        "isolation|protocols|address",
    ),
    "forwarding": Mutant(
        "the gateway namespace forwards between devboxes",
        {_RULES: host.forwarding, "stockade.host.sysctls": host.forwarding_sysctls},
        "isolation",
    ),
    "guarding": Mutant(
        "nobody reads the ruleset back",
        {"stockade.agent.guard": host.no_guard},
        "ruleset|faults",
    ),
    "privileges": Mutant(
        "no filter of system calls, all capabilities, and no file is read-only",
        {
            "stockade.runtime.seccomp": host.no_filter,
            "stockade.runtime.bundle": host.all_capabilities,
        },
        "isolation|protocols",
    ),
    "namespaces": Mutant(
        "a devbox shares the machine's processes",
        {"stockade.runtime.bundle": host.shared_processes},
        "isolation",
    ),
    "plain links": Mutant(
        "links as others have them: link-local addresses, ping sockets, a ruleset that "
        "lets in everything, services that answer broadcasts, and nobody who reads back",
        {
            _RULES: host.all_let_in,
            "stockade.host.sysctls": host.plain_links,
            "stockade.host.links": host.answering_links,
            "stockade.host.network": host.open_network,
        },
        "other|udp",
    ),
    "ends": Mutant(
        "it is noticed late that a devbox was killed",
        {"stockade.agent.agent": host.late_ends},
        "life|transfer",
    ),
    "memory of lookups": Mutant(
        "the next gateway is not told of lookups",
        {"stockade.agent.records": host.forgetful},
        "restart|life|update",
    ),
    "restarts": Mutant(
        "a gateway that ended is not replaced",
        {"stockade.agent.supervisor": host.no_restart},
        "restart|life|transfer|faults|update",
    ),
    "sweeping": Mutant(
        "nobody takes away what a killed run has left",
        {"stockade.runtime.removal": host.no_removal},
        "life|transfer",
    ),
    "patience": Mutant(
        "a client that says nothing is not waited for, whoever is to speak first",
        {"stockade.gateway.first_bytes": gateway.impatient},
        "server",
    ),
    "greed": Mutant(
        "what a client does not read is fetched for it",
        {"stockade.gateway.pump": gateway.greedy_streams},
        "fairness",
    ),
    "streams": Mutant(
        "of a long stream, an octet is lost now and then",
        {"stockade.gateway.pump": gateway.lossy_streams},
        "transfer",
    ),
    "records": Mutant(
        "no flow is on record",
        {"stockade.gateway.flowlog": gateway.no_records},
        "http|update|policies",
    ),
}
