"""The documentation as a site: it builds, asks nothing of others, and its figures show what the core says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats

from qoemon import cli
from qoemon.core.arrays import Floats
from qoemon.tools.paper import curves
from qoemon.tools.paper.figures import FIGURES, draw
from tests.support.parts import ROOT
from tests.support.patience import TEST_S

if TYPE_CHECKING:
    from pathlib import Path

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    if find_spec("mkdocs") is None or find_spec("material") is None:
        missing = "the site is built with the extra `docs`: pip install -e '.[docs]'"
        if os.environ.get("QOEMON_REQUIRE_PARTS") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TEST_S, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return folder


class _Fetched(HTMLParser):
    """What a browser fetches for a page, and which pages it leads to."""

    def __init__(self) -> None:
        super().__init__()
        self.resources: list[str] = []
        self.pages: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.resources += [given[name] or "" for name in ("src", "srcset") if name in given]
        if tag == "link" and given.get("rel") not in {"next", "prev", "canonical"}:
            self.resources.append(given["href"] or "")
        if tag == "a":
            self.pages.append(given.get("href") or "")


def _fetched(page: Path) -> _Fetched:
    parser = _Fetched()
    parser.feed(page.read_text())
    return parser


def test_every_page_is_on_the_site(site: Path):
    names = {path.relative_to(DOCS).with_suffix(".html").as_posix() for path in DOCS.glob("**/*.md")}
    names = {name.replace("README.html", "index.html") for name in names} | {"changelog.html"}
    built = {path.relative_to(site).as_posix() for path in site.glob("**/*.html")}
    assert built == names | {"404.html"}


def test_every_page_is_in_the_menu(site: Path):
    linked = {link.split("#")[0] for link in _fetched(site / "index.html").pages}
    built = {path.relative_to(site).as_posix() for path in site.glob("**/*.html")} - {"404.html"}
    assert built <= linked | {"index.html"}


def test_pages_fetch_nothing_from_elsewhere(site: Path):
    for page in site.glob("**/*.html"):
        fetched = _fetched(page).resources
        assert fetched
        assert not [url for url in fetched if re.match(r"(https?:)?//", url)], page.name


def test_programs_are_not_published_but_examples_are(site: Path):
    assert not list(site.glob("**/*.py"))
    assert (site / "examples/player.js").read_text() == (DOCS / "examples/player.js").read_text()


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_there_and_shown(name: str):
    svg = (DOCS / f"figures/{name}.svg").read_text()
    assert svg.rstrip().endswith("</svg>")
    assert f"](figures/{name}.svg)" in (DOCS / "concepts.md").read_text()


def test_figures_come_out_the_same_again(tmp_path: Path):
    first, second = tmp_path / "1", tmp_path / "2"
    for folder in (first, second):
        folder.mkdir()
        draw(folder)
    for name in FIGURES:
        assert (first / f"{name}.svg").read_bytes() == (second / f"{name}.svg").read_bytes()


def beta_cdf(mos: Floats, theta: float, opinion: float) -> Floats:
    """By scipy.stats, from the variance that theta says: independent of the core."""
    mean = (np.clip(mos, 1 + 1e-12, 5 - 1e-12) - 1) / 4
    total = mean * (1 - mean) / (theta * mean * (1 - mean)) - 1
    return np.asarray(stats.beta(mean * total, (1 - mean) * total).cdf((opinion - 1) / 4))


@pytest.mark.parametrize("spread", curves.spreads(), ids=lambda spread: f"theta {spread.theta:g}")
def test_the_spread_is_that_of_the_beta_distribution(spread: curves.Spread):
    assert spread.sos == pytest.approx(np.sqrt(spread.theta * (5 - spread.mos) * (spread.mos - 1)))
    assert spread.pow == pytest.approx(beta_cdf(spread.mos, spread.theta, 2.5), abs=1e-9)
    assert spread.gob == pytest.approx(1 - beta_cdf(spread.mos, spread.theta, 3.5), abs=1e-9)


def test_services_of_the_same_mos_differ_as_the_page_says():
    told = curves.same_mos()
    assert [each.mos for each in told] == pytest.approx([3.5] * 3)
    alike = [float(beta_cdf(np.array([3.5]), theta, 2.5)[0]) for theta in (0.1, 0.3)]
    apart = beta_cdf(np.array([2.0, 5.0]), 0.3, 2.5).mean()
    assert [each.pow for each in told] == pytest.approx([*alike, apart])
    text = (DOCS / "concepts.md").read_text()
    assert "PoW is {:.0%}, {:.0%} and {:.0%}".format(*(each.pow for each in told)).replace("%", " %") in text


@pytest.mark.parametrize(("place", "std_s"), [(0, 2), (1, 4), (2, 8)])
def test_the_web_figure_is_that_of_its_mixture(place: int, std_s: float):
    system = curves.web()[place]
    sigma = np.sqrt(np.log(1 + (std_s / 4) ** 2))
    waits = stats.lognorm(sigma, scale=4 / np.sqrt(1 + (std_s / 4) ** 2))
    seconds = waits.ppf(np.linspace(0, 1, 20_002)[1:-1])
    mos = 4 * np.exp(-seconds / 4) + 1
    for opinion in (1.5, 2.5, 3.5, 4.5):
        at = int(np.argmin(abs(curves.OPINIONS - opinion)))
        assert system.beta[at] == pytest.approx(beta_cdf(mos, 0.25, opinion).mean(), abs=1e-3)
        assert system.exact is not None
        binomial = stats.binom(4, (mos - 1) / 4).cdf(int(opinion) - 1).mean()
        assert system.exact[at] == pytest.approx(binomial, abs=1e-3)
        # A user's MOS is below y where the wait is longer than that of y.
        assert system.mos_cdf[at] == pytest.approx(waits.sf(-4 * np.log((opinion - 1) / 4)), abs=1e-3)


def test_the_story_is_as_the_page_tells_it():
    told = curves.story()
    before, during = told.minutes <= 5, (told.minutes >= 12) & (told.minutes <= 14)
    assert (told.hit_pow[before] < 0.02).all()
    assert told.hit_pow[during] == pytest.approx(float(beta_cdf(np.array([1.5]), 0.3, 2.5)[0]), abs=0.002)
    assert told.mean_mos.min() > 4
    assert (told.pow_bounds[:, 0] <= told.hit_pow).all()
    assert (told.hit_pow <= told.pow_bounds[:, 1]).all()
    for system in told.systems:
        assert system.answers.ratings.sum() == pytest.approx(1)
        place = int(np.argmin(abs(curves.OPINIONS - 2.5)))
        assert system.beta[place] == pytest.approx(system.answers.pow)


def test_getting_started_shows_what_check_prints(capsys: pytest.CaptureFixture[str]):
    cli.check(None)
    assert f"```text\n{capsys.readouterr().out}```" in (DOCS / "getting-started.md").read_text()


def test_the_page_tells_how_far_theta_matters():
    found = curves.by_theta()["the CDN degraded"]
    text = " ".join((DOCS / "concepts.md").read_text().split())
    assert f"PoW is {found.pow[0]:.0%} if users agree (θ {found.thetas[0]:g})".replace("%", " %") in text
    assert f"and {found.pow[-1]:.0%} if they differ most (θ {found.thetas[-1]:g})".replace("%", " %") in text
    assert f"GoB {100 * found.gob[0]:.0f} to {100 * found.gob[-1]:.0f} %" in text
