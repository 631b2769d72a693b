"""Fixtures of the tests that look at the live page in a real Chromium."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support.live_page import WatchedPage, crowded
from tests.support.parts import Daemon, program
from tests.support.patience import WAIT_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserContext


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One Chromium for all tests of the module."""
    path = program("chromium", "Debian package chromium")
    api = pytest.importorskip("playwright.sync_api")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    arguments += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    home = {"HOME": str(tmp_path_factory.mktemp("chromium"))}
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=arguments, env={**os.environ, **home})
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """The daemon of all tests that do not change the crowd."""
    with crowded(tmp_path_factory.mktemp("page")) as (part, _):
        yield part


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A new browser profile with a small window."""
    made = browser.new_context(viewport={"width": 1280, "height": 800})
    made.set_default_timeout(1000 * WAIT_S)
    yield made
    made.close()


@pytest.fixture
def watched(context: BrowserContext) -> Iterator[WatchedPage]:
    """A page whose console must be empty at the end of the test."""
    made = WatchedPage(context.new_page())
    yield made
    assert made.console == []
