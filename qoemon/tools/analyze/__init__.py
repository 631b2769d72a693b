"""Ratings of recorded QoS: a CSV file of experiences."""
