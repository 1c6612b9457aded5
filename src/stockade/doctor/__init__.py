"""Can this machine run devboxes?

A check is a function from facts to a `check.Check`: ok, or what is missing and the
command that mends it. `diagnosis.diagnose` makes them all. What the gateway needs of
the kernel is not guessed from its configuration but tried: its real ruleset and its
real sockets, in namespaces made for it.
"""
