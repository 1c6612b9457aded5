"""Network policies: which flows may leave, and why.

A policy is a list of host names, a list of address ranges, and a few flags
(`model.NetworkPolicy`). It is compiled once (`decide.CompiledPolicy`) and then asked
about each flow. `decide.decide` is the only place in which a verdict falls; its
docstring gives the order of evaluation. In words:

- Guardrails stand above every policy, `allow_all` included: the machine itself,
  loopback, link-local with the metadata services, multicast and reserved space are
  never reachable; private ranges only where a CIDR rule of the policy names them or the
  operator opened them (`guardrails`).
- `github.com` covers that name. `*.github.com` covers every name below it, at any
  depth, and not `github.com`. Host names are not tied to a port.
- A CIDR rule covers addresses, and ports if it names some.
- A name counts only when it was verified on the wire (SNI, Host, a DNS question, or a
  lookup of this devbox), and the gateway then connects to where the *name* points.

What the devbox was told by DNS is kept in `lookups`. All of this is pure: no IO, no
clock.
"""
