"""Containers and images."""
