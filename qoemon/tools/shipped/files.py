"""Where the files are that come with qoemon, under the paths that they have in the repository.

The wheel has copies in qoemon/shipped/ (pyproject.toml lists them). A checkout has no such folder: there, and in an
editable installation, its own files are used.
"""

from __future__ import annotations

from pathlib import Path

import qoemon

PACKAGE = Path(qoemon.__file__).parent


class ShippedError(Exception):
    """A file that comes with qoemon is missing."""


def shipped(path: str) -> Path:
    """Path of a file or folder that comes with qoemon; ShippedError if this installation lacks it.

    path  as in the repository, such as config/qoemon.yaml
    """
    for folder in (PACKAGE / "shipped", PACKAGE.parent):
        if (folder / path).exists():
            return folder / path
    raise ShippedError(f"{path} is missing in {PACKAGE}: the installation is incomplete; install the wheel again")
