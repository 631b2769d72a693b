"""Simulated viewers and page loads that publish reports to a broker."""
