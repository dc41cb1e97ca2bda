"""The report: its figures are the scores', it is one inert file, and what it shows can be read in a browser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from llaso_data.errors import LLaSOError
from llaso_model.evaluate import score
from llaso_model.evaluate.report import scores_page as report
from llaso_model.evaluate.report import worst_examples
from tests.support.browser import Browser, browser  # noqa: F401 (a fixture)
from tests.support.evaluation import ROWS, SHARED, prediction

HOSTILE = "</script><script>hacked()</script> \u2028 <img src=x onerror=hacked()> {{7*7}} \"quoted\" 'twice' &amp;"


def lines(system: str, right: int, hostile: bool = False) -> list[dict[str, Any]]:
    """Predictions of our own layout: gender of 40 speakers, transcripts, open answers, one refusal that is right."""
    rows: list[dict[str, Any]] = []
    for i in range(40):
        wanted = ("Male", "Female")[i % 2]
        answer = wanted if i < right else ("I cannot hear the audio.", "male or female", "", "Hello!")[i % 4]
        rows.append(
            {
                "system": system, "set": "vctk_gender_classification", "id": f"g{i}",
                "prompt": HOSTILE if hostile else "Which?", "reference": wanted,
                "answer": HOSTILE if hostile and i == 39 else answer, "speaker": f"s{i // 4}", "language": "en",
                "confidence": 1 - i / 40, "groups": {"gender": wanted.lower(), "age": str(20 + i)},
                "tags": [f"snr:{10 * (i % 3)}"],
            }
        )  # fmt: skip
    for i in range(6):
        said = "the cat sat on the mat" if i < right // 8 else f"a {HOSTILE if hostile else 'dog'} sat"
        rows.append(
            {"system": system, "set": "ASR", "id": f"a{i}", "reference": "The cat sat on the mat.", "answer": said}
        )
        rows.append(
            {
                "system": system,
                "set": "dolly_input_1",
                "id": f"o{i}",
                "reference": "Paris, in France.",
                "answer": "Paris",
            }
        )
    rows.append(
        {"system": system, "set": "dolly_input_1", "id": "r", "expected": "refusal", "answer": "I cannot do that."}
    )
    return rows


def scored(folder: Path, **systems: list[dict[str, Any]]) -> Path:
    files = []
    for name, rows in systems.items():
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        files.append(str(path))
    out = folder / "scores"
    score.score(files, str(out), workers=1)
    return out


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    out = scored(folder, good=lines("good", 36), bad=lines("<b>bad</b>", 9, hostile=True))
    return Path(report.report([str(out)], title=f"Two {HOSTILE}")[0])


def test_the_page_is_one_file_that_asks_for_nothing_and_runs_nothing_of_the_data(page: Path, browser: Browser) -> None:  # noqa: F811
    for scheme in ("light", "dark"):
        opened = browser.open(page, width=800, scheme=scheme)
        assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert opened.page.evaluate("document.querySelectorAll('#samples dl').length") > 0
        for name in ("vctk_gender_classification", "ASR", "dolly_input_1"):
            opened.page.select_option("#set", name)
            for tab in opened.page.query_selector_all("[role=tab]"):
                tab.click()
        assert opened.page.evaluate("typeof hacked") == "undefined"
        assert opened.page.evaluate("document.querySelectorAll('main img, main b b, #samples script').length") == 0
        assert opened.errors == [] and opened.dialogs == []
        assert [url for url in opened.requests if not url.startswith(("file:", "data:", "blob:"))] == []


def test_the_texts_of_the_data_are_shown_as_they_are(page: Path, browser: Browser) -> None:  # noqa: F811
    opened = browser.open(page)
    opened.page.select_option("#set", "vctk_gender_classification")
    opened.page.click("[role=tab]:has-text('bad')")
    shown = opened.page.inner_text("#samples")
    assert "<img src=x onerror=hacked()>" in shown and "{{7*7}}" in shown
    assert "<b>bad</b>" in opened.page.inner_text("#tasks")
    assert opened.page.evaluate("document.querySelectorAll('#samples dl').length") == report.EXAMPLES_PER_SET


def test_word_differences_and_noise_curves_are_drawn(page: Path, browser: Browser) -> None:  # noqa: F811
    opened = browser.open(page)
    opened.page.select_option("#set", "ASR")
    opened.page.click("[role=tab]:has-text('bad')")
    assert opened.page.evaluate(
        "[...document.querySelectorAll('#samples del')].some(e => e.textContent.startsWith('the cat'))"
    )
    assert opened.page.evaluate("document.querySelectorAll('#curves polyline').length") == 2
    assert opened.page.evaluate("document.querySelectorAll('#risk circle').length") == 2
    opened.page.select_option("#set", "vctk_gender_classification")
    assert opened.page.evaluate("document.querySelectorAll('#set-slices polyline').length") == 2


def test_the_json_says_what_the_page_says(page: Path) -> None:
    said = json.loads(page.with_name("report.json").read_text(encoding="utf-8"))
    text = page.read_text(encoding="utf-8")
    payload = json.loads(re.search(r'id="payload">(.*?)</script>', text)[1])  # type: ignore[index]
    for one, other in zip(said["sets"], payload["sets"], strict=True):
        assert one["metrics"] == other["metrics"]
    gender = next(one for one in said["sets"] if one["kind"] == "label")
    assert gender["metrics"]["good"]["accuracy"]["value"] == 0.9
    assert gender["metrics"]["good"]["accuracy"]["clusters"] == 10
    assert gender["said"]["good"] == {"one": 36, "several": 1, "none": 1, "refusal": 1, "empty": 1}
    assert gender["risk_coverage"]["good"][-1] == [0.9, 0.0]
    assert {one["group"] for one in gender["slices"]} == {"gender"}  # no age has twenty rows
    opened = next(one for one in said["sets"] if one["kind"] == "open")
    assert opened["metrics"]["good"]["right_refusal"]["value"] == 1.0


def test_several_folders_are_compared_and_a_system_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    first, second = scored(tmp_path / "a", one=lines("one", 30)), scored(tmp_path / "b", two=lines("two", 20))
    html, path = report.report([str(first), str(second)], str(tmp_path / "both"))
    said = json.loads(Path(path).read_text(encoding="utf-8"))
    assert said["systems"] == ["one", "two"] and Path(html).exists()
    pair = next(one for one in said["pairs"] if one["on"] == "set" and one["name"] == "vctk_gender_classification")
    assert pair["difference"] == 0.25 and pair["p_holm"] > 0.05  # they differ for three of ten speakers only
    with pytest.raises(LLaSOError, match="in two of the folders"):
        report.report([str(first), str(first)], str(tmp_path / "twice"))
    with pytest.raises(LLaSOError, match=r"no scores\.json"):
        report.report([str(ROWS)])


def test_differences_of_words() -> None:
    assert list(worst_examples.word_differences("the cat sat", "the dog sat down")) == [
        ("=", "the"), ("-", "cat"), ("+", "dog"), ("=", "sat"), ("+", "down"),
    ]  # fmt: skip


def test_sound_comes_from_the_named_folder_only(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out.wav").write_bytes(b"RIFF")
    assert worst_examples._opus(str(tmp_path / "in"), prediction("ASR", "", audio=("../out.wav",))) is None
    assert worst_examples._opus(str(tmp_path / "in"), prediction("ASR", "", audio=("missing.wav",))) is None


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason=f"{SHARED} is not there")
def test_six_systems_open_in_under_two_seconds(tmp_path: Path, browser: Browser) -> None:  # noqa: F811
    score.score([str(SHARED)], str(tmp_path))
    opened = browser.open(Path(report.report([str(tmp_path)])[0]))
    took_ms = opened.page.evaluate("performance.timing.loadEventEnd - performance.timing.navigationStart")
    assert took_ms < 2000
    assert opened.page.evaluate("document.querySelectorAll('.grid tbody tr').length") == 24
    assert opened.errors == []
