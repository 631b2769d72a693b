"""Topic templates: their subscriptions, and the labels read from a topic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoemon.core.plan.topic import TopicTemplate
from tests.support.streams import FEW


def test_named_levels_become_wildcards_and_labels() -> None:
    template = TopicTemplate("qoe/v1/{service}/{region}/{cdn}")
    assert template.filter == "qoe/v1/+/+/+"
    assert template.names == ("region", "cdn")
    assert template.match("qoe/v1/video/eu/a") == {"service": "video", "region": "eu", "cdn": "a"}


def test_a_fixed_service_stands_for_the_missing_level() -> None:
    template = TopicTemplate("tv/{region}", service="video")
    assert template.match("tv/eu") == {"service": "video", "region": "eu"}
    assert template.filter == "tv/+"


def test_a_leading_slash_is_an_empty_first_level() -> None:
    template = TopicTemplate("/qoe/v1/{service}/{region}/{shard}")
    assert template.filter == "/qoe/v1/+/+/+"
    assert template.filter_of("3") == "/qoe/v1/+/+/3"
    assert template.match("/qoe/v1/video/eu/3") == {"service": "video", "region": "eu", "shard": "3"}
    assert template.match("qoe/v1/video/eu/3") is None
    assert template.match("//qoe/v1/video/eu/3") is None


def test_a_level_plus_has_any_value_and_is_no_label() -> None:
    template = TopicTemplate("qoe/v1/{service}/+/{cdn}")
    assert template.filter == "qoe/v1/+/+/+"
    assert template.names == ("cdn",)
    for region in ("eu", "us", ""):
        assert template.match(f"qoe/v1/video/{region}/a") == {"service": "video", "cdn": "a"}
    assert template.match("qoe/v1/video/a") is None
    assert template.match("qoe/v1/video/eu/x/a") is None


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "qoe",
        "qoe/v1/video",
        "qoe/v1/video/eu/a",
        "qoe/v2/video/eu",
        "/qoe/v1/video/eu",
        "qoe/v1/video/eu/",
        "QOE/v1/video/eu",
    ],
)
def test_other_topics_do_not_match(topic: str) -> None:
    assert TopicTemplate("qoe/v1/{service}/{region}").match(topic) is None


levels = st.text(st.characters(blacklist_characters="/+#{}\0", blacklist_categories=("Cs",)), max_size=8)


@FEW
@given(
    st.lists(
        st.one_of(levels.map(lambda text: (text, None)), st.tuples(st.just(""), levels)), min_size=1, max_size=6
    )
)
def test_a_topic_made_from_a_template_gives_its_values_back(made: list[tuple[str, str | None]]) -> None:
    template = TopicTemplate(
        "/".join(f"{{l{i}}}" if value is not None else text for i, (text, value) in enumerate(made))
    )
    topic = "/".join(text if value is None else value for text, value in made)
    assert template.match(topic) == {f"l{i}": value for i, (_, value) in enumerate(made) if value is not None}
    assert all(
        mine in {"+", theirs} for mine, theirs in zip(template.filter.split("/"), topic.split("/"), strict=True)
    )
