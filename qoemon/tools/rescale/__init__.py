"""Divides the sessions of a cluster among another number of shards."""
