"""CPU, rate and delay of an engine on Spark, from Kafka to published ticks. `python -m benchmarks.cluster`.

Everything runs on this machine: one node of Kafka, a driver with `local[2]`, and the producer, which writes what
`qoemon bridge` would. The CPU of the engine is that of the driver, its JVM and its Python workers. The local engine is
the core in this process, with the same reports in arrays of 100: it is what the cluster is compared with.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.bench import run
from benchmarks.row import Row
from qoemon.config.config import Config
from qoemon.config.plan import core_plan, new_evaluation
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.core.wire.partition import shard_of
from qoemon.engine.spark.records import record_of
from qoemon.net.kafka.client import client_options
from qoemon.net.kafka.producer import Producer
from qoemon.state.frames import StoredMessage
from qoemon.tools.cluster.kafka import Kafka

SHARDS, TICK_S, TOPIC, PARTITIONS = 64, 10, "qoemon-reports", 8
LOADS = ((15_000, 100_000, 12.0), (60_000, 400_000, 6.0))
"""Reports a second, sessions, and at most how often the CPU of the local engine a report may take."""
WARM_S, MEASURED_S = (20.0, 20.0) if os.environ.get("QUICK") else (60.0, 60.0)
GROUPS, ARRAY, LATE_S, START_S = 20, 100, 10, 120.0
US = 1e6
