"""Turns the announcements of gateways into one record a flow.

A gateway announces a flow when its verdict falls and completes it at its end. What was
announced and never completed, because the gateway died, is completed here: a flow that
was allowed is on record whatever happens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stockade.gateway.flowlog import FlowRecord, Kind
from stockade.policy.decide import Reason, Verdict

#: Lookups of a devbox, an address and a name each, that the next gateway is told. All of
#: them, with names of the greatest length, fit into one line of the control protocol.
MAX_LOOKUPS = 16_384


def read_record(values: dict[str, Any]) -> FlowRecord:
    """A record from its JSON form. Fields of a later version are left out."""
    known = FlowRecord._fields
    wanted = {key: values[key] for key in known if key in values}
    wanted["kind"] = Kind(wanted["kind"])
    wanted["verdict"] = Verdict(wanted["verdict"])
    wanted["reason"] = Reason(wanted["reason"])
    wanted["addresses"] = tuple(wanted["addresses"])
    return FlowRecord(**wanted)


class RecordBook:
    """Completes records, and remembers lookups for the next gateway.

    Each gateway numbers its flows from one; here the numbers go on.
    """

    def __init__(self, on_record: Callable[[FlowRecord], None]) -> None:
        self._on_record = on_record
        self._before = 0
        self._highest = 0
        self._open: dict[int, FlowRecord] = {}
        self._lookups: dict[str, dict[tuple[str, str], None]] = {}

    def take(self, values: dict[str, Any]) -> None:
        """Read one line of a gateway."""
        record = read_record({**values, "id": values["id"] + self._before})
        self._highest = max(self._highest, record.id)
        self._remember(record)
        if not record.ended:
            self._open[record.id] = record
            return
        self._open.pop(record.id, None)
        self._on_record(record)

    def gateway_ended(self) -> None:
        """Complete what the gateway had announced."""
        announced, self._open = self._open, {}
        self._before = self._highest
        for record in announced.values():
            self._on_record(record._replace(ended=True, error="the gateway ended"))

    def lookups(self, devbox: str) -> dict[str, list[str]]:
        """The lookups of a devbox: by address, the names, the latest last."""
        names: dict[str, list[str]] = {}
        for address, name in self._lookups.get(devbox, {}):
            names.setdefault(address, []).append(name)
        return names

    def forget(self, devbox: str) -> None:
        """Drop the lookups of a devbox that is gone."""
        self._lookups.pop(devbox, None)

    def _remember(self, record: FlowRecord) -> None:
        if record.kind is not Kind.DNS or record.name is None:
            return
        known = self._lookups.setdefault(record.devbox, {})
        for address in record.addresses:
            known.pop((address, record.name), None)
            known[address, record.name] = None
            if len(known) > MAX_LOOKUPS:
                del known[next(iter(known))]
