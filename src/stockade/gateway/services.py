"""What the services of the gateway share, and their limits."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

from stockade.gateway.devboxes import Registry
from stockade.gateway.flowlog import FlowLog
from stockade.gateway.pump import PipePool
from stockade.gateway.resolver import UplinkResolver
from stockade.gateway.upstream import Dialer, Uplink
from stockade.policy.guardrails import Network


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that protect the gateway from one devbox. Times in seconds."""

    flows: int = 2_048
    udp_flows: int = 1_024
    #: For the connections of one lane while other lanes start some, too.
    contended_connections_per_second: float = 1_000.0
    contended_connection_burst: float = 100.0
    #: For a client to whose destination nothing leads but what it says.
    first_byte_timeout: float = 1.5
    sniff_timeout: float = 10.0
    sniff_pieces: int = 20_000
    idle_timeout: float = 7_200.0
    half_open_timeout: float = 600.0
    udp_idle_timeout: float = 60.0
    questions_per_second: float = 200.0
    question_burst: float = 2_000.0
    questions_in_flight: int = 128
    new_names_per_second: float = 20.0
    new_name_burst: float = 1_000.0

    @classmethod
    def within(cls, descriptors: int) -> Self:
        """The usual limits; fewer flows where the process may open few descriptors.

        A flow takes two of them, four at most: one devbox gets no more than half.
        """
        usual, most = cls(), max(descriptors // 8, 1)
        return replace(
            usual,
            flows=min(usual.flows, most),
            udp_flows=min(usual.udp_flows, most),
        )


@dataclass(frozen=True, slots=True)
class Services:
    """The shared parts of one gateway process."""

    registry: Registry
    resolver: UplinkResolver
    dialer: Dialer
    uplink: Uplink
    log: FlowLog
    pipes: PipePool = field(default_factory=PipePool)
    limits: Limits = field(default_factory=Limits)
    #: Addresses of the gateway namespace itself: barred like the machine's own.
    own_networks: tuple[Network, ...] = ()
    #: How a denied name is answered: "sinkhole", "nxdomain" or "refused".
    denied_answer: str = "sinkhole"
