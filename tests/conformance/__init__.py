"""Runloop's own smoke tests, against our server.

They ship in the source distribution of the official client, are downloaded when they are
run and never committed. `python -m tests.conformance`, or `make conformance`, runs them
and writes the table of `docs/compatibility.md`.
"""
