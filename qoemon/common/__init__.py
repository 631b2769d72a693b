"""Helpers that belong to no other package: durations, sizes, safe text, logs, back-off, clock, signals, systemd.

Imports nothing of qoemon.
"""
