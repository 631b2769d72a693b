"""Grafana dashboards, written by a program: `python -m dashboards.generate`."""
