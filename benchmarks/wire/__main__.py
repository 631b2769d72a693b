"""`python -m benchmarks.wire [--json FILE]`: mosquitto, the daemon and its rivals on free ports; CPU from /proc."""

import sys

from benchmarks.bench import run
from benchmarks.wire.cases import rows

if __name__ == "__main__":
    sys.exit(run("The whole daemon beside a broker", rows))
