"""Several processes on one machine, each with its own shard of the sessions; the parent evaluates their counts.

    broker ─▶ worker 0: inbox, pipeline, store ─┐
    broker ─▶ worker 1: inbox, pipeline, store ─┼─ ShardCounts ─▶ parent: evaluation ─▶ publisher
                                                ┘
Sessions must stay whole on one shard. Where topics have a level {shard}, clients have made the shards, and each
worker has a connection of its own to its part of the topics. Elsewhere the parent has the one connection, and
routes each report to the worker that its session's name leads to. The reasons are in
docs/decisions/0018-workers.md.
"""
