"""From an allowed name to a connection: resolve, vet each address, dial as vetted."""

from __future__ import annotations

from dataclasses import replace

from stockade.gateway.devboxes import AttachedDevbox
from stockade.gateway.resolver import ResolveError, address_qtype
from stockade.gateway.services import Services
from stockade.gateway.sides import Side
from stockade.names import Hostname
from stockade.policy.decide import Decision, Flow
from stockade.policy.guardrails import Address, embedded_in
from stockade.policy.model import Transport
from stockade.wire.dns import QType

MAX_DIALS = 4


class Barred(Exception):
    """Every address of an allowed name is one that may not be reached."""

    def __init__(self, decision: Decision, address: Address) -> None:
        self.decision = decision
        self.address = address
        super().__init__(str(decision.reason))


def with_host_fact(services: Services, flow: Flow) -> Flow:
    """*flow*, knowing whether its address belongs to this machine, in whatever form."""
    if flow.address is None:
        return flow
    forms = [form for form in (flow.address, embedded_in(flow.address)) if form]
    own = any(
        form.version == network.version and form in network
        for network in services.own_networks
        for form in forms
    )
    is_host = own or any(map(services.uplink.is_host_address, forms))
    return replace(flow, is_host=is_host)


async def vetted_addresses(
    services: Services,
    devbox: AttachedDevbox,
    name: Hostname,
    flow: Flow,
    prefer: Address,
) -> list[Address]:
    """Where *name* points now and *flow* may go, *prefer* first if it is among them.

    Addresses of *prefer*'s family are asked for first, the other family only when there
    are none. Raises `Barred` when no address may be reached, `ResolveError` when the
    name has none.
    """
    first = address_qtype(prefer)
    barred: Barred | None = None
    for qtype in (first, QType.AAAA if first is QType.A else QType.A):
        resolved = await services.resolver.resolve(name, qtype)
        allowed: list[Address] = []
        for address in resolved.answer.addresses:
            facts = with_host_fact(services, replace(flow, address=address, name=name))
            decision = devbox.decide(facts)
            if decision.allowed:
                allowed.append(address)
            else:
                barred = Barred(decision, address)
        if allowed:
            # The sort is stable: the order of the answer is kept otherwise.
            return sorted(allowed, key=lambda address: address != prefer)
    if barred is not None:
        raise barred
    raise ResolveError(f"{name} has no address")


async def dial_name(
    services: Services,
    devbox: AttachedDevbox,
    name: Hostname,
    port: int,
    prefer: Address,
) -> tuple[Side, Address]:
    """Connect to where *name* points now; the client's own address if it still does.

    Raises `Barred`, `ResolveError`, or the `OSError` of the last attempt.
    """
    flow = Flow(port, Transport.TCP)
    addresses = await vetted_addresses(services, devbox, name, flow, prefer)
    problem: OSError | None = None
    for address in addresses[:MAX_DIALS]:
        try:
            return await services.dialer.dial(address, port, devbox.events), address
        except OSError as error:
            problem = error
    raise problem or ResolveError(f"{name} has no address")
