"""Section `feedback`: ratings that users give, beside what was predicted for their sessions."""

import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, Field

from qoemon.config.sections import names as naming
from qoemon.config.sections.types import Seconds, Share
from qoemon.config.yaml.section import Section, Violation, expecting, key
from qoemon.core.plan import plan

MOST_SCORES = 16
"""Sums are kept for each pair of scores."""
LONGEST_S = 3600
"""Each session that has ended is remembered for that long, 20 bytes each."""


def _score(value: str) -> str:
    if not re.fullmatch(naming.SERVICE_PATTERN, value):
        raise expecting("a name of lower-case letters, digits, - and _")
    return value


ScoreName = Annotated[str, AfterValidator(_score)]


class Feedback(Section):
    """Ratings of users, which reports may have."""

    within_s: Seconds = key("Time after the end of a session in which its user may rate it; at most 1h.", "5m")
    scores: Annotated[tuple[ScoreName, ...], Field(max_length=MOST_SCORES)] = key(
        "Names of the scores that are taken from reports; others are dropped.", []
    )

    tolerance: Share = key(
        "How far mean ratings may be from the prediction before the model is off, on a scale of 1 to 5; on other"
        " scales it is as large a part of the scale.",
        0.1,
    )

    def rules(self) -> Iterator[Violation]:
        """`within` is at most 1h; each score is named once."""
        if self.within_s > LONGEST_S:
            yield Violation(("within",), "at most 1h: each session that has ended is remembered for that long")
        for place, name in enumerate(self.scores):
            if name in self.scores[:place]:
                yield Violation(("scores", place), "each name once")

    @property
    def core(self) -> plan.Feedback:
        """The section as the core takes it."""
        return plan.Feedback(within_s=self.within_s, scores=self.scores, tolerance=self.tolerance)
