"""From an allowed name to a connection: resolve, vet each address, dial as vetted."""

from __future__ import annotations

from stockade.gateway.devboxes import AttachedDevbox
from stockade.gateway.racing import dial_first
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

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        super().__init__(str(decision.reason))


def with_host_fact(services: Services, flow: Flow) -> Flow:
    """*flow*, knowing whether its address belongs to this machine, in whatever form."""
    if flow.address is None:
        return flow
    is_host = is_own(services, flow.address)
    return Flow(flow.port, flow.transport, flow.address, flow.name, is_host)


def is_own(services: Services, address: Address) -> bool:
    """Whether *address* belongs to this machine or the gateway, in whatever form."""
    if services.uplink.is_host_address(address):
        return True
    for network in services.own_networks:
        if address.version == network.version and address in network:
            return True
    inner = embedded_in(address)
    return inner is not None and is_own(services, inner)


async def vetted_flows(
    services: Services,
    devbox: AttachedDevbox,
    name: Hostname,
    flow: Flow,
    prefer: Address,
) -> list[Flow]:
    """Where *name* points now and *flow* may go, *prefer* first if it is among them.

    Each is the flow to one address, with what is known of it; at most `MAX_DIALS`, since
    no more would be tried. Addresses of *prefer*'s family are asked for first, the other
    family only when there are none. Raises `Barred` when no address may be reached,
    `ResolveError` when the name has none.
    """
    first = address_qtype(prefer)
    barred: Barred | None = None
    for qtype in (first, QType.AAAA if first is QType.A else QType.A):
        resolved = await services.resolver.resolve(name, qtype)
        allowed: list[Flow] = []
        for address in _preferred_first(resolved.answer.addresses, prefer):
            facts = with_host_fact(
                services, Flow(flow.port, flow.transport, address, name)
            )
            decision = devbox.decide(facts)
            if not decision.allowed:
                barred = Barred(decision)
                continue
            allowed.append(facts)
            if len(allowed) == MAX_DIALS:
                break
        if allowed:
            return allowed
    if barred is not None:
        raise barred
    raise ResolveError(f"{name} has no address")


def _preferred_first(
    addresses: tuple[Address, ...], prefer: Address
) -> tuple[Address, ...]:
    if prefer not in addresses or addresses[0] == prefer:
        return addresses
    return prefer, *(address for address in addresses if address != prefer)


async def dial_name(
    services: Services,
    devbox: AttachedDevbox,
    name: Hostname,
    port: int,
    prefer: Address,
) -> tuple[Side, Flow]:
    """Connect to where *name* points now; the client's own address if it still does.

    Returns the flow that was allowed with the connection.

    Raises `Barred`, `ResolveError`, or the `OSError` of the last attempt.
    """
    flow = Flow(port, Transport.TCP)
    vetted = await vetted_flows(services, devbox, name, flow, prefer)
    if len(vetted) > 1:
        return await dial_first(services.dialer, vetted, devbox.events)
    (facts,) = vetted
    assert facts.address is not None  # noqa: S101 - a vetted flow has one
    return await services.dialer.dial(facts.address, port, devbox.events), facts
