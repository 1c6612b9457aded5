"""The egress gateway: the process every packet of a devbox ends in.

     devbox netns          gateway netns (no uplink, no route)          uplink netns
    +------------+  veth  +-----------------------------------+       +--------------+
    | eth0       |--------| anti-spoof, TPROXY tcp and udp,   |       | dials        |
    | default via|        | reject everything else            |       | asks         |
    +------------+        |  sockets <---- this process ------|------>| resolvers    |
                          +-----------------------------------+       +--------------+

A socket belongs to the namespace in which it was made. The process lives in the uplink
namespace and *inherits* the sockets that were made in the gateway namespace, so nothing
but this process joins the two, and it needs no privilege to do so. There is no NAT, no
route and no forwarding: if the process dies, nothing passes.

The life of a DNS question (`dns_service`, `dns`): parse; judge the name; a denied one
is answered with a sinkhole address; an allowed one is asked upstream (`resolver`), its
addresses are vetted, noted as lookups of the devbox, and given.

The life of a connection (`tcp`, `connection`): the kernel accepts it for whatever
address it was made to; where address and port are allowed it is dialled and relayed
(`relay`); otherwise the first bytes are read (`first_bytes`), judged (`judging`), and
the *name* is dialled (`dialing`), or the client is told why not (`denials`). The
requests of plain HTTP stay parsed (`http`). Datagrams: `udp`.

The agent attaches devboxes and pushes policies over `control`; each decision becomes a
record in `flowlog`.

Known weaknesses, said aloud: a TLS connection is judged by its SNI, so fronting behind
one certificate is not seen; opaque protocols to an address that several names share are
judged by the name the devbox looked up last.
"""
