"""A small internet in network namespaces, for tests, demo and benchmarks.

    lab-<id>-host (the uplink)                lab-<id>-inet (everybody else)
    ┌──────────────────────────┐   veth    ┌─────────────────────────────────┐
    │ stockade is started here ├───────────┤ one process answers on *every*  │
    │ host services            │           │ address and port, and records   │
    └──────────────────────────┘           └─────────────────────────────────┘

Two independent witnesses say what left the uplink: the *record* (`Entry`: what the
servers read, question by question and connection by connection) and the *packet
counters* of the inet namespace, which see a packet before any server does. A denial is
proven by them, never by an error of the client.
"""

from __future__ import annotations

from tests.lab.lab import Lab
from tests.lab.record import Entry, Kind
from tests.lab.zone import Behaviour, Name

__all__ = ["Behaviour", "Entry", "Kind", "Lab", "Name"]
