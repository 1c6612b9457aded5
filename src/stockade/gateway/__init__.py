"""The egress gateway: the process every packet of a devbox ends in."""
