"""The engine on a cluster: Spark runs the shards over the reports in Kafka, this process evaluates and publishes.

Spark stores the sessions, and where it is in the log, in its checkpoint. This process stores the evaluation with
its newest tick in the state directory, before Spark may take the batch for done: a batch that comes again is
evaluated only where it was not.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from qoemon.common import duration
from qoemon.common.backoff import Repeats, backoff_s
from qoemon.common.java import JavaError, require_java
from qoemon.common.metrics import Families
from qoemon.config.config import Config
from qoemon.config.plan import new_evaluation, shard_plan
from qoemon.core.alerting.alerts import AlertKey
from qoemon.core.arrays import Arrays
from qoemon.core.evaluation import Tick
from qoemon.engine.engine import POLL_S, EngineError, ExtraState, OnTick, SetupError
from qoemon.engine.evaluations import restored, successor
from qoemon.engine.metrics import engine_metrics
from qoemon.engine.shard import nothing
from qoemon.engine.spark.calls import at_most, in_own_thread
from qoemon.engine.spark.jvm_output import JvmOutput
from qoemon.engine.spark.metrics import ClusterStats, cluster_metrics
from qoemon.engine.spark.offsets import write_full
from qoemon.engine.spark.position import Position
from qoemon.engine.spark.session import MasterError, fall_silent, require_master, require_package, start_session
from qoemon.engine.spark.source import Feed
from qoemon.engine.spark.stream import Batch, Stream, StreamError
from qoemon.engine.stats import EngineStats
from qoemon.engine.storage import enter, layout_name, open_store, state_directory
from qoemon.net.kafka.client import OptionError, Options, client_options
from qoemon.net.kafka.topic import KafkaUnreachable, TopicError, check_topic
from qoemon.state.store import CorruptError
from qoemon.state.writer import JournalWriter

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LOG = logging.getLogger("qoemon.engine.spark")

WATCH_S = 0.5
"""How often the query is looked at."""

RETRY_S = (1.0, 30.0)
"""Shortest and longest pause before Kafka is asked, or the query started, again."""

STOP_S = 5.0
"""Longest time that the end of this process waits for Spark."""

STARTING = "starting the query"

LATE_S = 10.0
"""A tick that has not come this long, and a tick, after it was due is missed."""

T = TypeVar("T")


class SparkEngine:
    """Runs the query, and the evaluation of its ticks.

    extra_state  further arrays to store with the evaluation
    raises       SetupError without a state directory, StateError if it cannot be used
    """

    own_clock = True

    def __init__(self, config: Config, extra_state: ExtraState = nothing) -> None:
        directory = state_directory(config)
        if directory is None:
            raise SetupError(
                "engine.kind is spark, which needs a state directory for what the driver has evaluated: set "
                "state.dir, and state.durability other than none"
            )
        self._config, self._extra_state = config, extra_state
        self._lock, _ = enter(config, directory)
        self._directory = directory / layout_name(config)
        self._store = open_store(config, self._directory)
        self._writer = JournalWriter(self._store)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="evaluation")
        self._evaluation = new_evaluation(config)
        self._position = Position()
        self._spark: SparkSession | None = None
        self._stream: Stream | None = None
        self._switching = asyncio.Lock()
        """Held while one query takes the place of another."""
        self._partitions = 0
        self._batch: Batch | None = None
        """The batch whose ticks are being published."""
        self._next = 0
        """Its next tick."""
        self._storing: Batch | None = None
        """The batch that the evaluation being stored has all ticks of."""
        self._reached_s: int | None = None
        """Newest tick that came, whether it was evaluated or not."""
        self._doing: str | None = "restoring the state"
        """What keeps ticks from coming; None while the query runs, and a batch has ended since it failed."""
        self._started_s = time.time()
        """When the query was started first, seconds since the epoch."""
        self._ending = False
        self._turn = asyncio.Lock()
        """Held while the query is looked at, or replaced."""
        self._stats = ClusterStats(shards=config.engine.shards)
        self._repeats = Repeats()

    @property
    def stats(self) -> EngineStats:
        """As Engine.stats; the inputs are those of the bridges."""
        return EngineStats(writer=self._writer.stats)

    @property
    def newest_s(self) -> None:
        """As Engine.newest_s: the parts that have the sessions restore them by themselves."""

    def metrics(self, now_s: float) -> Families:
        """As Engine.metrics."""
        yield from engine_metrics(self.stats, self._evaluation.rejected, (), now_s)
        yield from cluster_metrics(self._stats, self._position.tick_s, now_s)

    def problems(self) -> list[str]:
        """As Engine.problems: what keeps ticks from coming."""
        if self._doing is not None:
            return [self._doing]
        if self._position.adopting and self._reached_s is not None and self._position.tick_s is not None:
            left_s = self._position.tick_s - self._reached_s
            return [f"new shards read what came before: {duration.text(left_s)} of reports until ticks continue"]
        since_s = max(self._position.tick_s or 0, self._started_s)
        late_s = time.time() - since_s - self._config.sessions.tick_s
        if late_s > LATE_S:
            reason = f"a batch takes too long, or the cluster has no free cores; {self._stats.text()}"
            return [f"no tick for {late_s + self._config.sessions.tick_s:.0f} s: {reason}"]
        return []

    def parts(self) -> dict[str, Coroutine[Any, Any, None]]:
        """As Engine.parts."""
        return {"state.writer": self._writer.run(), "engine.spark": self._run()}

    async def listen(self) -> None:
        """Nothing to bind: `qoemon bridge` has the inputs."""

    async def recover(self, on_tick: OnTick) -> Arrays:
        """As Engine.recover; Kafka and Spark may take their time, and are waited for by a part."""
        return await self._in_thread(self._stored)

    async def change(self, config: Config) -> None:
        """As Engine.change: the query goes on with the new plan, between two batches."""
        async with self._turn:
            evaluation = await self._in_thread(successor, config, self._evaluation)
            await self._stop_stream()
            self._config, self._evaluation = config, evaluation
            # _watch() starts it again.

    async def process_pending(self) -> None:
        """Nothing to do: reports go from Kafka to the cluster."""

    async def tick(self, tick_s: int) -> Tick | None:
        """None: ticks come by themselves."""
        return None

    async def next_tick(self) -> Tick | None:
        """As Engine.next_tick."""
        if self._batch is None and self._stream is not None and (waiting := self._stream.waiting) is not None:
            self._batch, self._next = waiting, 0
        while self._batch is not None and self._next < len(self._batch.ticks):
            tick_s, shards = self._batch.ticks[self._next]
            self._next += 1
            self._reached_s = tick_s
            step = self._position.step(tick_s)
            LOG.debug("tick %d of batch %d: %s", tick_s, self._batch.number, step)
            match step:
                case "evaluate":
                    tick = await self._in_thread(self._evaluation.tick, shards)
                    self._position = self._position.at(tick_s)
                    self._stats.ticks += 1
                    return tick
                case "adopt":
                    await self._in_thread(self._evaluation.adopt, shards)
                    self._position = self._position.adopted()
        return None

    async def shift(self, by_s: int, now_s: float) -> None:
        """Nothing to do: times are those of Kafka."""

    async def adopt_alerts(self, firing: Mapping[AlertKey, int]) -> None:
        """As Engine.adopt_alerts."""
        await self._in_thread(self._evaluation.adopt_alerts, firing)

    async def checkpoint_if_due(self) -> None:
        """Store the evaluation once all ticks of the batch are published, and let Spark go on."""
        batch = self._batch
        if batch is None or self._next < len(batch.ticks):
            return None
        if self._storing is not batch:
            try:
                await self._in_thread(write_full, self._full_file, self._evaluation.full)
            except OSError as error:
                return self._report(f"cannot write {self._full_file}: {error.strerror or error}")
            await self._store_evaluation()
            self._storing = batch
        if not self._writer.checkpoint_pending:
            self._storing = self._batch = self._doing = None
            self._start_file.unlink(missing_ok=True)
            LOG.debug("batch %d is stored, up to tick %s", batch.number, self._position.tick_s)
            self._stats.observe(batch.number, batch.state_bytes)
            batch.finish()
        return None

    def stop_receiving(self) -> None:
        """As Engine.stop_receiving: the query reads until finish(), but is not started again."""
        self._ending = True
        if self._spark is not None:
            fall_silent(self._spark, self._jvm_output)

    async def finish(self) -> None:
        """As Engine.finish."""
        await self.checkpoint_if_due()
        if self._storing is not None:
            await self._writer.flush()
            await self.checkpoint_if_due()
        await in_own_thread(self._end)

    def close(self) -> None:
        """As Engine.close."""
        at_most(STOP_S, self._end)
        self._thread.shutdown()
        self._writer.close()
        self._lock.close()

    @property
    def _full_file(self) -> Path:
        return self._directory / "full-groups.json"

    @property
    def _start_file(self) -> Path:
        """Has the tick at which a new checkpoint begins, until its first batch is stored: Spark asks again then."""
        return self._directory / "start"

    def _options(self) -> Options:
        kafka = self._config.kafka
        assert kafka is not None, "a rule of the configuration"  # noqa: S101 - for the type checker
        return client_options(kafka.brokers, kafka.client)

    async def _run(self) -> None:
        """Start the query, and follow it until the daemon ends: systemd, too, asks the JVM to end then."""
        try:
            await self._begin()
            await self._watch()
        except (EngineError, SetupError):
            if not self._ending:
                raise

    async def _begin(self) -> None:
        """Everything between a configuration and a running query."""
        master = self._config.engine.master
        try:
            await in_own_thread(require_java)
        except JavaError as error:
            raise SetupError(f"engine.kind is spark, which runs on Java: {error}") from None
        self._doing = "asking Kafka for the topic"
        self._partitions = self._stats.partitions = await self._known_topic()
        await self._known_master(master)
        self._doing = f"starting Spark ({master})"
        LOG.info("starting Spark (%s)", master)
        began_s = time.monotonic()
        self._jvm_output = JvmOutput()
        self._spark = await in_own_thread(start_session, self._config.engine, self._jvm_output)
        self._doing = f"waiting for executors ({master})"
        await in_own_thread(require_package, self._spark)
        self._started_s, self._doing = time.time(), None
        try:
            await self._start_stream()
        except StreamError as error:
            return self._report(str(error))
        return LOG.info("the query runs, %.1f s after the start of Spark", time.monotonic() - began_s)

    async def _known_master(self, master: str) -> None:
        """Wait for the master of a standalone cluster."""
        failures = 0
        while True:
            try:
                return await in_own_thread(require_master, master)
            except MasterError as error:
                self._report(str(error))
            await asyncio.sleep(backoff_s(failures, *RETRY_S))
            failures += 1

    async def _known_topic(self) -> int:
        """The number of partitions; waits for Kafka. SetupError if the topic cannot be used."""
        kafka = self._config.kafka
        assert kafka is not None, "a rule of the configuration"  # noqa: S101 - for the type checker
        failures = 0
        while True:
            try:
                return await in_own_thread(check_topic, self._options(), kafka.topic, kafka.partitions)
            except (OptionError, TopicError) as error:
                raise SetupError(str(error)) from None
            except KafkaUnreachable as error:
                self._report(str(error))
            await asyncio.sleep(backoff_s(failures, *RETRY_S))
            failures += 1

    async def _start_stream(self) -> None:
        """Start the query. StreamError if it cannot be started now, SetupError if not later either."""
        if self._doing is None:
            self._doing = STARTING
        self._stream = await in_own_thread(self._new_stream)
        if self._doing == STARTING:
            self._doing = None
        engine, query = self._config.engine, self._stream.id
        if self._position.new_sessions(query):
            await self._in_thread(self._lose_all)
        self._position = self._position.running(query, str(engine.checkpoint), engine.shards)

    def _new_stream(self) -> Stream:
        assert self._spark is not None, "see _begin()"  # noqa: S101 - for the type checker
        engine, kafka = self._config.engine, self._config.kafka
        assert kafka is not None, "rules of the configuration"  # noqa: S101
        assert engine.checkpoint is not None, "rules of the configuration"  # noqa: S101
        plan, tick_s = shard_plan(self._config, engine.shards), self._config.sessions.tick_s
        begin_s = self._position.begin_s
        feed = Feed(
            options=self._options(),
            topic=kafka.topic,
            partitions=self._partitions,
            shards=engine.shards,
            tick_s=tick_s,
            start_s=self._start_tick_s(tick_s) if begin_s is None else begin_s,
            readers=max(self._spark.sparkContext.defaultParallelism, 1),
            full=self._full_file,
            plan=plan,
        )
        return Stream(self._spark, feed, plan, engine.checkpoint)

    def _start_tick_s(self, tick_s: int) -> int:
        """The newest tick; that of an earlier start, if its first batch was not stored."""
        try:
            return int(self._start_file.read_text("ascii"))
        except (FileNotFoundError, ValueError):
            pass
        newest_s = int(time.time() // tick_s) * tick_s
        try:
            self._start_file.write_text(f"{newest_s}\n", "ascii")
        except OSError as error:
            raise StreamError(f"cannot write {self._start_file}: {error.strerror or error}") from None
        return newest_s

    async def _watch(self) -> None:
        """Follow the query, and start it again when it has failed."""
        failures = batches = 0
        while not self._ending:
            await asyncio.sleep(WATCH_S)
            async with self._turn:
                if self._ending:
                    return
                try:
                    if self._stream is None:
                        await self._start_stream()
                    else:
                        progress, self._stats.executors = await in_own_thread(self._stream.look)
                        self._stats.follow(progress)
                    continue
                except StreamError as error:
                    self._stats.restarts += 1
                    self._report(str(error))
                await self._stop_stream()
            failures = 0 if self._stats.batches > batches else failures
            await asyncio.sleep(backoff_s(failures, *RETRY_S))
            failures, batches = failures + 1, self._stats.batches

    async def _stop_stream(self) -> None:
        stream, self._stream, self._batch = self._stream, None, None
        if stream is not None:
            await in_own_thread(stream.stop)

    def _end(self) -> None:
        """Stop the query and Spark, unless they have ended: systemd, too, asks the JVM to end. Blocks."""
        stream, self._stream = self._stream, None
        spark, self._spark = self._spark, None
        for each in (stream, spark):
            if each is not None:
                try:
                    each.stop()
                except Exception as error:  # noqa: BLE001 - whatever it is, it ends with this process
                    LOG.debug("%s does not stop: %r", type(each).__name__, error)

    def _report(self, problem: str) -> None:
        self._doing = problem
        if self._repeats.is_news(problem, time.monotonic()):
            LOG.warning("%s; it is tried again", problem)

    def _stored(self) -> Arrays:
        """The stored evaluation, restored as far as it is compatible. Runs in the thread."""
        try:
            state = self._store.state()
        except CorruptError as error:
            self._store.quarantine(str(error))
            return {}
        if state:
            self._position = Position.restored(state)
            self._position.require(self._config.engine.shards, str(self._config.engine.checkpoint))
            self._evaluation = restored(self._config, state)
            self._evaluation.begin_exports()
        return state

    def _lose_all(self) -> None:
        """The sessions begin from scratch. Runs in the thread."""
        LOG.warning(
            "the checkpoint %s is new: sessions begin from scratch; windows, totals and alerts go on",
            self._config.engine.checkpoint,
        )
        for shard in range(self._config.engine.shards):
            self._evaluation.lose(shard)

    async def _store_evaluation(self) -> None:
        """Hand the evaluation to the writer, and give it a moment: usually it is stored then."""
        extra = {**self._extra_state(), **self._position.stored()}
        self._writer.checkpoint({**await self._in_thread(self._evaluation.dump), **extra})
        flushed = asyncio.ensure_future(self._writer.flush())
        await asyncio.wait({flushed}, timeout=POLL_S)
        flushed.cancel()

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
