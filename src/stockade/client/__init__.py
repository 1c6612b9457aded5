"""The official client with the names that the documentation of network policies uses.

Needs the package `runloop_api_client`, which the extra `stockade[sdk]` installs.
"""
