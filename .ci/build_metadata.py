"""The long description, README.md, as a package index can show it; and the addresses of the project.

QOEMON_REPOSITORY is the URL of the public repository, such as https://example.org/qoemon/qoemon; `make release`
sets it. Without it there are no addresses, and links of the description lead nowhere outside the repository.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

# Markdown's links and pictures, and those of HTML; not to other sites, nor within the page.
LINK = re.compile(r"""(?P<before>\]\(|\b(?:src|srcset|href)=")(?!https?:|mailto:|#)(?P<path>[^)"\s]+)""")


class Metadata(MetadataHookInterface):
    """Run by hatchling, see pyproject.toml."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set `readme` and `urls`."""
        repository = os.environ.get("QOEMON_REPOSITORY", "").rstrip("/")
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        version = re.search(r'__version__ = "(.+)"', (Path(self.root) / "qoemon/__init__.py").read_text())
        if repository and version is not None:
            text = absolute(text, repository, f"v{version[1]}")
            metadata["urls"] = addresses(repository, f"v{version[1]}")
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def absolute(text: str, repository: str, tag: str) -> str:
    """The text with links and pictures of that tag."""

    def to(found: re.Match[str]) -> str:
        kind = "raw" if found["path"].endswith((".png", ".svg")) else "blob"
        return f"{found['before']}{repository}/{kind}/{tag}/{found['path']}"

    return LINK.sub(to, text)


def addresses(repository: str, tag: str) -> dict[str, str]:
    """The addresses that a package index shows, by their labels."""
    return {
        "Source": repository,
        "Documentation": f"{repository}/blob/{tag}/docs/index.md",
        "Changelog": f"{repository}/blob/{tag}/CHANGELOG.md",
        "Issues": f"{repository}/issues",
        "Security": f"{repository}/blob/{tag}/SECURITY.md",
    }
