"""The gateway namespace and the devboxes attached to it.

Order is what protects: a slot's addresses are known to the ruleset before its interface
exists, and are forgotten after it is gone. There is no moment at which a devbox has an
interface and the gateway namespace has no rule for it; and without rules it reaches nothing
either, since nothing is routed.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from stockade.errors import EnforcementError
from stockade.host import links, netns, nft, ruleset
from stockade.host.netns import Netns
from stockade.host.slots import Slot
from stockade.host.sockets import GatewaySockets, open_gateway_sockets


class GatewayNetwork:
    """The network of one gateway: its namespace, its sockets, its devboxes' interfaces.

    All calls block, for some milliseconds, and may come from any thread, one at a time.
    Nothing outlives the process but what it gave away: see `netns`.
    """

    def __init__(self) -> None:
        self._netns: Netns | None = None
        self._sockets: GatewaySockets | None = None
        self._slots: set[Slot] = set()
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
        """Make the namespace, its ruleset, its routing and its sockets."""
        with self._lock:
            if self._netns is not None:
                raise EnforcementError("the gateway network is started already")
            self._netns = netns.create()
            try:
                with self._netns.entered():
                    netns.write_sysctls(GATEWAY_SYSCTLS)
                    nft.apply(ruleset.render_base())
                links.route_to_sockets(self._netns)
                self._sockets = open_gateway_sockets(self._netns)
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """Let go of everything. May be called twice; devboxes lose their interface."""
        with self._lock:
            for slot in tuple(self._slots):
                self.detach(slot)
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
            devbox = netns.of_process(pid)
            try:
                self._slots.add(slot)
                with self.netns.entered():
                    nft.apply(ruleset.render_slot(slot))
                with devbox.entered():
                    netns.write_sysctls(DEVBOX_SYSCTLS)
                links.connect(self.netns, devbox, slot)
            except BaseException:
                self.detach(slot)
                raise
            finally:
                devbox.close()

    def detach(self, slot: Slot) -> None:
        """Take the interface of *slot* away. No error if there is none."""
        with self._lock:
            links.disconnect(self.netns, slot)
            with self.netns.entered():
                nft.apply(ruleset.render_slot_removed(slot))
            self._slots.discard(slot)

    def counters(self) -> Mapping[str, int]:
        """Packets dropped or refused by the ruleset, by `ruleset.COUNTERS`."""
        with self._lock, self.netns.entered():
            return nft.counters(ruleset.TABLE)


GATEWAY_SYSCTLS: Mapping[str, str] = {
    # A new namespace may start with the values of the machine, which may be a router.
    "ipv4/ip_forward": "0",
    "ipv6/conf/all/forwarding": "0",
    **{
        f"ipv4/conf/{which}/{key}": value
        for which in ("all", "default")
        for key, value in {
            "rp_filter": "1",
            "forwarding": "0",
            "accept_redirects": "0",
            "secure_redirects": "0",
            "send_redirects": "0",
            "accept_source_route": "0",
            "accept_local": "0",
            "route_localnet": "0",
            "proxy_arp": "0",
            "arp_ignore": "8",
            "arp_announce": "2",
            "src_valid_mark": "0",
        }.items()
    },
    **{
        f"ipv6/conf/{which}/{key}": value
        for which in ("all", "default")
        for key, value in {
            "disable_ipv6": "0",
            "accept_ra": "0",
            "accept_redirects": "0",
            "accept_source_route": "-1",
            "autoconf": "0",
            "dad_transmits": "0",
            "proxy_ndp": "0",
        }.items()
    },
    "ipv6/conf/default/forwarding": "0",
    "ipv6/conf/default/addr_gen_mode": "1",
    # One error a millisecond to each devbox: clients must see refusals, always.
    "ipv4/icmp_ratelimit": "1",
    "ipv6/icmp/ratelimit": "1",
}

DEVBOX_SYSCTLS: Mapping[str, str] = {
    "ipv4/ping_group_range": "1\t0",
    **{
        f"ipv6/conf/{which}/{key}": value
        for which in ("all", "default")
        for key, value in {
            "disable_ipv6": "0",
            "accept_ra": "0",
            "accept_redirects": "0",
            "autoconf": "0",
            "dad_transmits": "0",
        }.items()
    },
    "ipv6/conf/default/addr_gen_mode": "1",
}
