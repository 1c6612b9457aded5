"""What makes a server of the control plane and the host agent, on one machine.

Listening, certificates, the lock on the data directory, logs; and the composition: which
service gets what. `cli.serve` runs it.
"""
