"""What needs CAP_NET_ADMIN: namespaces, veth pairs, rulesets, sockets.

A packet of a devbox, from its interface to a socket of the gateway::

    eth0 ──veth── sb7          the gateway namespace: no uplink, no default route
                   │
                identity       clears the mark; (interface, source) is a slot's, or drop
                   │           the kernel reassembles fragments here
                divert         DNS to the own gateway address: accept
                   │           port 53 to any other address: to dnsx*, dnstcp*
                   │           another slot, another protocol, odd headers: refuse
                   │           TCP and UDP: to tcp*, udp*, with the mark
                routing        the mark leads to table 100, which delivers all of it here
                   │
                input          the mark, or DNS to the own gateway address, or drop

Nothing is forwarded and nothing is translated. The sockets keep the original destination,
and the gateway process, which lives in the uplink namespace, decides what becomes of it.

Three things hold, whatever else fails:

- *Closed without us.* An empty ruleset, missing routing or a dead gateway process leave a
  devbox without any way out, because there is no route that leads out.
- *Nothing is left behind.* The namespace has no name. It goes, with every interface in it,
  when the last process that holds it or one of its sockets has ended.
- *Proven, not assumed.* `GatewayNetwork.verify` reads everything back from the kernel.

What is trusted: the kernel, and root of the machine. A devbox is not: not its source
addresses, its marks, its ARP and neighbour messages, its fragments, its header options.

`slots`, `ruleset` and `netlink` are pure; `netns`, `nft`, `links`, `routing`, `sysctls` and
`sockets` each change one kind of kernel state; `readback` compares; `network` puts them in
order. `uplink` is the other side: what the gateway must know of the namespace that it dials
from.
"""
