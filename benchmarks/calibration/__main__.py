"""What the study tools claim, measured. `python -m benchmarks.calibration`.

Each figure stands beside the bar that it has to hold. The exit code is 1 if one is missed.
"""

from __future__ import annotations

import sys

from benchmarks.calibration import bias, choice, coverage, published

PARTS = (coverage, bias, published, choice)


def main() -> int:
    """Print all tables and figures; 1 if a figure misses its bar."""
    rows = [row for part in PARTS for row in part.rows()]
    print("", *rows, sep="\n")
    missed = sum(not row.held for row in rows)
    print(f"\n{len(rows)} figures, {missed} missed")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
