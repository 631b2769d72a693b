"""Several processes on one machine, each with its own shard of the sessions; the parent evaluates their counts.

    broker ─▶ worker 0: inbox, pipeline, store ─┐
    broker ─▶ worker 1: inbox, pipeline, store ─┼─ ShardCounts ─▶ parent: evaluation ─▶ publisher
                                                ┘
All reports of a session must reach the same shard. If topics have a level {shard}, clients choose the shard, and
each worker has its own connection for its part of the topics. Otherwise the parent has the only connection, and
routes each report to a worker by its session id. The reasons are in docs/decisions/0018-workers.md.
"""
