"""The audit's page in a real browser: judged by keyboard alone, saved at once, inert whatever a corpus says."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from llaso_data.records import Utterance
from llaso_data.report import answers
from llaso_data.report.audit import AuditSample
from llaso_data.report.audit_server import AuditServer
from tests.conftest import Clip
from tests.llaso_data.report.test_card import HOSTILE
from tests.support.audit_fixtures import recorded, served, to_audit
from tests.support.browser import Browser, Opened, browser  # noqa: F401 (a fixture)

WATCH = """() => { window.lit = [];
  new MutationObserver(changes => {
    for (const { target: word } of changes)
      if (word.matches("#text .word.lit")) lit.push({ start: Number(word.dataset.s), end: Number(word.dataset.e),
        at: parseFloat(document.querySelector(".played").style.getPropertyValue("--at")) / 100 * document.querySelector("#item").dataset.seconds });
  }).observe(document.body, { subtree: true, attributeFilter: ["class"] }) }"""  # noqa: E501
"""Notes every word of the text that lights up, with where the sound is at that moment."""


@pytest.fixture(scope="module")
def spoken(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    return recorded([clip for clip in clips if clip.language in ("en", "es", "zh")], tmp_path_factory.mktemp("sound"))


@pytest.fixture
def audited(spoken: list[Utterance], tmp_path: Path) -> Iterator[tuple[AuditSample, AuditServer]]:
    """Nine recordings, all of them to be heard."""
    found = to_audit(tmp_path / "out", spoken, 208)
    with served(found) as server:
        yield found, server


def begin(opened: Opened, name: str) -> None:
    opened.page.keyboard.type(name)  # the field has the focus
    opened.page.keyboard.press("Enter")
    heard(opened)


def heard(opened: Opened) -> None:
    """Waits for the item to be there."""
    opened.until(
        "document.documentElement.classList.contains('at-work') && !document.querySelector('#item.waiting')", "an item"
    )


def press(opened: Opened, keys: Sequence[str]) -> None:
    for key in keys:
        heard(opened)
        opened.page.keyboard.press(key)


def ended(opened: Opened) -> str:
    opened.until("document.documentElement.classList.contains('at-end')", "the end")
    return str(opened.page.locator("#end").inner_text())


def given(found: AuditSample, name: str) -> list[str | None]:
    """The answers on the disk in the order of the items."""
    said = answers.read_all(found.align, found.verdicts)[name]
    return [said[i.utterance.id].answer if i.utterance.id in said else None for i in found.items]


def test_a_whole_audit_by_keyboard_with_a_reload_in_the_middle(
    audited: tuple[AuditSample, AuditServer],
    browser: Browser,  # noqa: F811
) -> None:
    found, server = audited
    opened = browser.open(server.url)
    begin(opened, "Ada Lovelace")
    press(opened, ["g", "t", "b", "u"])
    press(opened, ["z", "g"])  # the fourth was good after all
    heard(opened)
    opened.until("document.querySelector('#saved').textContent === '4 of 9 saved'", "all is saved")
    assert given(found, "Ada Lovelace") == ["good", "bad_text", "bad_boundary", "good", *[None] * 5]
    opened.page.reload()
    heard(opened)
    assert opened.page.locator("#place").inner_text() == "5"
    assert opened.page.locator("#who").inner_text() == "Ada Lovelace"
    press(opened, ["Backspace", "4", "ArrowUp"])  # undo reaches over the reload; looking back changes nothing
    heard(opened)
    assert opened.page.locator('[data-answer="unsure"]').get_attribute("aria-pressed") == "true"
    assert opened.page.locator("#place").inner_text() == "4"
    press(opened, ["1", "1", "1", "1", "1", "1"])
    said = ended(opened)
    assert given(found, "Ada Lovelace") == ["good", "bad_text", "bad_boundary", *["good"] * 6]
    assert "Not certified" in said and "2 defects in 9, which is everything: error rate 22.22\u00a0%" in said
    certificate = json.loads(Path(found.align, "certificate.json").read_text())
    assert (certificate["defects"], certificate["passed"]) == (2, False)
    opened.page.locator(".review button").first.click()
    press(opened, ["g"])
    ended(opened)
    opened.page.keyboard.press("ArrowUp")
    heard(opened)
    opened.page.keyboard.press("ArrowDown")
    opened.page.keyboard.press("e")
    ended(opened)
    assert json.loads(Path(found.align, "certificate.json").read_text())["defects"] == 1
    assert (opened.errors, opened.dialogs) == ([], [])
    assert all(asked.startswith((server.url, "blob:", "data:")) for asked in opened.requests), opened.requests


def test_two_auditors_judge_without_seeing_each_other_and_agree_as_far_as_they_do(
    audited: tuple[AuditSample, AuditServer],
    browser: Browser,  # noqa: F811
) -> None:
    found, server = audited
    first, second = browser.open(server.url), browser.open(server.url, width=800, scheme="dark")
    begin(first, "Ada")
    begin(second, "Bo")
    press(first, ["g", "g", "t"])
    press(second, ["g", "u", "t"])
    heard(second)
    assert second.page.locator(".answers .said").count() == 0
    press(second, ["ArrowUp", "ArrowUp"])
    heard(second)
    assert second.page.locator(".answers .said").get_attribute("data-answer") == "unsure"
    press(second, ["ArrowDown", "ArrowDown"])
    press(first, ["g"] * 6)
    assert "2 defects in 9" in ended(first)  # Bo's doubt counts though Bo is not done
    press(second, ["g"] * 6)
    said = ended(second)
    assert "Ada" in said and "Bo" in said and "0.61" in said  # 8 of 9 alike; κ = (8/9 - 58/81) / (1 - 58/81)
    (pair,) = json.loads(Path(found.align, "certificate.json").read_text())["agreement"]
    assert (pair["items"], pair["agreed"]) == (9, 8) and pair["kappa"] == pytest.approx((72 - 58) / (81 - 58), abs=1e-5)
    assert first.errors == second.errors == []


def test_words_light_up_in_time_one_word_is_played_alone_and_slower(
    audited: tuple[AuditSample, AuditServer],
    browser: Browser,  # noqa: F811
) -> None:
    opened = browser.open(audited[1].url)
    opened.page.evaluate(WATCH)
    begin(opened, "Ada")  # it plays by itself
    opened.until("lit.length >= 3", "words light up")
    seen = opened.page.evaluate("lit")
    assert all(one["start"] <= one["at"] < one["end"] for one in seen)
    assert [one["at"] for one in seen] == sorted(one["at"] for one in seen)
    press(opened, [" ", "s"])
    assert opened.page.locator("#speed").inner_text() == "¾×"
    for key in ("r", "ArrowRight"):
        opened.page.keyboard.press(key)
    opened.until(
        "!document.querySelector('.playing') && document.querySelectorAll('#text .word.at').length === 1", "stops"
    )
    word = opened.page.locator("#text .word.at")
    assert "lit" in (word.get_attribute("class") or "")
    clock = float(opened.page.locator(".time b").inner_text())
    assert float(word.get_attribute("data-s")) <= clock <= float(word.get_attribute("data-e")) + 0.05
    opened.page.keyboard.press("ArrowRight")
    opened.until("!document.querySelector('.playing')", "stops again")
    following = opened.page.locator("#text .word.at")
    assert float(following.get_attribute("data-s")) >= float(word.get_attribute("data-s"))
    assert opened.page.locator(".lane .word.at").count() == 1
    opened.page.locator("#text .word").first.click()
    opened.until(
        "document.querySelector('#text .word').classList.contains('at')", "the word that was clicked is chosen"
    )
    assert opened.errors == []


def test_what_a_corpus_says_is_inert_and_the_page_fits(
    spoken: list[Utterance],
    tmp_path: Path,
    browser: Browser,  # noqa: F811
) -> None:
    hostile = [
        dataclasses.replace(
            u,
            text=HOSTILE,
            language=HOSTILE[:30],
            words=u.words[:1],
            source=dataclasses.replace(u.source, corpus=HOSTILE, uri=u.source.uri if n else HOSTILE),
        )
        for n, u in enumerate(spoken[:3])
    ]
    found = to_audit(tmp_path / "out", hostile, 208)
    with served(found, title=HOSTILE) as server:
        opened = browser.open(server.url, width=800)
        begin(opened, HOSTILE[:50])
        press(opened, ["g", "u", "g"])
        said = ended(opened)
        assert HOSTILE.split()[0] in said
        inside = "document.querySelectorAll('main script, main img, nav img').length"
        assert opened.page.evaluate(inside) == 0 and opened.page.evaluate("typeof hacked") == "undefined"
        assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert (opened.errors, opened.dialogs) == ([], [])


def test_what_cannot_be_heard_is_said_and_can_be_judged(
    spoken: list[Utterance],
    tmp_path: Path,
    browser: Browser,  # noqa: F811
) -> None:
    gone = [dataclasses.replace(spoken[0], source=dataclasses.replace(spoken[0].source, uri="/nowhere/a.wav"))]
    with served(to_audit(tmp_path / "out", gone, 208)) as server:
        opened = browser.open(server.url)
        begin(opened, "Ada")
        assert "/nowhere/a.wav: no such file" in opened.page.locator("#unheard").inner_text()
        press(opened, ["u"])
        assert "Not certified" in ended(opened)


def test_an_answer_that_could_not_be_saved_is_said_and_sent_again(
    audited: tuple[AuditSample, AuditServer],
    browser: Browser,  # noqa: F811
) -> None:
    found, server = audited
    opened = browser.open(server.url)
    begin(opened, "Ada")
    down = [True]

    def fail(route: Any) -> None:
        route.abort() if down[0] else route.continue_()

    opened.page.route("**/answer", fail)
    press(opened, ["g", "t"])
    opened.until("document.querySelector('#banner').textContent.startsWith('Not saved: 2 answers')", "the banner")
    assert opened.page.locator("#banner").is_visible() and not answers.read_all(found.align, found.verdicts)
    down[0] = False
    opened.until("document.querySelector('#banner').hidden", "the banner goes")
    opened.until("document.querySelector('#saved').textContent === '2 of 9 saved'", "both are saved")
    assert given(found, "Ada")[:3] == ["good", "bad_text", None]


@pytest.mark.slow
def test_a_name_that_is_at_work_elsewhere_is_refused(
    audited: tuple[AuditSample, AuditServer],
    browser: Browser,  # noqa: F811
) -> None:
    found, server = audited
    with answers.open_answers(found.align, found.verdicts, "Ada"):
        opened = browser.open(server.url)
        opened.page.keyboard.type("Ada")
        opened.page.keyboard.press("Enter")
        opened.until("!document.querySelector('#refused').hidden", "a refusal")
        assert "audit by Ada" in opened.page.locator("#refused").inner_text()
    opened.page.keyboard.press("Enter")
    heard(opened)


@pytest.mark.slow
def test_an_auditor_of_one_language_hears_that_one_only(
    spoken: list[Utterance],
    tmp_path: Path,
    browser: Browser,  # noqa: F811
) -> None:
    found = to_audit(tmp_path / "out", spoken, 208)
    with served(found, languages=("es",), auditor="Ada") as server:
        opened = browser.open(server.url)
        assert "You hear the 3 in Spanish" in opened.page.locator(".lead").inner_text()
        opened.page.keyboard.press("Enter")
        press(opened, ["g"] * 3)
        said = ended(opened)
        assert "Yours are all judged" in said and "6 utterances in Chinese and English" in said
        assert not Path(found.align, "certificate.json").exists() and opened.errors == []
