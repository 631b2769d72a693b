"""Simulated viewers and page loads that report to a broker."""
