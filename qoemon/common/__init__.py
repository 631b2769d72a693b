"""Small things of no subject: durations, sizes, safe text, logs, back-off, clock, signals, systemd.

Imports nothing of qoemon.
"""
