"""What needs CAP_NET_ADMIN: namespaces, veth pairs, rulesets, sockets."""
