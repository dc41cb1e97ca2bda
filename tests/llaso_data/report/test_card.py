"""The dataset card: its numbers are the judge's, its page is one inert file, and what it shows can be heard."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from llaso_data.cli import main
from llaso_data.errors import LLaSOError
from llaso_data.filters.group_thresholds import GroupThresholds
from llaso_data.filters.rates import Rate
from llaso_data.filters.tiers import rules
from llaso_data.io import storage
from llaso_data.pipeline import commit
from llaso_data.pipeline.build_align import build_align
from llaso_data.pipeline.calibrated import fitted_of
from llaso_data.pipeline.judge import judge
from llaso_data.pipeline.load_recipe import dump, judging_digest
from llaso_data.recipe import Consistency, Judge, Recipe
from llaso_data.records import FORMAT_VERSION, Attribute, Source, Speaker, Utterance, Word, digest, failed
from llaso_data.report import card, clip_groups, figures, reasons
from llaso_data.report.card import write_card
from llaso_data.report.card_data import CardData, collect
from llaso_data.report.clips import ExampleSampler, text_pieces
from tests.conftest import Clip
from tests.llaso_data.pipeline.test_judge import CLEAN, utterance
from tests.support.browser import Browser, browser  # noqa: F401 (a fixture)
from tests.support.corpora import copy, files, recipe

WITH_CER = Judge(consistency=Consistency(cer_max=1.0))

HOSTILE = "</script><script>hacked()</script> \u2028 \"quoted\" 'twice' <img src=x onerror=hacked()> {{7*7}} &amp;"

WATCH = """() => { window.lit = [];
  new MutationObserver(changes => {
    for (const { target: word } of changes) {
      const example = word.closest(".example"), played = example?.querySelector(".played");
      if (!word.matches(".word.lit") || !played) continue;
      lit.push({ example: example.id, start: Number(word.dataset.s), end: Number(word.dataset.e),
        at: parseFloat(played.style.getPropertyValue("--at")) / 100 * example.dataset.seconds,
        playing: document.querySelectorAll(".playing").length });
    }
  }).observe(document.body, { subtree: true, attributeFilter: ["class"] }) }"""
"""Notes every word that lights up, with where the sound is at that moment."""


def finished(
    align: str,
    parts: Sequence[Sequence[Utterance]],
    judging: Judge | None = None,
    calibration: dict[str, Any] | None = None,
) -> str:
    """A finished run of these records, as build-align leaves it."""
    made = Recipe(judge=judging or Judge())
    names = [digest("block", number) for number in range(len(parts))]
    for name, utterances in zip(names, parts, strict=True):
        commit.write_block(align, name, utterances)
    fitted = fitted_of({"calibration": calibration})
    result = judge([commit.block_uri(align, name) for name in names], made.judge, fitted)
    verdicts = judging_digest(made, names, fitted.to_json())
    commit.write_table(commit.verdicts_uri(align, verdicts), result.table)
    storage.write_bytes(storage.join(align, "recipe.yaml"), dump(made).encode())
    manifest = {
        "format_version": FORMAT_VERSION, "llaso": "0.1.0", "blocks": names, "verdicts": verdicts,
        "observing": digest("observing"), "recipe": made.model_dump(mode="json", exclude={"run", "out"}),
    }  # fmt: skip
    calibrated = {"calibration": calibration, **({"uncalibrated": "it is <small>"} if calibration is None else {})}
    storage.write_json(commit.manifest_uri(align), {**manifest, **result.summary(), **calibrated})
    return align


def varied(count: int = 160) -> list[list[Utterance]]:
    """Around every threshold: packed, alone, CJK, copies scored otherwise, a failure, nulls, one named twice."""
    random = np.random.default_rng(3)
    more = np.random.default_rng(1)  # for scores that no default threshold looks at
    made = []
    for number in range(count):
        audio = number if random.random() < 0.6 else int(random.integers(count // 4))
        scores = {
            "avg_logprob": -float(random.exponential(0.5)),
            "no_speech_prob": float(random.random()) ** 3,
            "compression_ratio": float(random.normal(1.6, 0.5)),
            "language_prob": None if random.random() < 0.1 else float(1 - random.random() ** 4),
            "chars_per_s": float(random.normal(13, 7)),
            "min_word_logprob": -float(random.exponential(2)),
            "eot_logprob": -float(random.exponential(2)),
            "llr": -float(more.exponential(3)),
            "cer": float(random.exponential(0.5)),
            "surplus": float(more.random()) ** 3,
            "repetition": float(random.random()) ** 2,
            "rms_dbfs": float(random.normal(-45, 12)),
            "clipped_ratio": float(random.exponential(0.02)),
            "border_db": float(more.normal(-60, 20)),
        }
        kind = {"packed": random.random() < 0.5, "lax": random.random() < 0.4}
        lax = {name: getattr(CLEAN, name) for name in scores}
        kept = scores if not kind["lax"] else {**lax, **dict([list(scores.items())[number % len(scores)]])}
        rounded = {name: None if value is None else round(value, 4) for name, value in kept.items()}
        made.append(
            utterance(
                number,
                audio=audio,
                duration_s=round(0.2 + 35 * (audio * 7 % 50 / 50) ** 3, 3),  # copies are of one length
                language="ja" if number % 9 == 0 else "en",
                decoding="packed" if kind["packed"] else "solo",
                scores=rounded,
            )
        )
    made[3] = dataclasses.replace(made[3], audio_id=None, duration_s=None)
    made[5] = failed(dataclasses.replace(made[5], audio_id=None, duration_s=None), "missing", "5.wav is not there")
    made[7] = dataclasses.replace(made[7], id=made[2].id)
    made[9] = dataclasses.replace(made[9], scores=dataclasses.replace(CLEAN, avg_logprob=float("nan")))
    return [made[:50], made[50:51], made[51:]]


def moved(section: Judge, key: str, value: float) -> Judge:
    _, tier, name = key.split(".")
    part = getattr(section, tier).model_copy(update={name: value})
    return section.model_copy(update={tier: part})


@pytest.mark.parametrize(
    "section",
    [
        Judge(),
        pytest.param(
            Judge(consistency=Consistency(packed_min_word_logprob_min=None, cer_max=None, min_word_logprob_min=-3.33)),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            Judge.model_validate({"duplicates": {"exact": False}, "confidence": {"duration_min_s": None}}),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["defaults", "packed-as-alone", "copies-kept"],
)
def test_the_effect_of_a_threshold_is_what_judging_again_gives(tmp_path: Path, section: Judge) -> None:
    align = finished(str(tmp_path), varied(), section)
    found = collect(align, 0)
    uris = [commit.block_uri(align, block) for block in found.manifest["blocks"]]
    assert len(found.curves) >= 14
    differing = 0
    for curve in found.curves:
        positions = curve.threshold.positions
        assert len(positions) <= 202
        for at in np.linspace(0, len(positions) - 1, 4).round().astype(int).tolist():
            again = judge(uris, moved(section, curve.threshold.key, float(positions[at])))
            assert again.counts["accepted"] == curve.accepted[at], (curve.threshold.key, positions[at])
            assert again.hours["accepted"] == pytest.approx(curve.seconds[at] / 3600, abs=2e-6)
            differing += again.counts["accepted"] != found.manifest["counts"]["accepted"]
    assert differing > 20


RATE = Rate(2, 250).to_dict()
CALIBRATION = {
    "digest": "0" * 32, "allowed": 0.03, "false_alarms": RATE, "recall": {"word deleted": Rate(96, 100).to_dict()},
    "mean_recall": 0.96,
    "groups": [
        {"corpus": "<i>prompts", "language": "en", "texts": "given", "false_alarms": RATE, "mean_recall": 0.96},
        {"corpus": "prompts", "language": "ja", "texts": "asr", "false_alarms": Rate(0, 0).to_dict(),
         "mean_recall": None},
    ],
    "thresholds": [
        {"corpus": None, "language": None, "thresholds": {"consistency.llr_min": -4.5, "consistency.cer_max": 0.7}},
        {"corpus": None, "language": "ja", "thresholds": {"consistency.llr_min": None, "consistency.cer_max": 0.7,
                                                          "consistency.packed_llr_min": -1000.0}},
        {"corpus": "prompts", "language": "en", "thresholds": {"consistency.llr_min": -2.0,
                                                               "consistency.cer_max": 0.7}},
    ],
}  # fmt: skip


def test_the_effect_of_a_threshold_that_differs_by_group(tmp_path: Path) -> None:
    """At each value it is set for all groups; the other thresholds stay as they were fitted."""
    align = finished(str(tmp_path), varied(), calibration=CALIBRATION)
    found = collect(align, 0)
    curves = {curve.threshold.key: curve for curve in found.curves}
    llr = curves["judge.consistency.llr_min"]
    assert (llr.threshold.current, llr.threshold.by_group) == (None, (None, -4.5, -2.0))
    assert curves["judge.consistency.cer_max"].threshold.current == 0.7
    uris = [commit.block_uri(align, block) for block in found.manifest["blocks"]]
    for key, curve in curves.items():
        others = GroupThresholds.of_json(
            [
                {**fit, "thresholds": {k: v for k, v in fit["thresholds"].items() if f"judge.{k}" != key}}
                for fit in CALIBRATION["thresholds"]
            ]
        )
        positions = curve.threshold.positions
        for at in np.linspace(0, len(positions) - 1, 3).round().astype(int).tolist():
            again = judge(uris, moved(Judge(), key, float(positions[at])), others)
            assert again.counts["accepted"] == curve.accepted[at], (key, positions[at])
    without = judge(uris, moved(Judge(), "judge.consistency.llr_min", -1e9), GroupThresholds.of_json(
        [{**fit, "thresholds": {k: v for k, v in fit["thresholds"].items() if k != "consistency.llr_min"}}
         for fit in CALIBRATION["thresholds"]]
    ))  # fmt: skip
    assert llr.alone == without.counts["accepted"] - found.manifest["counts"]["accepted"]


def test_the_card_shows_both_errors(tmp_path: Path) -> None:
    page = card.render(finished(str(tmp_path / "a"), varied(), calibration=CALIBRATION), examples=0)
    assert "calibrated: false alarms 0.8 % (0.2-2.9), faults found 96 % on clips it was not fitted on" in page
    assert "&lt;i&gt;prompts" in page and "<i>prompts" not in page
    assert "−4.5 to −2 or off, by group" in page and "Uncertified:" in page
    page = card.render(finished(str(tmp_path / "b"), varied()), examples=0)
    assert "judged without calibration: it is &lt;small&gt;." in page


def test_every_rule_and_every_score_has_its_words() -> None:
    section = Judge()
    for key in (
        "consistency.lm_delta_min",
        "consistency.llr_min",
        "consistency.cer_max",
        "consistency.surplus_max",
        "confidence.border_db_max",
    ):
        section = moved(section, f"judge.{key}", -1.0)  # off by default
    tried = rules(section)
    assert {rule.name for rule in tried} | {"repeated_id"} == set(reasons.RULES) == set(reasons.TITLES)
    numbered = {rule.column for rule in tried} - {"not_a_number", "no_speech", "no_text", "unscored", "given_unmatched",
                                                 "script_mismatch", "phrase", "markup"}  # fmt: skip
    assert numbered == set(reasons.MEASURES)
    assert reasons.why("failed.missing") == reasons.FAILURES["missing"]
    assert "stage" in reasons.why("failed.refused")


def test_the_bars_count_everything_that_was_observed(tmp_path: Path) -> None:
    found = collect(finished(str(tmp_path), varied()), 0)
    counts = found.manifest["counts"]
    for name, histogram in found.histograms.items():
        bars = histogram.accepted.sum() + histogram.beyond.sum() + histogram.others.sum()
        assert bars + histogram.missing == counts["inputs"] - counts["failed"], name
        assert histogram.accepted.sum() <= counts["accepted"]
    for sums in (found.languages, found.corpora):
        assert sum(s.inputs for s in sums.values()) == counts["inputs"]
    assert sum(s.inputs for s in found.by_rule.values()) == counts["inputs"] - counts["accepted"]


def test_a_chart_holds_its_bars_and_has_round_numbers_on_its_axes(tmp_path: Path) -> None:
    found = collect(finished(str(tmp_path), varied()), 0)
    shown = card.charts(found)
    assert len(shown) > 10 and {chart["figure"]["x"]["log"] for chart in shown} == {True, False}
    for chart in shown:
        figure, histogram = chart["figure"], found.histograms[chart["id"]]
        edges, x, y = figure["edges"], figure["x"], figure["y"]
        counts = np.sum([layer["counts"] for layer in figure["layers"]], axis=0)
        assert counts.sum() == (histogram.accepted + histogram.beyond + histogram.others).sum()
        assert len(edges) == len(counts) + 1 == len(figure["says"]) + 1 and edges == sorted(edges)
        assert x["low"] <= edges[0] and edges[-1] <= x["high"]
        assert [bar for bar, _ in figure["cut"]] == np.flatnonzero(counts > y["high"]).tolist()
        for axis in (x, y):
            assert 2 <= len(axis["ticks"]) <= 10
            for value, text in axis["ticks"]:
                assert axis["low"] <= value <= axis["high"] and len(text) <= 6
                assert float(text.replace("−", "-").replace(",", "")) == value
    assert [figures._short(n) for n in (0, 9500, 10_000, 250_000, 1_500_000)] == ["0", "9,500", "10k", "250k", "1.5M"]
    assert figures._ticks(-0.07, 0.99, 8) == [0.0, 0.2, 0.4, 0.6, 0.8]
    assert figures._ticks(0, 2.12, 4, 1) == [0, 1, 2]


def test_examples_depend_on_ids_and_not_on_scores_or_order(tmp_path: Path) -> None:
    def chosen(folder: str, worse: float, backwards: bool) -> dict[str, set[str]]:
        items = [utterance(n, scores={"cer": 1.1 + worse * n}, language="fr" if n % 4 else "en") for n in range(40)]
        blocks_of = [items[::-1][:9], items[::-1][9:]] if backwards else [items]
        align = finished(str(tmp_path / folder), blocks_of, WITH_CER)
        found = collect(align, 8)
        blocks = {n: commit.read_block(align, name) for n, name in enumerate(found.manifest["blocks"])}
        return {r: {blocks[p.block][p.row].id for p in places} for r, places in found.examples.chosen().items()}

    first = chosen("a", 0.01, False)
    assert {rule: len(ids) for rule, ids in first.items()} == {"consistency.cer": 8}
    assert chosen("b", -0.001, True) == first


def test_the_languages_of_a_group_are_heard_in_proportion(tmp_path: Path) -> None:
    items = [utterance(n, language="ru" if n % 5 == 0 else "en") for n in range(50)]
    align = finished(str(tmp_path), [items])
    (group,) = clip_groups.groups(align, collect(align, 10))
    assert sorted(e.language for e in group.examples) == ["en"] * 8 + ["ru"] * 2
    assert (group.number, group.left_out, len(group.examples)) == (50, 0, 10)


def test_a_word_that_is_not_in_the_text_is_left_out_and_nothing_else_is_lost() -> None:
    words = [Word("お", 0, 1), Word("gone", 1, 2), Word("待", 1, 2), Word("ち", 2, 3)]
    found = list(text_pieces("「お待ち」。", words))
    assert "".join(text for text, _ in found) == "「お待ち」。"
    assert [word.text for _, word in found if word] == ["お", "待", "ち"]


def test_what_was_heard_otherwise_is_marked() -> None:
    found = clip_groups.differences("Please hold, the line.", "please hold line  now", "en")
    assert "".join(text for text, _ in found) == "please hold line  now"
    assert [text for text, other in found if other] == ["now"]
    assert [text for text, other in clip_groups.differences("請稍候", "請等候", "zh") if other] == ["等"]


def run_of(clips: list[Clip], folder: Path) -> str:
    """Real recordings with hostile names and texts, good and bad scores, one whose file is gone."""
    items = []
    for number, clip in enumerate(clips[:9]):
        said = clip.text if number else HOSTILE
        starts = np.linspace(0, 1.2, len(said.split()) + 1).round(3).tolist()
        words = tuple(Word(w, s, e, -0.1) for w, s, e in zip(said.split(), starts, starts[1:], strict=False))
        name = f'{number} <b>"{HOSTILE[:40].replace("/", "")}" {"long " * 30}.wav'
        path = copy(clip, folder / "sound", name[:200] + ".wav", text=False)
        made = utterance(number, corpus=HOSTILE if number < 2 else "clips", language=clip.language, text=said)
        items.append(
            dataclasses.replace(
                made,
                source=dataclasses.replace(made.source, uri=str(path)),
                words=words,
                hypothesis=HOSTILE[::-1],
                speaker=Speaker(id=Attribute(HOSTILE, "given"), accent=Attribute(HOSTILE, "my.stage")),
                scores=dataclasses.replace(CLEAN, cer=0.02 if number < 5 else 0.9),
            )
        )
    (folder / "sound" / Path(items[8].source.uri).name).unlink()
    broken = failed(utterance(99, duration_s=None), "missing", HOSTILE)
    return finished(str(folder / "align"), [items[:4], [*items[4:], broken]])


@pytest.fixture(scope="module")
def spoken(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("card")
    align = run_of(clips, folder)
    return align, Path(card.write_card(align, title=HOSTILE))


def test_the_page_is_a_pure_function_of_the_run(spoken: tuple[str, Path]) -> None:
    align, page = spoken
    assert page == Path(align, "card.html")
    assert page.read_text("utf-8") == card.render(align, title=HOSTILE)
    assert page.stat().st_size < 15_000_000


def test_a_recording_that_is_gone_is_said_on_its_example(spoken: tuple[str, Path]) -> None:
    found = collect(spoken[0], 20)
    shown = [example for group in clip_groups.groups(spoken[0], found) for example in group.examples]
    gone = [example for example in shown if example.sound.trouble]
    assert len(shown) == 9 and len(gone) == 1
    assert "no such file" in gone[0].sound.trouble and not gone[0].sound.opus
    assert all(len(example.sound.bars) == 110 for example in shown if example is not gone[0])


def test_what_is_too_much_for_the_page_is_left_out_and_counted(spoken: tuple[str, Path]) -> None:
    found = collect(spoken[0], 20)
    everything = clip_groups.groups(spoken[0], found)
    fewer = clip_groups.groups(
        spoken[0], found, budget_bytes=sum(e.size_bytes for g in everything for e in g.examples) // 2
    )
    assert [len(g.examples) + g.left_out for g in fewer] == [len(g.examples) for g in everything]
    assert all(g.examples for g in fewer) and sum(g.left_out for g in fewer) > 2


@pytest.mark.slow
def test_a_run_with_a_card_is_found_finished_and_the_card_lies_where_the_command_says(
    tiny_en: Path, clips: list[Clip], tmp_path: Path
) -> None:
    for clip in [clip for clip in clips if clip.language == "en"][:2]:
        copy(clip, tmp_path / "corpus")
    spoken = recipe(tiny_en, tmp_path / "out", tmp_path / "corpus")
    build_align(spoken)
    before = files(tmp_path / "out")
    said = CliRunner().invoke(main, ["card", str(tmp_path / "out")])
    assert said.exit_code == 0 and said.output.strip() == f"written to {tmp_path / 'out' / 'card.html'}"
    again = build_align(spoken)
    assert again.blocks_observed == 0 and not again.judged
    assert files(tmp_path / "out", "card.html") == before
    elsewhere = CliRunner().invoke(main, ["card", str(tmp_path / "out"), "--out", str(tmp_path / "a b.html")])
    assert elsewhere.exit_code == 0 and (tmp_path / "a b.html").stat().st_size < 3_000_000


def test_the_card_is_one_file_more_and_disturbs_no_other(tmp_path: Path) -> None:
    align = finished(str(tmp_path), varied())
    before = files(align)
    said = CliRunner().invoke(main, ["card", align, "--examples", "0"])
    assert said.exit_code == 0 and said.output.strip() == f"written to {align}/card.html"
    assert files(align, "card.html") == before and len(files(align)) == len(before) + 1


def test_a_run_on_an_object_store_gets_its_card_there() -> None:
    align = finished("memory://card-test/out", [[utterance(1), utterance(2, scores={"cer": 1.0})]])
    assert card.write_card(align) == f"{align}/card.html"
    assert b"no such file" in storage.read_bytes(f"{align}/card.html")


def test_extremes_have_a_card(tmp_path: Path) -> None:
    nothing = finished(
        str(tmp_path / "none"), [[utterance(1, text=None, scores={"cer": None}), failed(utterance(2), "x")]]
    )
    assert "None of 2 utterances was accepted" in card.render(nothing)
    assert "There is nothing to hear" in card.render(nothing, examples=0)
    many = [
        dataclasses.replace(
            utterance(n, corpus=f"corpus {n}", language=f"x{n}"),
            speaker=Speaker(id=Attribute(f"voice {n}", "given")),
            source=Source(corpus=f"corpus {n}", uri="/" + "very long name " * 40 + f"{n}.wav"),
        )
        for n in range(400)
    ]
    page = card.render(finished(str(tmp_path / "many"), [many[:200], many[200:]]))
    assert "388 more languages" in page and "388 more speakers" in page and len(page) < 6_000_000


def test_a_run_that_is_not_finished_or_not_its_own_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LLaSOError, match="no finished run"):
        card.render(str(tmp_path))
    align = finished(str(tmp_path), [[utterance(1), utterance(2)]])
    commit.write_block(align, collect(align, 0).manifest["blocks"][0], [utterance(1), utterance(3)])
    with pytest.raises(LLaSOError, match="do not belong"):
        card.render(align)


def test_the_policy_names_exactly_the_scripts_of_the_page(spoken: tuple[str, Path]) -> None:
    page = spoken[1].read_text("utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy and "default-src &#39;none&#39;" in policy[1] and "connect-src" not in policy[1]
    assert policy[1].count("sha256-") == len(re.findall(r"<script>", page)) == 1
    assert "unsafe-eval" not in policy[1] and not re.search(
        r"""\s(src|href)=["'](?!#)""", re.sub(r"<script.*?</script>", "", page, flags=re.S)
    )
    assert "://" not in re.sub(r"<script.*?</script>", "", page, flags=re.S)


def test_opens_in_a_browser_without_errors_or_requests_and_hostile_content_is_inert(
    spoken: tuple[str, Path],
    browser: Browser,  # noqa: F811
) -> None:
    opened = browser.open(spoken[1])
    opened.until("performance.getEntriesByName('charts-drawn').length", "all charts are drawn")
    page = opened.page
    drawn = page.evaluate(
        "[...document.querySelectorAll('.chart')].map(chart => [...chart.querySelectorAll('.layer')].length)"
    )
    assert len(drawn) > 5 and all(drawn)
    assert (opened.errors, opened.dialogs) == ([], []) and opened.requests == [spoken[1].as_uri()]
    assert page.locator("h1").text_content() == HOSTILE
    assert page.evaluate("document.querySelectorAll('main script, main img, main b b').length") == 0
    assert HOSTILE.split()[0] in page.locator(".word").all_text_contents()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme").click()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert light != dark and opened.errors == []


def test_a_sound_plays_and_its_words_light_up_in_time(
    spoken: tuple[str, Path],
    browser: Browser,  # noqa: F811
) -> None:
    opened = browser.open(spoken[1])
    page = opened.page
    examples = page.locator(".group.on .example:has(.word + .word)")
    hostile = page.locator(".text", has_text="hacked()")
    first, second = examples.filter(has=hostile).first, examples.filter(has_not=hostile).first
    page.evaluate(WATCH)
    first.locator(".play").click()
    opened.until("lit.length >= 3", "words light up")
    second.locator(".word").nth(1).click()
    opened.until(
        f"lit.some(seen => seen.example === '{second.get_attribute('id')}')", "the word that was clicked lights up"
    )
    seen = page.evaluate("lit")
    assert all(one["start"] <= one["at"] < one["end"] for one in seen)
    assert {one["playing"] for one in seen} == {1}
    before = [one["at"] for one in seen if one["example"] == first.get_attribute("id")]
    after = [one for one in seen if one["example"] == second.get_attribute("id")]
    assert before == sorted(before) and before[-1] > before[0] and len(before) + len(after) == len(seen)
    assert after[0]["start"] == float(second.locator(".word").nth(1).get_attribute("data-s"))
    assert opened.errors == []


def test_moving_a_line_says_what_judging_again_would_accept(
    tmp_path: Path,
    browser: Browser,  # noqa: F811
) -> None:
    align = finished(str(tmp_path / "o'brien"), varied(), WITH_CER)
    found: CardData = collect(align, 0)
    opened = browser.open(Path(card.write_card(align, examples=0)), width=800)
    opened.until("performance.getEntriesByName('charts-drawn').length", "all charts are drawn")
    page = opened.page
    page.locator(".plot").first.scroll_into_view_if_needed()
    bar = page.locator(".layer.accepted").first.bounding_box()
    page.mouse.move(bar["x"] + bar["width"] / 2, bar["y"] + bar["height"] / 2)
    assert re.fullmatch(r".+ to .+ s: .*\b\d+ accepted.*", page.locator(".tip:visible").inner_text())
    uris = [commit.block_uri(align, block) for block in found.manifest["blocks"]]
    for key, press in {"judge.consistency.llr_min": "PageUp", "judge.consistency.cer_max": "PageDown"}.items():
        line = page.locator(f'[aria-label="{key}"]')
        line.focus()
        page.keyboard.press(press)
        value = float(line.get_attribute("aria-valuenow"))
        again = judge(uris, moved(found.recipe.judge, key, value))
        row = page.locator(".threshold", has=page.locator(f'code:text-is("{key.split(".")[-1]}")'))
        difference = again.counts["accepted"] - found.manifest["counts"]["accepted"]
        assert row.locator(".kept").inner_text() == str(again.counts["accepted"])
        sign = "+" if difference > 0 else "−"
        assert f"({sign}{abs(difference)}, " in row.locator(".change").inner_text()
        assert row.locator(".apply code").inner_text() == f"--set {key}={value:g}"
    line = page.locator('[aria-label="judge.confidence.duration_max_s"]')
    line.scroll_into_view_if_needed()
    box = line.bounding_box()
    page.mouse.move(box["x"] + 12, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] - 200, box["y"] + 40, steps=3)
    page.mouse.up()
    value = float(line.get_attribute("aria-valuenow"))
    assert value < 30
    again = judge(uris, moved(found.recipe.judge, "judge.confidence.duration_max_s", value))
    assert f": {again.counts['accepted']} accepted" in line.get_attribute("aria-valuetext")
    command = page.locator("#command").inner_text()
    assert command.count("--set judge.") == 3 and "'\"'\"'" in command and opened.errors == []


def test_a_line_that_differs_by_group_begins_with_what_is_accepted(
    tmp_path: Path,
    browser: Browser,  # noqa: F811
) -> None:
    align = finished(str(tmp_path), varied(), calibration=CALIBRATION)
    accepted = collect(align, 0).manifest["counts"]["accepted"]
    opened = browser.open(Path(card.write_card(align, examples=0)), width=800)
    opened.until("performance.getEntriesByName('charts-drawn').length", "all charts are drawn")
    row = opened.page.locator(".threshold", has=opened.page.locator('code:text-is("llr_min")'))
    line = opened.page.locator('[aria-label="judge.consistency.llr_min"]')
    for press in ("PageUp", "Escape"):
        line.focus()
        opened.page.keyboard.press(press)
    assert row.locator(".value").text_content() == "−4.5 to −2 or off, by group"
    assert row.locator(".kept").text_content() == f"{accepted:,}" and opened.errors == []


def test_candidates_stay_bounded_whatever_the_number_of_rows() -> None:
    import pyarrow as pa

    random = np.random.default_rng(0)
    ids = random.integers(0, 1 << 63, (5000, 2)).astype(np.uint64)
    names = pa.chunked_array([pa.array([""] * 5000)])
    language = pa.chunked_array([pa.array(["en", "de"] * 2500)])
    numbers = np.arange(5000)
    at_once, in_parts = ExampleSampler(10), ExampleSampler(10)
    at_once.offer(names, language, ids, numbers * 0, numbers)
    for start in range(0, 5000, 500):
        rows = slice(start, start + 500)
        in_parts.offer(names[rows], language[rows], ids[rows], numbers[rows] * 0, numbers[rows])
    assert at_once.chosen() == in_parts.chosen()
    assert all(len(kept) == 10 for kept in in_parts.candidates[""].values())
    assert json.dumps(in_parts.sizes) == json.dumps(at_once.sizes)


def test_the_card_names_the_licences_of_each_corpus(tmp_path: Path) -> None:
    utterances = [utterance(number, language="en", text="one", duration_s=1.0) for number in range(4)]
    marked = [
        dataclasses.replace(one, source=dataclasses.replace(one.source, license=license))
        for one, license in zip(utterances, ["cc0-1.0", "cc-by-4.0", None, "cc0-1.0"], strict=True)
    ]
    page = write_card(finished(str(tmp_path), [marked[:2], marked[2:]], Judge()))
    assert "cc-by-4.0, cc0-1.0" in Path(page).read_text(encoding="utf-8")
