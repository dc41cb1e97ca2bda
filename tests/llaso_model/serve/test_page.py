"""The page of a server in a real browser, whose microphone is a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from llaso_model.voice.speaking import Speaker
from tests.support.browser import ARGUMENTS, Browser, Opened, chromium
from tests.support.served import KEY, NAME, Running, running, small_served, wav

pytestmark = pytest.mark.slow
HOSTILE = 'small <img src=x onerror="alert(1)">'


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    pytest.importorskip("hibari")
    with running(small_served(names=(HOSTILE, NAME), speaker=Speaker())) as one:
        yield one


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser whose microphone hears a tone."""
    path = chromium()
    from playwright.sync_api import sync_playwright

    sound = tmp_path_factory.mktemp("microphone") / "tone.wav"
    sound.write_bytes(wav(3.0, 48_000).getvalue())
    microphone = (
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={sound}",
        "--autoplay-policy=no-user-gesture-required",
    )
    with sync_playwright() as playwright:
        driven = playwright.chromium.launch(executable_path=path, args=[*ARGUMENTS, *microphone])
        yield Browser(driven)
        driven.close()


@pytest.fixture
def page(server: Running, talking: Browser) -> Iterator[Opened]:
    opened = talking.open(f"{server.url}/#{KEY}")
    yield opened
    assert not opened.errors and not opened.dialogs
    here = urlsplit(server.url).netloc
    assert all(urlsplit(one).netloc == here or one.startswith(("blob:", "data:")) for one in opened.requests)


def picture(page: Any, name: str) -> None:
    """Kept where LLASO_PICTURES names a folder, for people to look at."""
    if folder := os.environ.get("LLASO_PICTURES"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def test_what_is_recorded_is_transcribed_live_and_afterwards(page: Opened) -> None:
    assert page.page.title() == f"{HOSTILE} – LLaSO" and page.page.inner_text("h1") == HOSTILE
    assert page.page.evaluate("location.hash") == "" and page.page.input_value("#key") == KEY
    page.page.click("#record")
    page.until("document.querySelector('#record').ariaPressed === 'true'", "recording")
    page.page.wait_for_timeout(2500)
    picture(page.page, "recording")
    page.page.click("#record")
    page.until("document.querySelectorAll('#transcript span').length > 0", "a transcript")
    assert page.page.evaluate("document.querySelector('#sound').duration") > 1.5
    page.page.click("#transcript span")
    page.until("!document.querySelector('#sound').paused", "the sound plays from the word")


def test_a_file_is_dropped_asked_about_and_answered_aloud(page: Opened, tmp_path: Path) -> None:
    (tmp_path / "a<b>.wav").write_bytes(wav(1.0).getvalue())
    page.page.set_input_files("#file", str(tmp_path / "a<b>.wav"))
    page.until("document.querySelectorAll('#transcript span').length > 0", "a transcript")
    page.page.fill("#question", "What?")
    page.page.check("#aloud")
    page.page.click("#ask button[type=submit]")
    page.until("!document.querySelector('#spoken').hidden && document.querySelector('#spoken').duration > 1", "a voice")
    assert page.page.inner_text("#answer").strip() not in ("", "No answer yet.")
    picture(page.page, "answered")


def test_a_wrong_key_is_told(server: Running, talking: Browser, tmp_path: Path) -> None:
    opened = talking.open(f"{server.url}/#wrong")
    (tmp_path / "a.wav").write_bytes(wav(0.5).getvalue())
    opened.page.set_input_files("#file", str(tmp_path / "a.wav"))
    opened.until("document.querySelector('#problem').textContent.includes('no valid key')", "the refusal")
