"""The sentence about where to look first."""

from __future__ import annotations

import pytest

from qoemon.core.snapshot.where_first import WhereFirst
from qoemon.outputs.where_first import sentence


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (
            WhereFirst({"cdn": "cdn-07"}, 0.961, 0.043),
            "Look first at cdn=cdn-07: 96 % of the excess poor ratings, 4 % of the users.",
        ),
        (
            WhereFirst({"region": "eu", "cdn": ""}, 0.5, 0.0021),
            "Look first at region=eu, cdn=(none): 50 % of the excess poor ratings, 0.2 % of the users.",
        ),
        (WhereFirst({}, 1, 1), "Everywhere: no combination of labels stands out in the excess poor ratings."),
    ],
)
def test_labels_and_shares_are_named(found: WhereFirst, text: str) -> None:
    assert sentence(found) == text
