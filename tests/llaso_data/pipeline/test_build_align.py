"""build-align on real speech with a real model: what is observed once stays observed, and nothing gets lost."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest

from llaso_data import audio, records
from llaso_data.errors import LLaSOError
from llaso_data.filters.border_level import border_level, border_levels
from llaso_data.pipeline.build_align import BuildSummary, build_align
from llaso_data.pipeline.load_recipe import load
from llaso_data.recipe import Recipe
from llaso_data.records import Attribute, Verdict
from llaso_data.report.card import write_card
from llaso_data.report.reasons import MEASURES
from llaso_data.shards.validate import validate
from tests.conftest import Clip
from tests.support.corpora import copy, english, files, louder, observed, recipe

NOTHING = {"models_loaded": 0, "windows_encoded": 0, "windows_decoded": 0, "tokens_decoded": 0, "passes_forced": 0}


@dataclass(frozen=True)
class Built:
    corpus: Path
    recipe: Recipe
    out: Path
    summary: BuildSummary


@pytest.fixture(scope="module")
def built(tiny_en: Path, clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Six English clips in several blocks, observed by the local engine."""
    folder = tmp_path_factory.mktemp("built")
    corpus = english(folder / "corpus", clips, (1.0, 0.7))
    wanted = recipe(tiny_en, folder / "out", corpus)
    return Built(corpus, wanted, folder / "out", build_align(wanted))


def adds_up(summary: BuildSummary) -> bool:
    counts = summary.counts
    parts = [counts[name] for name in ("accepted", "rejected", "duplicates", "failed")]
    return counts["inputs"] == sum(parts) == sum(summary.rules.values()) + counts["accepted"]


def test_a_run_observes_everything_once(built: Built) -> None:
    found = observed(built.out)
    summary = built.summary
    assert [Path(u.source.uri).name for u in found] == sorted(path.name for path in built.corpus.glob("*.wav"))
    assert summary.blocks == summary.blocks_observed == len(list((built.out / "observations").iterdir())) >= 3
    assert summary.model_calls["models_loaded"] == 1
    assert summary.counts["inputs"] == summary.counts["recordings"] == 6 and adds_up(summary)
    assert summary.counts["accepted"] >= 4 and summary.judged and summary.exit_code == 0
    for utterance in found:
        assert utterance.text_origin == "given" and utterance.hypothesis
        assert [word.text for word in utterance.words] == (utterance.text or "").split()
        assert utterance.scores.min_word_logprob is not None and utterance.scores.cer is not None
        assert utterance.source.sampling_rate_hz == 16_000 and utterance.failure is None


def test_words_say_whether_a_border_may_be_inside_one(built: Built) -> None:
    lost = []
    for utterance in observed(built.out):
        levels, words = border_levels(audio.decode(utterance.source.uri)[0]), utterance.words
        assert levels is not None and utterance.duration_s is not None
        gaps_s = words[0].start_s, utterance.duration_s - words[-1].end_s
        assert utterance.scores.border_db == pytest.approx(border_level(levels, gaps_s), abs=0.01)
        lost.append(max(levels) - utterance.scores.border_db)
    assert max(lost) > 1.0


def test_the_manifest_names_everything(built: Built) -> None:
    manifest = json.loads((built.out / "manifest.json").read_text(encoding="utf-8"))
    assert sorted(manifest["blocks"]) == sorted(path.stem for path in (built.out / "observations").iterdir())
    table = pq.read_table(built.out / "verdicts" / f"{manifest['verdicts']}.parquet")
    verdicts = records.from_table(table, Verdict)
    assert [verdict.id for verdict in verdicts] == [utterance.id for utterance in observed(built.out)]
    assert manifest["counts"] == built.summary.counts and manifest["recipe"]["blocks"]["clips"] == 2
    assert str(built.out) not in json.dumps(manifest)  # it may be moved


def test_a_rerun_observes_and_judges_nothing(built: Built) -> None:
    before = files(built.out)
    again = build_align(built.recipe)
    assert (again.blocks_observed, again.model_calls, again.judged) == (0, NOTHING, False)
    assert (again.counts, again.rules) == (built.summary.counts, built.summary.rules)
    assert files(built.out) == before


def test_another_threshold_judges_again_and_calls_no_model(built: Built, tiny_en: Path) -> None:
    stricter = build_align(recipe(tiny_en, built.out, built.corpus, judge__consistency__packed_eot_logprob_min=-0.001))
    assert (stricter.blocks_observed, stricter.model_calls, stricter.judged) == (0, NOTHING, True)
    assert stricter.verdicts != built.summary.verdicts
    assert stricter.rules["consistency.eot_logprob"] > built.summary.rules.get("consistency.eot_logprob", 0)
    assert adds_up(stricter)
    assert build_align(built.recipe).judged is False  # the old table is still there


def test_what_was_edited_or_is_not_its_own_stays_and_nothing_is_done(built: Built) -> None:
    """An edited recipe in a finished output; it is read with --recipe, and then replaced by what it says."""
    place = built.out / "recipe.yaml"
    whole = place.read_bytes()
    place.write_bytes(whole.replace(b"avg_logprob_min: -1.2", b"avg_logprob_min: -0.9", 1))
    before = files(built.out)
    with pytest.raises(
        LLaSOError, match=r"recipe\.yaml exists and was not written by `llaso-data build-align`, or was"
    ):
        build_align(built.recipe)
    assert files(built.out) == before
    assert build_align(load(str(place))).counts == built.summary.counts
    assert place.read_bytes() != before["recipe.yaml"] and b"avg_logprob_min: -0.9" in place.read_bytes()
    assert build_align(built.recipe).blocks_observed == 0  # unedited again, so it is replaced
    assert place.read_bytes() == whole


def test_another_observing_value_observes_again(built: Built, tiny_en: Path) -> None:
    from llaso_data.pipeline.observe import observing_digest

    one = observing_digest(built.recipe.observe, ["weights"])
    other = recipe(tiny_en, built.out, built.corpus, observe__align__median=5).observe
    elsewhere = recipe(Path("/elsewhere"), built.out, built.corpus).observe
    assert observing_digest(other, ["weights"]) != one != observing_digest(built.recipe.observe, ["other weights"])
    assert observing_digest(elsewhere, ["weights"]) == one  # what counts is what the weights are


def test_without_align_texts_are_transcribed_and_not_scored(built: Built, tmp_path: Path) -> None:
    plain = built.recipe.model_copy(update={"out": str(tmp_path / "out")})
    (tmp_path / "recipe.yaml").write_text(json.dumps(plain.model_dump(mode="json")), encoding="utf-8")
    summary = build_align(load(str(tmp_path / "recipe.yaml"), ["observe.align=null"]))
    assert summary.model_calls["passes_forced"] <= summary.model_calls["windows_decoded"]  # to divide packed windows
    assert summary.counts["accepted"] >= 4 and adds_up(summary) and "consistency.unscored" not in summary.rules
    for utterance in observed(tmp_path / "out"):
        scores = utterance.scores
        assert utterance.hypothesis and utterance.words == () and scores.cer is not None
        levels = border_levels(audio.decode(utterance.source.uri)[0])  # words say nothing of them
        assert levels is not None and scores.border_db == pytest.approx(max(levels), abs=0.01)
        assert {scores.avg_logprob, scores.min_word_logprob, scores.eot_logprob, scores.llr} == {None}
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["notes"] == {"not scored, because observe.align is null": 6}
    card = Path(write_card(str(tmp_path / "out"))).read_text(encoding="utf-8")
    (undrawn,) = re.findall("No utterance has these scores, so they are not drawn: ([^<]*)", card)
    assert {MEASURES[name].title for name in ("avg_logprob", "min_word_logprob", "llr")} <= set(
        undrawn.rstrip(".").split(", ")
    )


def test_one_more_file_observes_its_own_block(built: Built, clips: list[Clip]) -> None:
    added = louder(clips[1].path, built.corpus / "middle.wav", 0.9)
    try:
        more = build_align(built.recipe)
        assert more.counts["inputs"] == 7 and 1 <= more.blocks_observed <= 2 < built.summary.blocks
        assert adds_up(more)
    finally:
        added.unlink()
    assert build_align(built.recipe).model_calls == NOTHING


@pytest.mark.parametrize("suffix", [".wav", pytest.param(".txt", marks=pytest.mark.slow)])
def test_a_changed_file_observes_its_own_block(built: Built, tmp_path: Path, suffix: str) -> None:
    path = built.corpus / f"hello_world-0.7{suffix}"
    kept = shutil.copy2(path, tmp_path / path.name)
    try:
        if suffix == ".wav":
            louder(path, path, 0.6)
        else:
            path.write_text("Hello, world!", encoding="utf-8")
        changed = build_align(built.recipe)
        assert changed.blocks_observed == 1 and changed.counts["inputs"] == 6
        assert observed(built.out) != [] and adds_up(changed)
    finally:
        shutil.copy2(kept, path)
    assert build_align(built.recipe).model_calls == NOTHING


def test_the_same_audio_twice_is_one_accepted_record(built: Built, tiny_en: Path, tmp_path: Path) -> None:
    """Also a source that is named twice is observed once."""
    twin = {"path": str(built.corpus), "corpus": "twin"}
    once = {"path": str(built.corpus), "corpus": "test"}
    summary = build_align(recipe(tiny_en, built.out, once, once, judge__duplicates__exact=True))
    assert summary.model_calls == NOTHING and summary.rules["repeated_id"] == 6 and adds_up(summary)
    assert summary.counts["accepted"] == built.summary.counts["accepted"]
    assert summary.counts["inputs"] == 12
    both = build_align(
        recipe(tiny_en, tmp_path / "out", {**once, "pattern": "hello*-0.7.wav"}, {**twin, "pattern": "hello*-0.7.wav"})
    )
    assert both.counts == {**both.counts, "inputs": 2, "accepted": 1, "duplicates": 1}


# What is broken


@pytest.fixture
def broken(clips: list[Clip], tmp_path: Path) -> Path:
    """A manifest of two good clips among what goes wrong in practice."""
    folder = tmp_path / "broken"
    good = [copy(clip, folder, text=False) for clip in clips[:2]]
    (folder / "text.wav").write_text("I am not audio, whatever my name says. " * 20)
    (folder / "empty.wav").write_bytes(b"")
    cut = folder / "cut.wav"
    cut.write_bytes(good[0].read_bytes()[:20_000])
    rows: list[dict[str, Any]] = [
        {"audio": good[0].name, "text": clips[0].text},
        {"audio": good[1].name, "text": clips[1].text, "language": "en"},
        {"audio": "nowhere.wav"},
        {"audio": "text.wav"},
        {"audio": "empty.wav"},
        {"audio": "cut.wav"},
        {"audio": good[0].name, "start": 90, "end": 91},
        {"audio": good[1].name, "start": 0, "end": 0.5, "language": "xx-nonsense"},
        {"text": "no audio"},
    ]
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return manifest


def test_what_fails_is_counted_by_reason_and_the_run_goes_on(broken: Path, tiny_en: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = build_align(recipe(tiny_en, out, broken, judge__max_failures=0.5))
    failed = {rule: n for rule, n in summary.rules.items() if rule.startswith("failed.")}
    assert {"failed.missing", "failed.unreadable", "failed.truncated", "failed.span_outside"} <= set(failed)
    assert sum(failed.values()) == summary.counts["failed"] and adds_up(summary)
    assert summary.counts["inputs"] == 9
    assert summary.exit_code == 1  # more than half
    details = [u.failure.detail for u in observed(out) if u.failure]
    assert all(str(broken.parent) in detail for detail in details)
    lenient = build_align(recipe(tiny_en, out, broken, judge__max_failures=0.9))
    assert (lenient.exit_code, lenient.judged, lenient.model_calls) == (0, False, NOTHING)


@pytest.mark.slow
def test_a_transcript_that_is_not_utf8_is_named(clips: list[Clip], tiny_en: Path, tmp_path: Path) -> None:
    copy(clips[0], tmp_path / "c", "good.wav")
    bad = copy(clips[1], tmp_path / "c", "bad.wav")
    bad.with_suffix(".txt").write_bytes("Grüß dich".encode("latin-1"))
    summary = build_align(recipe(tiny_en, tmp_path / "out", tmp_path / "c"))
    assert summary.rules["failed.bad_text"] == 1 and summary.counts["inputs"] == 2 and adds_up(summary)


def test_a_language_that_the_model_does_not_know_is_a_failure(clips: list[Clip], tiny_en: Path, tmp_path: Path) -> None:
    french = next(clip for clip in clips if clip.language == "fr")
    copy(french, tmp_path / "c")
    source = {"path": str(tmp_path / "c"), "language": "fr"}
    summary = build_align(recipe(tiny_en, tmp_path / "out", source))
    assert summary.rules == {"failed.language_unsupported": 1}


def test_what_cannot_start_is_said_before_the_model_is_looked_for(tmp_path: Path, clips: list[Clip]) -> None:
    absent = Path("/no/such/model")
    good = {"path": str(clips[0].path.parent)}
    with pytest.raises(LLaSOError, match="name at least one source"):
        build_align(recipe(absent, tmp_path / "out"))
    with pytest.raises(LLaSOError, match="nowhere: no such file or folder"):
        build_align(recipe(absent, tmp_path / "out", good, {"path": str(tmp_path / "nowhere")}))
    with pytest.raises(LLaSOError, match=r"asr\.model: '/no/such/model' is neither a local folder nor"):
        build_align(recipe(absent, tmp_path / "out", good))
    with pytest.raises(LLaSOError, match="pass --out"):
        build_align(recipe(absent, tmp_path / "out", good).model_copy(update={"out": None}))
    assert not (tmp_path / "out").exists()


# Another store, other corpora, other languages


@pytest.fixture
def memory() -> Iterator[str]:
    yield "memory://test-build"
    fsspec.filesystem("memory").rm("/test-build", recursive=True)


@pytest.mark.slow  # the quick tests hold it of S3: tests/llaso_data/io/test_s3.py
@pytest.mark.parametrize("pattern", ["hello*-0.7.wav", "hello*.wav"])
def test_a_whole_run_on_another_store(built: Built, tiny_en: Path, memory: str, tmp_path: Path, pattern: str) -> None:
    from llaso_data.pipeline.shard import shard_dataset

    out, shards = f"{memory}/out", f"{memory}/shards"
    wanted = recipe(tiny_en, out, {"path": str(built.corpus), "corpus": "test", "pattern": pattern})
    first = build_align(wanted)
    assert first.blocks_observed > 0 and build_align(wanted).model_calls == NOTHING
    local = build_align(wanted.model_copy(update={"out": str(tmp_path / "out")}))
    assert files(out, "recipe.yaml") == files(tmp_path / "out", "recipe.yaml")
    assert shard_dataset(out, shards, wanted.shard, wanted.run).samples == local.counts["accepted"]
    assert validate(shards).ok


def test_corpora_bring_what_they_know_of_speakers(clips: list[Clip], tiny_en: Path, tmp_path: Path) -> None:
    """A Common Voice release and a LibriSpeech tree in one run."""
    release, tree = tmp_path / "cv", tmp_path / "libri"
    copy(clips[1], release / "clips", "common_voice_en_1.wav", text=False)
    (release / "validated.tsv").write_text(
        "client_id\tpath\tsentence\tup_votes\tage\tgender\taccents\tlocale\n"
        f"abc123\tcommon_voice_en_1.wav\t{clips[1].text}\t2\ttwenties\tmale_masculine\tUnited States English\ten\n",
        encoding="utf-8",
    )
    chapter = tree / "dev-clean" / "84" / "121123"
    copy(clips[2], chapter, "84-121123-0000.wav", text=False)
    (chapter / "84-121123.trans.txt").write_text(f"84-121123-0000 {clips[2].text.upper()}\n", encoding="utf-8")
    (tree / "SPEAKERS.TXT").write_text(";ID |SEX| SUBSET\n84 | F | dev-clean | 8.02 | Someone\n", encoding="utf-8")
    sources: list[dict[str, Any]] = [{"path": str(release)}, {"path": str(tree), "language": "en"}]
    summary = build_align(recipe(tiny_en, tmp_path / "out", *sources))
    common_voice, libri = observed(tmp_path / "out")
    assert summary.counts["inputs"] == summary.counts["accepted"] == 2
    assert (common_voice.source.corpus, libri.source.corpus) == ("cv", "libri")
    assert common_voice.language_origin == libri.language_origin == "given"
    assert common_voice.speaker.id == Attribute("abc123", "given")
    assert common_voice.speaker.gender == Attribute("male", "given")
    assert common_voice.speaker.age_range == Attribute("20-29", "given")
    assert common_voice.speaker.accent.origin == "given" and common_voice.speaker.accent.value != "unknown"
    assert common_voice.environment == Attribute("unknown", "unknown")
    assert (libri.speaker.id, libri.speaker.gender) == (Attribute("84", "given"), Attribute("female", "given"))
    assert libri.speaker.age_range == libri.speaker.accent == Attribute("unknown", "unknown")
    assert libri.text == clips[2].text.upper() and libri.scores.cer is not None and libri.scores.cer < 0.1


@pytest.mark.slow
def test_languages_that_nobody_gave_are_heard(clips: list[Clip], whisper_base: Path, tmp_path: Path) -> None:
    chosen = {"en": clips[2]} | {code: next(c for c in clips if c.language == code) for code in ("es", "fr")}
    for code, clip in chosen.items():
        copy(clip, tmp_path / "c", f"{code}.wav", text=False)
    given = {"path": str(tmp_path / "c"), "corpus": "given", "pattern": "en.wav", "language": "English"}
    heard = {"path": str(tmp_path / "c"), "corpus": "heard"}
    summary = build_align(recipe(whisper_base, tmp_path / "out", heard, given, blocks__clips=100))
    found = observed(tmp_path / "out")
    assert [(u.language, u.language_origin) for u in found] == [
        ("en", "asr"), ("es", "asr"), ("fr", "asr"), ("en", "given"),
    ]  # fmt: skip
    assert [u.text_origin for u in found] == ["asr"] * 4
    assert found[3].scores.language_prob == 1.0 and 0.5 < (found[0].scores.language_prob or 0) <= 1.0
    assert all(u.text == u.hypothesis and u.words and u.scores.cer is None for u in found)
    assert summary.counts["duplicates"] == 1 and adds_up(summary)


def test_a_killed_writer_leaves_nothing_that_counts(built: Built) -> None:
    """What a kill in the middle of a commit leaves behind is not taken for a block."""
    block = json.loads((built.out / "manifest.json").read_text(encoding="utf-8"))["blocks"][0]
    part = built.out / "observations" / f"{block}.parquet"
    orphan = part.with_name(f".{part.name}.123-abcd.tmp")
    orphan.write_bytes(part.read_bytes()[:100])
    kept = part.read_bytes()
    os.remove(part)
    try:
        again = build_align(built.recipe)
        assert again.blocks_observed == 1 and part.read_bytes() == kept
    finally:
        orphan.unlink()
