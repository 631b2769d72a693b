"""Runs the shards of the core, in this process or in worker processes, and acknowledges what is stored."""
