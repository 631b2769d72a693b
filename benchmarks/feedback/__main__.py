"""What the comparison of ratings with predictions claims, measured. `python -m benchmarks.feedback`.

Each figure stands beside the bar that it has to hold. The exit code is 1 if one is missed.
"""

from __future__ import annotations

import sys

from benchmarks.feedback import asking, coverage, detector, fit, scores

PARTS = (detector, coverage, asking, fit, scores)


def main() -> int:
    """Print all figures as they are found; 1 if a figure misses its bar."""
    count = missed = 0
    for part in PARTS:
        print(f"\n{(part.__doc__ or '').splitlines()[0]}\n")
        for row in part.rows():
            print(row, flush=True)
            count, missed = count + 1, missed + (not row.held)
    print(f"\n{count} figures, {missed} missed")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
