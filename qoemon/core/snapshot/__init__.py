"""Counts to the QoE of all groups at a tick."""
