"""The gateway namespace and the devboxes attached to it.

Order is what protects: a slot's addresses are known to the ruleset before its interface
exists, and are forgotten after it is gone. There is no moment at which a devbox has an
interface and the gateway namespace has no rule for it; and without rules it reaches
nothing either, since nothing is routed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from stockade.errors import EnforcementError
from stockade.host import (
    linkcheck,
    links,
    netns,
    nft,
    readback,
    routing,
    ruleset,
    sysctls,
)
from stockade.host.changes import Changes
from stockade.host.netns import Netns, Resident
from stockade.host.routing import Routing
from stockade.host.slots import Slot
from stockade.host.sockets import GatewaySockets, open_gateway_sockets


class GatewayNetwork:
    """The network of one gateway: its namespace, its sockets, its devboxes' interfaces.

    All calls block, for some milliseconds, and may come from any thread, one at a time.
    Nothing outlives the process but what it gave away: see `netns`. *lanes*, a power of
    two, is how many sets of sockets devboxes are spread over.
    """

    def __init__(self, lanes: int = 1) -> None:
        self._lanes = lanes
        self._netns: Netns | None = None
        self._sockets: GatewaySockets | None = None
        self._slots: dict[Slot, Resident] = {}
        # How libnftables lists the ruleset when it is what we wrote.
        self._baseline: tuple[str, ...] = ()
        self._lock = threading.RLock()

    @property
    def netns(self) -> Netns:
        """The gateway namespace."""
        if self._netns is None:
            raise EnforcementError("the gateway network is not started")
        return self._netns

    @property
    def sockets(self) -> GatewaySockets:
        """The sockets that a gateway process inherits. They stay open here, too."""
        if self._sockets is None:
            raise EnforcementError("the gateway network is not started")
        return self._sockets

    def start(self) -> None:
        """Make the namespace, its sockets, its ruleset and its routing."""
        self.open()
        self.configure()

    def open(self) -> None:
        """Make the namespace and its sockets: all that a gateway process waits for.

        Nothing can reach the sockets before `configure`, nor without a slot.
        """
        with self._lock:
            if self._netns is not None:
                raise EnforcementError("the gateway network is started already")
            self._netns = netns.create()
            try:
                self._sockets = open_gateway_sockets(self._netns, self._lanes)
            except BaseException:
                self.stop()
                raise

    def configure(self) -> None:
        """Make the ruleset and the routing of a namespace that is open."""
        with self._lock:
            try:
                with self.netns.entered():
                    sysctls.write(sysctls.GATEWAY)
                    nft.apply(ruleset.render_base(self._lanes))
                    self._baseline = readback.without_slots(nft.ruleset())
                routing.establish(self.netns)
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """Let go of everything. May be called twice.

        The namespace goes, and with it the devboxes' interfaces, as soon as the gateway
        process that has its sockets has ended, too.
        """
        with self._lock:
            while self._slots:
                self._slots.popitem()[1].close()
            if self._sockets is not None:
                self._sockets.close()
            if self._netns is not None:
                self._netns.close()
            self._sockets = self._netns = None

    def attach(self, slot: Slot, pid: int) -> None:
        """Give the network namespace of process *pid* the interface of *slot*.

        Raises `EnforcementError`, having taken everything back, if that fails.
        """
        with self._lock:
            if slot in self._slots:
                raise EnforcementError(f"slot {slot.index} is attached already")
            resident = Resident.of_process(pid)
            try:
                with self._held(resident) as devbox:
                    self._slots[slot] = resident
                    with self.netns.entered():
                        nft.apply(ruleset.render_slot(slot))
                    with devbox.entered():
                        sysctls.write(sysctls.DEVBOX)
                    links.connect(self.netns, devbox, slot)
            except BaseException:
                if self._slots.get(slot) is resident:
                    with suppress(EnforcementError):
                        self.detach(slot)
                resident.close()
                raise

    def detach(self, slot: Slot) -> None:
        """Take the interface of *slot* away. No error if there is none."""
        with self._lock:
            links.disconnect(self.netns, slot)
            with self.netns.entered():
                nft.apply(ruleset.render_slot_removed(slot))
            resident = self._slots.pop(slot, None)
            if resident is not None:
                resident.close()

    def counters(self) -> Mapping[str, int]:
        """Packets dropped or refused by the ruleset, by `ruleset.COUNTERS`."""
        with self._lock, self.netns.entered():
            return nft.counters(ruleset.TABLE)

    def changes(self) -> Changes:
        """What tells of changes in the gateway namespace, to be closed by the caller."""
        return Changes(self.netns)

    def verify(self) -> list[str]:
        """What keeps enforcement from being proven, a sentence each; empty if nothing.

        Reads the ruleset, the routing, the links and the kernel settings back.
        """
        with self._lock:
            slots = frozenset(self._slots)
            try:
                with self.netns.entered():
                    found = readback.problems(nft.ruleset(), self._baseline, slots)
                    found += sysctls.problems(sysctls.GATEWAY)
                routes = routing.observe(self.netns)
                found += routing.problems(routes, slots)
                return found + list(self._broken_links(routes).values())
            except (EnforcementError, OSError) as error:
                return [f"the gateway namespace cannot be read back: {error}"]

    def repair(self) -> dict[Slot, str]:
        """Bring back what `verify` misses; the ruleset in one transaction, never open.

        Raises `EnforcementError` if that does not succeed. Slots whose devbox cannot be
        connected again are detached, and returned with the reason. The counters start
        anew.
        """
        with self._lock:
            with self.netns.entered():
                nft.apply(ruleset.render_all(self._slots, self._lanes))
                sysctls.write(sysctls.GATEWAY)
            routing.repair(self.netns, self._slots)
            lost = {}
            for slot in self._broken_links(routing.observe(self.netns)):
                try:
                    with self._held(self._slots[slot]) as devbox:
                        links.reconnect(self.netns, devbox, slot)
                except EnforcementError as error:
                    lost[slot] = str(error)
                    self.detach(slot)
            if left := self.verify():
                raise EnforcementError(f"the gateway cannot be repaired: {left[0]}")
            return lost

    def _broken_links(self, routes: Routing) -> dict[Slot, str]:
        """What is wrong with the links of devboxes; theirs go when these end."""
        found = linkcheck.problems(linkcheck.observe(self.netns), routes, self._slots)
        return {slot: said for slot, said in found.items() if self._runs(slot)}

    def _runs(self, slot: Slot) -> bool:
        try:
            self._slots[slot].netns().close()
        except EnforcementError:
            return False
        return True

    @contextmanager
    def _held(self, resident: Resident) -> Iterator[Netns]:
        """The namespace of a devbox, for the block. Raises if it has none of its own."""
        devbox = resident.netns()
        try:
            if devbox.identity() in (netns.current(), self.netns.identity()):
                raise EnforcementError(
                    f"process {resident.pid} has no network of its own"
                )
            yield devbox
        finally:
            devbox.close()
