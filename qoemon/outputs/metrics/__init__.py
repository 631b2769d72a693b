"""Prometheus metrics of a tick, and their text format."""
