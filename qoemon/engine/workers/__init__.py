"""Several ingest processes on one machine, each with its own shard of the sessions; the parent adds them up.

    broker ─▶ worker 0: inbox, line, store ─┐
    broker ─▶ worker 1: inbox, line, store ─┼─ shares ─▶ parent: union, judge, watch ─▶ publisher
                                            ┘
Sessions must stay whole on one shard. Where topics have a level {shard}, clients have made the shards, and each
worker has a connection of its own to its part of the topics. Elsewhere the parent has the one connection, and hands
each report to the worker to which the session's name leads. The reasons are in docs/decisions/0018-workers.md.
"""
