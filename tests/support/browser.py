"""A real browser for the tests of pages: an installed Chromium, headless, driven by playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
NAMES = ("chromium", "chromium-browser", "google-chrome")
WAIT_MS = 20_000  # a busy machine is slow; a page that is ready does not wait


def chromium() -> str:
    """The installed Chromium; without one the test is skipped, or fails where LLASO_REQUIRE_BROWSER is 1."""
    found = os.environ.get("LLASO_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        reason = f"no browser: none of {', '.join(NAMES)} is installed, and LLASO_CHROMIUM names none"
        if os.environ.get("LLASO_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@dataclass
class Opened:
    """A page, and everything that it said or asked for."""

    page: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def until(self, expression: str, what: str) -> Any:
        """Waits for an expression to be true and returns it; the page's policy forbids playwright's own waiting."""
        for _ in range(WAIT_MS // 25):
            value = self.page.evaluate(expression)
            if value:
                return value
            self.page.wait_for_timeout(25)
        raise AssertionError(f"{what}: {expression} did not become true; errors: {self.errors}")


@dataclass
class Browser:
    """Opens pages, each with nothing remembered."""

    driven: Any

    def open(self, page_at: Path | str, width: int = 1280, scheme: str = "light") -> Opened:
        context = self.driven.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        context.set_default_timeout(WAIT_MS)
        opened = Opened(context.new_page())
        page = opened.page
        page.on("console", lambda said: opened.errors.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: opened.errors.append(str(error)))
        page.on("request", lambda request: opened.requests.append(request.url))
        page.on("dialog", lambda dialog: (opened.dialogs.append(dialog.message), dialog.dismiss()))
        page.goto(page_at if isinstance(page_at, str) else page_at.as_uri())
        return opened


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for a module: playwright's loop must not outlive it, other tests start loops of their own."""
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        driven = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield Browser(driven)
        driven.close()
