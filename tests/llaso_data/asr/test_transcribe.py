"""The listening stage on real clips: packed or alone, language known or not, every clip comes back once and whole."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from llaso_data.asr import doubt
from llaso_data.asr import transcribe as module
from llaso_data.asr.segment import segment
from llaso_data.errors import LLaSOError
from llaso_data.pipeline.transcription import transcriber
from llaso_data.recipe import Align, Asr, Run, Segment
from llaso_data.records import ASR, GIVEN, Source, Utterance, failed, rounded, utterance_id
from llaso_data.text import cer, wer
from llaso_data.whisper.load import Whisper, load
from llaso_data.whisper.windows import pack
from tests.conftest import Clip
from tests.support.asr_fixtures import forget, named, pcm, utterance, whisper

ENGLISH = ("en/counting", "en/hello_world", "en/quick_brown_fox")
EIGHT = (
    "en/counting",
    "en/hello_world",
    "en/quick_brown_fox",
    "pt/contagem",
    "pt/pangrama",
    "zh/nihao_shijie",
    "zh/pangrama",
    "fr/bonjour_monde",
)


def listen(
    model: Whisper,
    utterances: Sequence[Utterance],
    audio_of: Sequence[NDArray[np.int16] | None],
    asr: Asr | None = None,
) -> list[Utterance]:
    found = transcriber(model, asr or Asr(), Align())(utterances, audio_of)
    assert [u.id for u in found] == [u.id for u in utterances]
    for one in found:
        scores = dataclasses.asdict(one.scores)
        assert all(math.isfinite(v) for name, v in scores.items() if name != "extra" and v is not None), one
        assert (one.failure is not None) or one.hypothesis is not None or audio_of[found.index(one)] is None
    return found


def recorded(samples: NDArray[np.int16], text: str | None = None, language: str | None = "en") -> Utterance:
    name = utterance_id("made", str(len(samples)), text)
    source = Source(corpus="made", uri="made.wav")
    return Utterance(
        id=name, recording=name, source=source, language=language, text=text, text_origin=GIVEN if text else "unknown"
    )


@pytest.mark.parametrize("given", [None, "The quick brown fox jumps over the lazy dog."])
def test_what_whisper_says_of_a_clip_alone_is_forced_once(tiny_en: Path, clips: list[Clip], given: str | None) -> None:
    model, (clip,) = whisper(tiny_en), named(clips, "en/quick_brown_fox")
    before = model.statistics.passes_forced
    (found,) = listen(model, [utterance(clip, text=given)], [pcm(clip.path)], Asr(pack=False))
    assert found.text == found.hypothesis and found.scores.min_word_logprob is not None and found.words
    in_window = model.decoder.greedy is None  # else its tokens are scored as they are decoded
    assert model.statistics.passes_forced - before == in_window + 1  # characters, too


@pytest.mark.parametrize(
    ("weights", "names"), [("tiny_en", ENGLISH), pytest.param("whisper_base", EIGHT, marks=pytest.mark.slow)]
)
def test_packed_and_alone_clips_say_the_same(
    weights: str, names: tuple[str, ...], clips: list[Clip], request: pytest.FixtureRequest
) -> None:
    model, chosen = whisper(request.getfixturevalue(weights)), named(clips, *names)
    utterances, audio_of = [utterance(clip) for clip in chosen], [pcm(clip.path) for clip in chosen]
    before = dataclasses.replace(model.statistics)
    packed = listen(model, utterances, audio_of)
    between = dataclasses.replace(model.statistics)
    alone = listen(model, utterances, audio_of, Asr(pack=False))
    assert {one.decoding for one in alone} == {"solo"} and "packed" in {one.decoding for one in packed}
    rates = [cer(a.hypothesis or "", p.hypothesis or "", a.language) for a, p in zip(alone, packed, strict=True)]
    assert np.median(rates) == 0.0 and np.mean(rates) < 0.2  # counted numbers may come out as words or as figures
    for one in [*packed, *alone]:
        assert one.text_origin == ASR and one.text == one.hypothesis and one.words
        assert one.scores.avg_logprob is not None and one.scores.avg_logprob > -1.0
    # The statistics count what the model did: a window for each clip alone, and fewer packed ones.
    assert model.statistics.windows_encoded - between.windows_encoded == len(chosen)
    assert model.statistics.windows_decoded - between.windows_decoded == len(chosen)
    assert between.windows_decoded - before.windows_decoded < len(chosen)
    assert model.statistics.models_loaded == 1


def test_the_same_block_gives_the_same_records(tiny_en: Path, clips: list[Clip]) -> None:
    model, chosen = whisper(tiny_en), [clip for clip in clips if clip.language == "en"]
    utterances, audio_of = [utterance(clip, text=clip.text) for clip in chosen], [pcm(clip.path) for clip in chosen]
    once = listen(model, utterances, audio_of)
    forget(model)
    again = listen(model, utterances, audio_of)
    assert [rounded(one) for one in once] == [rounded(one) for one in again]
    # Figures are heard where number words are given, so that clip is asked again alone.
    assert {clip.path.stem: one.decoding for clip, one in zip(chosen, once, strict=True)} == {
        "counting": "solo",
        "hello_world": "packed",
        "quick_brown_fox": "packed",
    }
    once = listen(model, utterances, audio_of, Asr(disputed_alone=False))
    assert {one.decoding for one in once} == {"packed"}
    for one, clip in zip(once, chosen, strict=True):
        assert one.text == clip.text and one.text_origin == GIVEN
        assert [word.text for word in one.words] == clip.text.split()
        assert one.scores.min_word_logprob is not None and one.scores.min_word_logprob > -4.0
        assert one.scores.eot_logprob is not None and one.scores.eot_logprob > -5.0
        assert one.scores.llr is not None and one.scores.llr > -1.0


@pytest.mark.parametrize("pack", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_more_threads_give_the_same_records(tiny_en: Path, clips: list[Clip], pack: bool) -> None:
    chosen = [clip for clip in clips if clip.language == "en"]
    utterances, audio_of = [utterance(clip) for clip in chosen], [pcm(clip.path) for clip in chosen]
    asr = Asr(model=str(tiny_en), batch_size=1, pack=pack)
    one, three = (load(asr, Run(device="cpu", threads=threads)) for threads in (1, 3))
    assert [rounded(u) for u in listen(one, utterances, audio_of, asr)] == [
        rounded(u) for u in listen(three, utterances, audio_of, asr)
    ]
    assert one.statistics == three.statistics


@pytest.mark.parametrize(
    ("doubts", "alike", "expected", "decoding"),
    [
        pytest.param(0, True, 1, "packed", marks=pytest.mark.slow),
        pytest.param(1, False, 2, "packed", marks=pytest.mark.slow),
        (2, True, 2, "packed"),  # what is heard twice is what Whisper hears
        (2, False, 2 + len(ENGLISH), "solo"),
    ],
)
def test_a_doubtful_clip_is_packed_again_and_then_heard_alone(
    tiny_en: Path,
    clips: list[Clip],
    monkeypatch: pytest.MonkeyPatch,
    doubts: int,
    alike: bool,
    expected: int,
    decoding: str,
) -> None:
    model, chosen = whisper(tiny_en), named(clips, *ENGLISH)
    utterances, audio_of = [utterance(clip) for clip in chosen], [pcm(clip.path) for clip in chosen]
    windows = len(pack([len(samples) for samples in audio_of], ["en"] * len(chosen), Asr().gap_s))
    assert windows == len(pack([len(samples) for samples in audio_of], ["en"] * len(chosen), 1.0)) == 1
    calls, texts = iter(range(100)), map(str, range(100))
    monkeypatch.setattr(module, "is_doubtful", lambda *_: next(calls) < doubts * 3)
    monkeypatch.setattr(module, "normalize", (lambda *_: "the same") if alike else (lambda *_: next(texts)))
    before = model.statistics.windows_decoded
    found = listen(model, utterances, audio_of)
    assert model.statistics.windows_decoded - before == expected
    assert {one.decoding for one in found} == {decoding}
    assert all(one.hypothesis and one.words for one in found)


@pytest.mark.parametrize(
    "wrong",  # nearly what is said, and nothing like it
    ["Hello word.", pytest.param("Good morning, all of you.", marks=pytest.mark.slow)],
)
def test_a_clip_that_speaks_against_its_given_text_is_heard_alone(tiny_en: Path, clips: list[Clip], wrong: str) -> None:
    model, chosen = whisper(tiny_en), named(clips, *ENGLISH)
    audio_of = [pcm(clip.path) for clip in chosen]
    second, third = (utterance(clip, text=clip.text) for clip in chosen[1:])
    utterances = [utterance(chosen[0]), dataclasses.replace(second, text=wrong), third]
    before = model.statistics.windows_decoded
    found = listen(model, utterances, audio_of)
    assert model.statistics.windows_decoded == before + 2
    assert [one.decoding for one in found] == ["packed", "solo", "packed"]
    (alone,) = listen(model, utterances[1:2], audio_of[1:2], Asr(pack=False))
    assert rounded(found[1]) == rounded(alone) and found[1].text == wrong
    unheard = listen(model, utterances, audio_of, Asr(disputed_alone=False))
    assert [one.decoding for one in unheard] == ["packed"] * 3
    assert found[::2] == unheard[::2]
    assert (unheard[1].scores.llr or 0.0) < 0.0 or cer(wrong, unheard[1].hypothesis or "", "en") > 0.5


@pytest.mark.parametrize(
    "low",
    ["_SURE_EOT_LOGPROB", *(pytest.param(f"_SURE_{name}_LOGPROB", marks=pytest.mark.slow) for name in ("AVG", "WORD"))],
)
def test_a_packed_clip_with_low_scores_is_heard_as_it_is_alone(
    tiny_en: Path, clips: list[Clip], monkeypatch: pytest.MonkeyPatch, low: str
) -> None:
    model, chosen = whisper(tiny_en), named(clips, *ENGLISH)
    audio_of = [pcm(clip.path) for clip in chosen]
    utterances = [utterance(chosen[0]), utterance(chosen[1]), utterance(chosen[2], text=chosen[2].text)]
    assert {one.decoding for one in listen(model, utterances, audio_of)} == {"packed"}
    monkeypatch.setattr(doubt, low, 0.0)  # all are below
    found = listen(model, utterances, audio_of)
    assert {one.decoding for one in found} == {"solo"}
    alone = listen(model, utterances, audio_of, Asr(pack=False))
    assert [rounded(one) for one in found] == [rounded(one) for one in alone]
    assert {one.decoding for one in listen(model, utterances, audio_of, Asr(disputed_alone=False))} == {"packed"}


@pytest.mark.parametrize(
    "names",
    [
        ("zh/pangrama", "en/quick_brown_fox", "zh/nihao_shijie"),
        pytest.param(
            ("zh/pangrama", "en/quick_brown_fox", "zh/nihao_shijie", "pt/pangrama", "en/hello_world"),
            marks=pytest.mark.slow,
        ),
    ],
    ids=len,
)
def test_unknown_languages_are_identified_and_mixed_windows_repacked(
    whisper_base: Path, clips: list[Clip], names: tuple[str, ...]
) -> None:
    model, chosen = whisper(whisper_base), named(clips, *names)
    utterances, audio_of = [utterance(clip, language=None) for clip in chosen], [pcm(clip.path) for clip in chosen]
    found = listen(model, utterances, audio_of)
    assert [one.language for one in found] == [clip.language for clip in chosen]
    assert {one.language_origin for one in found} == {ASR}
    assert all((one.scores.language_prob or 0.0) > 0.5 for one in found)
    for one, clip in zip(found, chosen, strict=True):
        assert one.hypothesis and cer(clip.text, one.hypothesis, clip.language) < 0.4


@pytest.mark.slow
def test_a_language_that_packing_left_doubtful_is_asked_of_the_clip_alone(
    whisper_base: Path, clips: list[Clip]
) -> None:
    model = whisper(whisper_base)
    chosen = named(clips, "en/counting", "fr/comptage", "hi/namaste_duniya", "it/conteggio", "ja/konnichiwa_sekai")
    audio_of = [pcm(clip.path) for clip in chosen]
    packed = listen(model, [utterance(clip, language=None) for clip in chosen], audio_of)
    alone = listen(model, [utterance(clip, language=None) for clip in chosen], audio_of, Asr(pack=False))
    assert [one.language for one in packed] == [one.language for one in alone]
    assert sum(one.language == clip.language for one, clip in zip(packed, chosen, strict=True)) == 4


def test_only_the_candidates_are_identified(whisper_base: Path, clips: list[Clip]) -> None:
    model, (clip,) = whisper(whisper_base), named(clips, "en/hello_world")
    (found,) = listen(model, [utterance(clip, language=None)], [pcm(clip.path)], Asr(languages=("es", "fr")))
    assert found.language in ("es", "fr")


def test_candidates_that_the_model_does_not_know_are_an_error(whisper_base: Path, tiny_en: Path) -> None:
    with pytest.raises(LLaSOError, match=r"asr\.languages: the Whisper model knows no xx; it knows en, zh"):
        transcriber(whisper(whisper_base), Asr(languages=("en", "xx")), Align())
    with pytest.raises(LLaSOError, match=r"knows no fr; it knows en$"):
        transcriber(whisper(tiny_en), Asr(languages=("fr",)), Align())


def test_what_cannot_be_heard_says_why_and_costs_the_others_nothing(tiny_en: Path, clips: list[Clip]) -> None:
    model, (good, french) = whisper(tiny_en), named(clips, "en/hello_world", "fr/bonjour_monde")
    broken = failed(utterance(good), "truncated", "made for the test")
    empty = recorded(np.zeros(0, dtype=np.int16))
    silent = dataclasses.replace(empty, id="0" * 32)
    found = listen(
        model,
        [utterance(french), broken, empty, utterance(good, language=None), silent],
        [pcm(french.path), None, np.zeros(0, dtype=np.int16), pcm(good.path), None],
    )
    assert [one.failure and one.failure.reason for one in found] == [
        "language_unsupported",
        "truncated",
        "empty",
        None,
        None,
    ]
    assert found[1] == broken and found[4] == silent
    assert wer(good.text, found[3].hypothesis or "", "en") == 0.0
    assert (found[3].language, found[3].language_origin) == ("en", ASR)
    assert listen(model, [], []) == []


@pytest.mark.parametrize("text", [pytest.param(None, marks=pytest.mark.slow), "Hello world, how are you today?"])
def test_clips_too_short_to_say_anything_come_back(tiny_en: Path, clips: list[Clip], text: str | None) -> None:
    model, (clip,) = whisper(tiny_en), named(clips, "en/hello_world")
    audio_of = [pcm(clip.path)[:1], pcm(clip.path)[:319], pcm(clip.path)[2_000:4_000], pcm(clip.path)]
    found = listen(model, [recorded(samples, text) for samples in audio_of], audio_of)
    assert [one.failure for one in found] == [None] * 4
    assert "Hello" in (found[3].hypothesis or "")
    for one, samples in zip(found, audio_of, strict=True):
        assert all(0.0 <= word.start_s <= word.end_s <= len(samples) / 16_000 for word in one.words)
        assert one.text == text if text else one.text == (one.hypothesis or None)


def test_a_long_transcript_is_dealt_to_its_segments(tiny_en: Path, clips: list[Clip]) -> None:
    chosen = named(clips, "en/quick_brown_fox", "fr/pangrama", "en/hello_world")
    silence = np.zeros(32_000, dtype=np.int16)
    samples = np.concatenate([part for clip in chosen for part in (pcm(clip.path), silence)])
    text = f"{chosen[0].text} {chosen[2].text}"  # nobody wrote down the French
    pieces = segment(recorded(samples, text), samples, Segment(longer_than_s=5.0))
    assert len(pieces) == 3
    found = listen(whisper(tiny_en), [piece for piece, _ in pieces], [part for _, part in pieces])
    assert [one.text for one in found] == [chosen[0].text, None, chosen[2].text]
    assert [one.scores.extra.get("given_unmatched") for one in found] == [None, 1.0, None]
    assert [" ".join(word.text for word in one.words) for one in found] == [chosen[0].text, "", chosen[2].text]
    assert found[0].scores.min_word_logprob is not None and found[1].scores.min_word_logprob is None


def test_words_of_a_packed_clip_have_the_times_of_the_clip_alone(tiny_en: Path, clips: list[Clip]) -> None:
    model, chosen = whisper(tiny_en), [clip for clip in clips if clip.language == "en"]
    utterances, audio_of = [utterance(clip, text=clip.text) for clip in chosen], [pcm(clip.path) for clip in chosen]
    packed, alone = listen(model, utterances, audio_of), listen(model, utterances, audio_of, Asr(pack=False))
    pairs = zip([w for one in packed for w in one.words], [w for one in alone for w in one.words], strict=True)
    apart_s = [abs(together.start_s - apart.start_s) for together, apart in pairs]
    assert np.median(apart_s) <= 0.06 and max(apart_s) < 0.6
