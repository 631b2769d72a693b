"""Writes the boards for a configuration into this folder: `python -m dashboards.generate [CONFIG]`."""

from __future__ import annotations

import sys
from pathlib import Path

from qoemon.config.config import load
from qoemon.tools.dashboards.boards import boards

HERE = Path(__file__).parent
SAMPLE = HERE.parent / "config/qoemon.yaml"


def main() -> None:
    """Write all boards."""
    config = load(Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLE)
    for name, text in boards(config).items():
        (HERE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
