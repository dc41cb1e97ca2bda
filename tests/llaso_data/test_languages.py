"""Languages are what the corpus says that they are: named as BCP 47 does, never guessed, never too small."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from llaso_data.errors import LLaSOError
from llaso_data.languages import language, language_name
from llaso_data.pipeline.build_align import BuildSummary, build_align
from llaso_data.pipeline.shard import shard_dataset
from llaso_data.records import GIVEN, Utterance
from llaso_data.shards import reader
from llaso_data.whisper.tokenizer import WhisperTokenizer
from tests.conftest import Clip
from tests.support.corpora import copy, observed, recipe

SMALL = "hsb tok kab yue nan-TW ast zgh gsw haw ckb sco ber"
UNDERSTOOD = """
jp=ja cz=cs cn=zh ua=uk ger=de zh_CN=zh pt_br=pt en-us=en cmn=zh iw=he in=id ji=yi mo=ro scc=sr German=de Deutsch=de
toki_pona=tok nan-tw=nan-TW zh-min-nan=nan zh-yue=yue eng_Latn=en en_US.UTF-8=en ceb_ph=ceb-PH ajp=apc es-419=es 中文=zh
"""
NONE = "en,fr en/fr en;fr xx1 xx zz klingonish de-en en-zh mul zxx english-speaking multilingual other mixed b 1 - en-"


@pytest.mark.parametrize("code", SMALL.split())
def test_small_languages_are_named_as_they_are(code: str) -> None:
    assert language(code) == language(code.upper()) == language(code.replace("-", "_")) == code
    assert language_name(code) != code


@pytest.mark.parametrize(
    "pair", [*UNDERSTOOD.split(), "Upper Sorbian=hsb", "Sorbian, Upper=hsb", "English (US)=en", "Norwegian Bokmål=no"]
)
def test_what_people_write_is_understood(pair: str) -> None:
    said, meant = pair.split("=")
    assert language(said) == meant


@pytest.mark.parametrize("said", [*NONE.split(), "en fr", "Hindi-English", "🇩🇪"])
def test_what_is_no_language_is_none(said: str) -> None:
    assert language(said) is None


def rows(folder: Path, clips: list[Clip], languages: list[str | None], texts: bool = True) -> Path:
    manifest = folder / "m.jsonl"
    lines = [
        {"audio": str(clip.path), "language": code, **({"text": clip.text} if texts else {})}
        for clip, code in zip(clips, languages, strict=True)
    ]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return manifest


def build(model: Path, out: Path, manifest: Path, whisper_language: object = None) -> BuildSummary:
    return build_align(recipe(model, out, manifest, observe__asr__whisper_language=whisper_language))


def by_language(out: Path) -> dict[str | None, Utterance]:
    return {u.language: u for u in observed(out)}


def test_what_is_no_language_fails_and_names_the_word(tiny_en: Path, clips: list[Clip], tmp_path: Path) -> None:
    manifest = rows(tmp_path, clips[:3], ["en,fr", "klingonish", "und"])
    summary = build(tiny_en, tmp_path / "out", manifest)
    assert summary.rules["failed.bad_language"] == 2 and summary.counts["failed"] == 2
    assert summary.transcripts == 3
    failures = sorted(u.failure.detail for u in observed(tmp_path / "out") if u.failure)
    assert "m.jsonl:1: 'en,fr' is no language" in failures[0] and "'klingonish' is no language" in failures[1]
    with pytest.raises(LLaSOError, match="'klingonish' is no language"):
        build_align(recipe(tiny_en, tmp_path / "out", {"path": str(manifest), "language": "klingonish"}))


def test_a_language_without_a_token_is_aligned_and_counted_unjudged(
    whisper_base: Path, clips: list[Clip], tmp_path: Path
) -> None:
    french = [clip for clip in clips if clip.language == "fr"]
    out = tmp_path / "out"
    manifest = rows(tmp_path, french[:2], ["hsb", "nan-TW"])
    with manifest.open("a") as file:
        file.write(json.dumps({"audio": str(french[2].path), "language": "gsw"}) + "\n")
    summary = build(whisper_base, out, manifest)
    assert (summary.counts["accepted"], summary.counts["failed"]) == (2, 0)
    assert summary.languages.keys() == {"hsb", "nan-TW"}
    assert summary.rules == {"confidence.no_text": 1}
    assert summary.notes == {
        "not judged by Whisper, which has no token of their language": 2,
        "without a transcript, in a language that Whisper has no token of": 1,
    }
    for found, clip in zip(by_language(out).values(), french[:2], strict=False):
        assert (found.text, found.language_origin, found.hypothesis) == (clip.text, GIVEN, None)
        assert [word.text for word in found.words] == clip.text.split()
        assert all(word.logprob is None for word in found.words) and found.scores.llr is None
    made = recipe(whisper_base, out)
    shard_dataset(str(out), str(tmp_path / "shards"), made.shard, made.run)
    assert sorted(reader.open_index(str(tmp_path / "shards")).table["language"].to_pylist()) == ["hsb", "nan-TW"]


@pytest.mark.slow
def test_a_relatives_token_stands_for_a_language(whisper_base: Path, clips: list[Clip], tmp_path: Path) -> None:
    french = next(clip for clip in clips if clip.language == "fr")
    again = dataclasses.replace(french, path=copy(french, tmp_path, "again.wav"))
    manifest = rows(tmp_path, [french, again], ["hsb", "fr"])
    summary = build(whisper_base, tmp_path / "out", manifest, whisper_language={"hsb": "French", "yue": "none"})
    assert not summary.notes and summary.counts["accepted"] == 1  # the other is its duplicate
    found = by_language(tmp_path / "out")
    assert found["hsb"].hypothesis and found["hsb"].words == found["fr"].words
    assert found["hsb"].scores == found["fr"].scores


def test_one_relative_for_all_is_for_those_without_a_token(whisper_base: Path) -> None:
    vocabulary = WhisperTokenizer.load(str(whisper_base))
    told = dataclasses.replace(vocabulary, related_languages=vocabulary.parse_related_languages("fr"))
    assert (told.token_language("hsb"), told.token_language("de")) == ("fr", "de")
    told = dataclasses.replace(
        vocabulary, related_languages=vocabulary.parse_related_languages({"nan": "zh", "nn": "da", "de": "none"})
    )
    assert [told.token_language(code) for code in ("nan-TW", "nn", "de", "hsb")] == ["zh", "da", None, None]


@pytest.mark.parametrize("said", ["hsb", {"hsb": "hsb"}, {"klingonish": "de"}, {"hsb": "en,fr"}])
def test_a_relative_that_is_none_is_refused(
    whisper_base: Path, clips: list[Clip], tmp_path: Path, said: object
) -> None:
    with pytest.raises(LLaSOError, match=r"observe\.asr\.whisper_language: "):
        build(whisper_base, tmp_path / "out", rows(tmp_path, clips[:1], ["hsb"]), whisper_language=said)
