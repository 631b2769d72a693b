"""The counts of one shard of the sessions, and their sum over all shards."""
