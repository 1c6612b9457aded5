"""The HTTP API: Runloop's paths and shapes over the control plane.

One module a resource. Shapes are read and rendered here and nowhere else; what a
request means is decided in `control`.
"""
