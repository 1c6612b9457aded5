"""Benchmarks: everything side by side in one run, as ratios, each beside its bar.

The internet is the lab's (`tests.lab`): servers in one namespace, the uplink in another.
Each contender stands in the uplink namespace, between a client namespace of its own and the
servers, so that all of them move the same bytes over links of the same kind.
"""
