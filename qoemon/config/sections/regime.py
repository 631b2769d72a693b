"""Section `regimes`: the shares of poor ratings at which a group is degraded or bad."""

from collections.abc import Iterator
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, Strict

from qoemon.config.sections.types import Count, Share
from qoemon.config.yaml.section import Section, Violation, key
from qoemon.core.alerting.regime import RegimeRules, Threshold
from qoemon.core.plan.plan import Service


class Level(Section):
    """Thresholds of a regime."""

    renamed: ClassVar[dict[str, str]] = {"enter": "threshold", "leave": "recovery"}

    threshold: Share = key("The regime begins when the level of PoW is at or above this.")
    recovery: Share = key("The regime ends when the level of PoW is below this.")

    def rules(self) -> Iterator[Violation]:
        """`recovery` is less than `threshold`: without a gap the regime would flap."""
        if not self.recovery < self.threshold:
            yield Violation(
                ("recovery",),
                f"less than threshold ({self.threshold:g}): without a gap it would flap",
                (("threshold",),),
            )


class Regimes(Section):
    """Regimes of the groups: good, degraded or bad."""

    degraded: Level = key("Thresholds of the regime degraded.", {"threshold": 0.15, "recovery": 0.10})
    bad: Level = key("Thresholds of the regime bad.", {"threshold": 0.30, "recovery": 0.20})
    dwell: Annotated[int, Strict(), Field(ge=1, le=10_000)] = key(
        "Rating intervals that a regime lasts at least, unless an established change worsens it.", 5
    )
    min_sessions: Count = key("Rating intervals with fewer distinct sessions are ignored.", 30)

    def rules(self) -> Iterator[Violation]:
        """The thresholds of `bad` are above those of `degraded`."""
        for name in ("threshold", "recovery"):
            lower = getattr(self.degraded, name)
            if not lower < getattr(self.bad, name):
                yield Violation(("bad", name), f"more than {name} of degraded ({lower:g})", (("degraded", name),))

    def reach_rules(self, service: Service) -> Iterator[Violation]:
        """The service can reach the thresholds; otherwise the regime would never begin."""
        worst = float(service.kernel((), service.mapping.reach).distribution(np.eye(2, dtype=np.int64)).pow.max())
        for name in ("degraded", "bad"):
            if getattr(self, name).threshold > worst:
                mapping = f"{service.mapping.name} at theta {service.theta:g}"
                expected = f"at most {worst:.4f}, the worst that {service.name} can reach with {mapping}"
                yield Violation((name, "threshold"), expected)

    @property
    def core(self) -> RegimeRules:
        """The rules as the core takes them."""
        return RegimeRules(
            degraded=Threshold(self.degraded.threshold, self.degraded.recovery),
            bad=Threshold(self.bad.threshold, self.bad.recovery),
            dwell=self.dwell,
            min_sessions=self.min_sessions,
        )
