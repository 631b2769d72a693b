"""What the pages about feedback say: their examples are taken, and their figures are those of `make feedback`."""

from __future__ import annotations

import json
import re
import shlex

import pytest
import yaml

from benchmarks.feedback import __main__ as measured
from benchmarks.feedback import asking, coverage, detector, fit, scores
from qoemon.config.config import Config, load
from qoemon.config.plan import core_plan
from qoemon.core.wire.codec import Codec
from qoemon.core.wire.message import Kind, kind_of
from qoemon.core.wire.opinion import Opinions
from qoemon.core.wire.report import ABSENT_FLOAT
from qoemon.inputs.inbox import Message
from tests.project.test_player import MOODS, ran
from tests.support.parts import ROOT

PAGE = (ROOT / "docs/feedback.md").read_text()
READING = (ROOT / "docs/feedback-reading.md").read_text()
TABLES = measured.PAGE.read_text()
TEXT = " ".join(f"{PAGE} {READING}".split())
MOOD = (ROOT / "docs/examples/mood.js").read_text()
TOPIC = "qoe/v1/video/eu/a"


def blocks(language: str) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found


def opinions(message: Message) -> Opinions:
    """What the daemon takes of a message, with the configuration of the page."""
    (settings,) = blocks("yaml")
    plan = core_plan(Config.model_validate(yaml.safe_load(settings) | {"collector": {}}))
    decoded = Codec(plan).decode([message])
    assert not decoded.rejected, decoded.sample
    assert decoded.batch.opinions is not None
    return decoded.batch.opinions


@pytest.mark.parametrize("text", blocks("json"))
def test_every_example_is_taken_with_all_of_its_fields(text):
    given, found = json.loads(text), opinions(Message(TOPIC, text.encode(), 1_795_873_800, 1, 1, 1))
    assert found.asked == [given.get("asked", False)]
    assert found.rating == [given.get("rating", ABSENT_FLOAT)]
    assert found.thumb == [{"up": 1, "down": -1}.get(given.get("thumb"), 0)]
    for name, column in found.scores.items():
        assert column == [given.get("scores", {}).get(name, ABSENT_FLOAT)]


def test_the_example_over_http_is_taken():
    (command,) = blocks("sh")
    words = shlex.split(command)
    path, body = words[2].removeprefix("http://127.0.0.1:9878"), words[words.index("-d") + 1]
    kind = kind_of(words[words.index("-H") + 1].removeprefix("Content-Type: "))
    assert kind is Kind.HTTP
    found = opinions(Message(path, body.encode(), 1_795_873_800, 1, 1, 1, kind))
    assert (found.thumb, found.asked) == ([-1], [True])


def test_the_configuration_of_the_page_is_one(tmp_path):
    (settings,) = blocks("yaml")
    file = tmp_path / "my.yaml"
    file.write_text(settings)
    assert load(file, {}).feedback.scores == ("face", "voice")


def test_the_page_shows_the_file():
    assert f"```js\n{MOOD}```" in PAGE


def test_the_score_of_the_page_is_one():
    (given,) = re.findall(r"mood\((\{.*?\})\)", PAGE)
    assert ran(MOODS, MOOD, [json.loads(re.sub(r"(\w+):", r'"\1":', given))]) == [0.6]


ASKED = """
import { readFileSync } from "node:fs";
const [player, page] = JSON.parse(readFileSync(0, "utf8"));
const { isAsked, watch } = await import("data:text/javascript," + encodeURIComponent(player));
const said = [];
const mqtt = { connect: () => ({ connected: true, publish: (topic, body) => said.push(JSON.parse(body)) }) };
const video = Object.assign(new EventTarget(), { currentTime: 0 }), question = new EventTarget();
Object.assign(globalThis, { addEventListener: () => {}, setInterval: () => {} });
question.hidden = true;
new Function("isAsked", "watch", "mqtt", "video", "question", page)(isAsked, watch, mqtt, video, question);
const shown = [question.hidden];
video.dispatchEvent(new Event("ended"));
shown.push(question.hidden);
const click = new Event("click");
Object.defineProperty(click, "target", { value: { value: "4" } });
question.dispatchEvent(click);
shown.push(question.hidden);
console.log(JSON.stringify([shown, said]));
"""


def asked_and_said(one_in: int) -> tuple[list[bool], list[dict[str, object]]]:
    """Whether the question of the page is hidden before, after the end and after a click; and the reports."""
    script = next(text for text in blocks("js") if "isAsked" in text)
    head, _, body = script.partition("\n")
    assert head == 'import { isAsked, watch } from "./player.js";'
    assert "isAsked(session, 20)" in body
    shown, said = ran(ASKED, PLAYER, body.replace("isAsked(session, 20)", f"isAsked(session, {one_in})"))
    return shown, [each for each in said if each.keys() & {"asked", "rating"}]


PLAYER = (ROOT / "docs/examples/player.js").read_text()


def test_the_page_asks_once_and_reports_the_question_and_the_answer():
    shown, said = asked_and_said(1)
    assert shown == [True, False, True]
    assert [(each.get("asked"), each.get("rating")) for each in said] == [(True, None), (None, 4)]


def test_who_is_not_asked_sees_no_question():
    shown, _ = asked_and_said(2**32)
    assert shown[:2] == [True, True]


SMALL = {
    detector: {"CALM_RUNS": 1, "ROUGH_RUNS": 1, "RUNS": 1},
    coverage: {"RUNS": 2, "FEW_RUNS": 1, "RATINGS": 400},
    asking: {"SESSIONS": 2000},
    fit: {"RUNS": 1},
    scores: {"RUNS": 2},
}
ROWS = re.compile(r"^\| (.+?) \| (-?[\d.]+(?:e-?\d+)?)( %| MOS|) \| (.*?) \|$", re.MULTILINE)


def table_rows(text: str) -> dict[str, tuple[float, str]]:
    return {name: (float(value), bar) for name, value, _, bar in ROWS.findall(text)}


MEASURED = table_rows(TABLES.partition(measured.MARKS[0])[2].partition(measured.MARKS[1])[0])


def test_the_tables_of_the_page_have_the_rows_and_bars_that_make_feedback_prints(monkeypatch):
    tables = []
    for part in measured.PARTS:
        for name, size in SMALL[part].items():
            monkeypatch.setattr(part, name, size)
        tables.append((measured.title(part), list(part.rows())))
    text = "\n".join(measured.markdown(tables)).replace(", **missed**", "")
    printed = table_rows(text)
    assert {name: bar for name, (_, bar) in printed.items()} == {name: bar for name, (_, bar) in MEASURED.items()}
    for title, _ in tables:
        assert title.removesuffix(".") in TABLES


def test_no_figure_of_the_page_misses_its_bar():
    assert MEASURED
    assert "**missed**" not in TABLES
    for name, (_, bar) in MEASURED.items():
        assert "at" in bar, f"{name} has no bar"


CLAIMS = re.findall(
    r"^\| (\d+) \| ±([\d.]+) \| ±([\d.]+) \| (\d+) days \| (?:(\d+) days)? ?\|$", READING, re.MULTILINE
)


def worst(pattern: str) -> float:
    """The largest figure of the rows with this name, of both services."""
    found = [value for name, (value, _) in MEASURED.items() if re.fullmatch(f"(video|web){pattern}", name)]
    assert len(found) == 2, pattern
    return max(found)


def test_what_may_be_claimed_is_what_was_measured():
    assert [int(each[0]) for each in CLAIMS] == [30, 100, 200]
    for ratings, week, month, shift, theta in CLAIMS:
        a_day = rf", {ratings} ratings a day: "
        assert float(week) == round(worst(rf"{a_day}the bias is known after 7 days to ±"), 2)
        assert float(month) == round(worst(rf"{a_day}the bias is known after 30 days to ±"), 2)
        assert float(shift) == worst(rf"{a_day}days until a shift of 0.3 MOS is reported, median")
        if theta:
            assert float(theta) == worst(rf"{a_day}days until theta 0.1 for .3 is reported, median")


@pytest.mark.parametrize(
    ("sentence", "pattern"),
    [
        (r"correlation 0\.5\) raise false alarms in about (\d+) %", r": a false alarm .* correlation of 0\.5"),
        (r"differ by 0\.3 MOS in about (\d+) %", r": a false alarm of the bias, days that differ by 0\.3 MOS"),
        (r"asked four times as often where it is bad, the mean rating falls by up to ([\d.]+)", None),
        (r"three times as often as the happy, the bias moves by up to -([\d.]+)", None),
    ],
)
def test_figures_in_the_text_are_those_of_the_tables(sentence, pattern):
    (given,) = re.findall(sentence, TEXT)
    if pattern is not None:
        assert float(given) == pytest.approx(worst(pattern), abs=0.5)
    else:
        kind = "the mean rating moves by" if "mean rating" in sentence else "the unhappy answer"
        found = [value for name, (value, _) in MEASURED.items() if kind in name]
        assert float(given) == pytest.approx(-min(found), abs=0.005)


def test_a_score_is_worth_what_the_page_says():
    text = TEXT.partition("times the ratings: a correlation of ")[2]
    said = re.findall(r"(0\.\d)(?: is worth)? (\d+) %", text)
    assert len(said) == 3
    for correlation, more in said:
        worth, _ = MEASURED[f"score with correlation {correlation}: worth that is reported, mean"]
        assert float(more) == pytest.approx(100 * (worth - 1), abs=1)
