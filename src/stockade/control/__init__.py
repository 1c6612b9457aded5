"""The control plane: accounts, policies, devboxes, and what is kept of them.

It holds intent, in a database, and asks a `Host` for what shall run. It knows neither
HTTP nor namespaces: `api` is above it, and the host agent satisfies `host.Host` without
being imported here.
"""
