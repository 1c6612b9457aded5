"""Stockade: devboxes on your own machines, and a network policy nothing gets around.

A devbox is an isolated Linux sandbox for an AI agent. What it may reach is decided by a
network policy, at one transparent gateway that every packet of the devbox ends in.
"""

__version__ = "0.1.0.dev0"
