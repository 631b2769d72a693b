"""What a wheel has beside the code: files of the repository, manual pages, and scripts for completion."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Wheel(BuildHookInterface[Any]):
    """Run by hatchling; its settings are in pyproject.toml."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files. An editable installation has those of the checkout, which follow the code."""
        if version == "editable":
            return
        root = Path(self.root)
        for pattern in self.config["shipped"]:
            for file in root.glob(pattern):
                path = file.relative_to(root).as_posix()
                build_data["force_include"][path] = f"qoemon/shipped/{path}"
        sys.path.insert(0, self.root)
        from docs.manual import files  # noqa: PLC0415 - importable now

        self._folder = TemporaryDirectory()
        for at, (name, text) in enumerate(files().items()):
            file = Path(self._folder.name) / str(at)
            file.write_text(text, encoding="utf-8")
            build_data["shared_data"][str(file)] = f"share/{name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was written for the wheel."""
        if version != "editable":
            self._folder.cleanup()
