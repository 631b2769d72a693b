"""The command `qoemon paper`."""

# ruff: noqa: PLC0415 - what a command runs is not for --help
from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qoemon.tools.command import FAILED, exit_on_errors, fail, info


def paper(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder to write to; made if it is not there, files are replaced.")
    ],
) -> None:
    """Draw the figures of the paper behind qoemon and its table.

    The paper is Hossfeld et al. 2020, arXiv:2003.12742. Needs the extra plot.

    \b
    spread.svg    Figure 2: SOS, GoB and PoW over the MOS, for four theta
    web.svg       Figure 3: CDFs of MOS and ratings, waits of mean 4 s
    video.svg     like Figure 4: CDFs of MOS and ratings of video users
    theta.svg     like Figure 5: GoB and PoW of these users over theta
    same-mos.svg  not in the paper: three services of one MOS
    story.svg     not in the paper: MOS and PoW while a CDN degrades
    table.csv     after Table I: MOS, SOS, quantiles, GoB and PoW of all

    The video users are simulated, where the paper has measured ones. Its Figure 1 is not drawn.
    """  # noqa: D301 - typer keeps the lines after a backspace as they are
    from qoemon.tools.plotting import PlotError, require_matplotlib

    with exit_on_errors(usage=(PlotError,)):
        require_matplotlib("the figures of the paper")
        from qoemon.tools.paper import figures, table

        try:
            folder.mkdir(parents=True, exist_ok=True)
            files = [*figures.draw(folder), folder / "table.csv"]
            table.write(files[-1])
        except OSError as error:
            fail(FAILED, f"{error.filename or folder}: cannot be written: {error.strerror or error}")
    info(f"wrote {len(files) - 1} figures and {files[-1].name} to {folder}")
