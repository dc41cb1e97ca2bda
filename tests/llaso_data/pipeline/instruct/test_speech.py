"""Texts become speech that Whisper understands: once each, the same after a kill, on Ray and on a store."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llaso_data import audio
from llaso_data.audio.encoding import encode
from llaso_data.errors import LLaSOError
from llaso_data.instruct.voices import Speech
from llaso_data.instruct.voices.cache import sealed
from llaso_data.instruct.voices.variation import Variation
from llaso_data.io import storage
from llaso_data.pipeline.instruct.requests import RequestStore
from llaso_data.pipeline.instruct.speech import Refusal, SpeechRequest, Spoken, SpokenLine, make_clip, speak_all
from llaso_data.recipe import Recipe
from llaso_data.records import Attribute, Source, Speaker, Utterance
from tests.conftest import Clip

needs_hibari = pytest.mark.skipif(not find_spec("hibari"), reason="hibari is not installed")

TEXTS = (
    "Please tell me what the speaker says.",
    "How many people are talking in this recording?",
    "Is it raining?",
    "What emotion does the voice convey?",
)
REQUESTS = [SpeechRequest(text, "en", take) for take in range(2) for text in TEXTS]
TONE = (8000 * np.sin(np.arange(16_000) / 5)).astype(np.int16)


def recipe(tiny_en: Path, engines: dict[str, Any] | None = None, **sections: Any) -> Recipe:
    voices = {"engines": engines or {"hibari": {}}, **sections.pop("voices", {})}
    sections.setdefault("run", {"engine": "local"})
    return Recipe.model_validate({"observe": {"asr": {"model": str(tiny_en)}}, "voices": voices, **sections})


def lines(spoken: Spoken, requests: Iterable[SpeechRequest]) -> list[SpokenLine]:
    found = [spoken[request] for request in requests]
    assert all(isinstance(one, SpokenLine) for one in found), found
    return [one for one in found if isinstance(one, SpokenLine)]


def committed(work: str) -> dict[str, bytes]:
    """The files of jobs, and the speech of the cache, by name."""
    return {
        row["path"]: storage.read_bytes(storage.join(work, row["path"]))
        for row in storage.listing(work)
        if row["path"].endswith((".parquet", ".flac"))
    }


@needs_hibari
@pytest.mark.slow
def test_texts_are_spoken_understood_and_kept_and_others_refused_by_name(tiny_en: Path, tmp_path: Path) -> None:
    refused = [SpeechRequest("Open https://example.org", "en"), SpeechRequest("Dzień dobry wszystkim", "pl")]
    work = str(tmp_path / "work")
    told: list[tuple[int, int]] = []
    spoken = speak_all([*REQUESTS, *refused, REQUESTS[0]], recipe(tiny_en), work, None, lambda *n: told.append(n))
    assert told[-1] == (10, 10) and len(spoken) == 10
    kept = lines(spoken, REQUESTS)
    assert all(one.cer <= 0.1 and one.name == "hibari/heart" and one.licence == "Apache-2.0" for one in kept)
    assert len({(one.speed, one.seed) for one in kept}) == len(kept)  # each take is another draw
    assert audio.decode(kept[0].uri)[0].any()
    assert [spoken[one].reason for one in refused if isinstance(spoken[one], Refusal)] == ["address", "no_voice"]
    assert spoken.refused == {"address": 1, "no_voice": 1}
    tally = spoken.tallies["hibari/heart", "en"]
    assert tally.lines - tally.rejected == 8 and tally.words > 40 and tally.failed == 0
    assert tally.seconds >= sum(one.duration_s for one in kept) - 0.01
    assert spoken.core_s.speaking > 0 and spoken.core_s.listening > 0

    # A rerun in another order speaks nothing, and gives the same.
    again = speak_all([*refused, *REQUESTS[::-1]], recipe(tiny_en), work)
    assert (again.core_s.speaking, again.core_s.listening) == (0, 0)
    assert again.tallies == spoken.tallies and again.refused == spoken.refused
    assert [again[one] for one in (*REQUESTS, *refused)] == [spoken[one] for one in (*REQUESTS, *refused)]

    clip = make_clip(kept[:2], Variation(), 0.5, "sample", str(tmp_path / "clips"))
    assert isinstance(clip, Utterance) and clip.text == f"{TEXTS[0]} {TEXTS[1]}"
    assert clip.duration_s == pytest.approx(kept[0].duration_s + kept[1].duration_s + 0.5, abs=0.01)


def test_what_cannot_be_spoken_is_refused_by_name_and_no_engine_is_asked(tiny_en: Path, tmp_path: Path) -> None:
    own = {"command": {"arguments": [sys.executable, "-c", "raise SystemExit(1)"], "voices": {"en": ["ann"]}}}
    texts = {
        "Open https://example.org": "address",
        "x = f(y)": "code",
        "😀": "no_letters",
        " ": "empty",
        "a\ud800b": "script",
    }
    requests = [SpeechRequest(text, "en", take) for text in texts for take in range(2)]
    spoken = speak_all([*requests, SpeechRequest("Guten Tag", "de")], recipe(tiny_en, own), str(tmp_path / "work"))
    assert spoken.refused == {"address": 2, "code": 2, "empty": 2, "no_letters": 2, "no_voice": 1, "script": 2}
    assert not spoken.tallies
    for request in requests:
        one = spoken[request]
        assert isinstance(one, Refusal) and one.reason == texts[request.text] and one.detail
    with pytest.raises(KeyError):
        spoken[SpeechRequest("Guten Tag", "en")]


def test_requests_are_sorted_and_distinct_whatever_order_they_come_in() -> None:
    requests = [
        SpeechRequest(f"text {number}", language, number % 3) for number in range(50) for language in ("zh", "en")
    ]
    with RequestStore(requests) as one, RequestStore([*requests[::-1], *requests[:9]]) as other:
        assert len(one) == len(other) == 100 and one.languages == ["en", "zh"]
        assert [one[n] for n in range(100)] == [other[n] for n in range(100)]
        assert np.array_equal(one.keys, other.keys)
        groups = list(one.groups(30))
        assert groups == [(0, 30), (30, 50), (50, 80), (80, 100)]
        for start, end in groups:
            inside = [one[n] for n in range(start, end)]
            assert len({request.language for request in inside}) == 1
            assert inside == sorted(inside, key=lambda request: request.key)


def said(tmp_path: Path, text: str = "Please listen.", pcm: Any = TONE) -> SpokenLine:
    """A line as :func:`speak_all` gives it, of a tone."""
    path = tmp_path / f"{len(pcm)}.flac"
    path.write_bytes(sealed(Speech(pcm, 24_000)))
    return SpokenLine(
        request=SpeechRequest(text, "en"),
        engine="command",
        voice="ann",
        speed=1.0,
        seed=1,
        cer=0.0,
        hypothesis=text,
        attempt=0,
        duration_s=len(pcm) / 24_000,
        uri=str(path),
        licence="MIT",
    )


def recording(clip: Clip) -> Utterance:
    source = Source(corpus="a corpus", uri=str(clip.path), license="cc0-1.0", consent="research")
    speaker = Speaker(id=Attribute("somebody", "given"))
    return Utterance(id="r" * 32, recording="r" * 32, source=source, text=clip.text, speaker=speaker)


def test_a_clip_has_pauses_and_surroundings_and_recordings_as_they_are(clips: list[Clip], tmp_path: Path) -> None:
    line, other = said(tmp_path), recording(clips[0])
    loud = Variation(room_share=1.0, noise_share=1.0)
    made = make_clip([line, other], loud, 0.5, "sample 1", str(tmp_path / "clips"))
    assert isinstance(made, Utterance) and made.duration_s is not None
    pcm, whole = audio.decode(made.source.uri)[0], audio.decode(str(clips[0].path))[0]
    assert audio.audio_id(pcm) == made.audio_id and len(pcm) == round(made.duration_s * 16_000)
    assert np.array_equal(pcm[-len(whole) :], whole)
    assert not pcm[-len(whole) - 8_000 : -len(whole)].any()
    assert made.text == "Please listen." and made.language == "en"
    assert made.speaker.id == Attribute("command/ann", "given")
    assert (made.source.license, made.source.consent) == ("MIT; cc0-1.0", "research")

    # Again: the same file, untouched. Another sample, another room.
    status = os.stat(made.source.uri)
    assert make_clip([line, other], loud, 0.5, "sample 1", str(tmp_path / "clips")) == made
    assert os.stat(made.source.uri).st_mtime_ns == status.st_mtime_ns
    elsewhere = make_clip([line, other], loud, 0.5, "sample 2", str(tmp_path / "clips"))
    assert isinstance(elsewhere, Utterance) and elsewhere.audio_id != made.audio_id


def test_a_clip_that_cannot_be_made_is_refused_by_name(clips: list[Clip], tmp_path: Path) -> None:
    folder = str(tmp_path / "clips")
    long = make_clip([said(tmp_path)] * 60, Variation(), 0.5, "k", folder)
    assert isinstance(long, Refusal) and long.reason == "too_long"
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF no sound")
    bad = dataclasses.replace(recording(clips[0]), source=Source(corpus="c", uri=str(broken)))
    refused = make_clip([said(tmp_path), bad], Variation(), 0.5, "k", folder)
    assert isinstance(refused, Refusal) and refused.reason == "unreadable" and "broken.wav" in refused.detail
    assert not Path(folder).exists()
    gone = dataclasses.replace(said(tmp_path), uri=str(tmp_path / "none.flac"))
    with pytest.raises(LLaSOError, match="gone from the cache"):
        make_clip([gone], Variation(), 0.5, "k", folder)


RUN = """
import sys
from llaso_data.pipeline.instruct.speech import SpeechRequest, speak_all
from llaso_data.recipe import Recipe
if __name__ == "__main__":
    work, model, engine = sys.argv[1:]
    texts = ("Is it raining?", "Please listen to it.")
    requests = [SpeechRequest(text, "en", take) for text in texts for take in range(6)]
    requests += [SpeechRequest("Guten Morgen", "de", take) for take in range(3)]  # a job of its own: nobody speaks it
    run = {"engine": engine, "num_workers": 1 if engine == "local" else 2}
    speak_all(requests, Recipe.model_validate({"observe": {"asr": {"model": model}}, "run": run}), work)
"""


@pytest.fixture(scope="module")
def undisturbed(tiny_en: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """The script, and what it writes when nobody disturbs it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "run.py").write_text(RUN)
    subprocess.run([sys.executable, folder / "run.py", folder / "work", tiny_en, "local"], check=True)
    return folder / "run.py", committed(str(folder / "work"))


@needs_hibari
@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_to_the_same_bytes(
    undisturbed: tuple[Path, dict[str, bytes]], tiny_en: Path, tmp_path: Path
) -> None:
    script, expected = undisturbed
    work = tmp_path / "work"
    killed = 0
    for pattern, count in (("voices/*/*.flac", 5), ("voices/*/*.json", 3), ("speech/heard/*", 1)):
        process = subprocess.Popen([sys.executable, script, work, tiny_en, "local"], start_new_session=True)
        while process.poll() is None and len(list(work.glob(pattern))) < count:
            time.sleep(0.02)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed >= 2
    subprocess.run([sys.executable, script, work, tiny_en, "local"], check=True)
    assert committed(str(work)) == expected
    assert not list(work.glob("speech/heard/*"))


@needs_hibari
@pytest.mark.slow
def test_ray_writes_the_same_bytes(undisturbed: tuple[Path, dict[str, bytes]], tiny_en: Path, tmp_path: Path) -> None:
    script, expected = undisturbed
    subprocess.run([sys.executable, script, tmp_path / "work", tiny_en, "ray"], check=True)
    assert committed(str(tmp_path / "work")) == expected


@needs_hibari
@pytest.mark.slow
@pytest.mark.usefixtures("server")
def test_on_a_store_it_is_the_same(tiny_en: Path, tmp_path: Path) -> None:
    results = {}
    for work in (str(tmp_path / "work"), "s3://speech/out/.build-instruct"):
        spoken = speak_all(REQUESTS, recipe(tiny_en), work)
        clip = make_clip(lines(spoken, REQUESTS[:1]), Variation(), 0.5, "k", work)
        again = make_clip(lines(spoken, REQUESTS[:1]), Variation(), 0.5, "k", work)
        assert clip == again and isinstance(clip, Utterance)
        assert audio.audio_id(audio.decode(clip.source.uri)[0]) == clip.audio_id
        assert speak_all(REQUESTS, recipe(tiny_en), work).core_s.listening == 0
        results[work] = committed(work)
    here, there = results.values()
    assert here == there


@needs_hibari
@pytest.mark.slow
def test_runs_share_a_cache_and_listen_once(tiny_en: Path, tmp_path: Path) -> None:
    shared = {"voices": {"cache": str(tmp_path / "cache")}}
    first = speak_all(REQUESTS[:4], recipe(tiny_en, **shared), str(tmp_path / "one"))
    heard = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").glob("*/*")}
    second = speak_all(REQUESTS, recipe(tiny_en, **shared), str(tmp_path / "two"))
    assert [second[one] for one in REQUESTS[:4]] == [first[one] for one in REQUESTS[:4]]
    assert {path: path.stat().st_mtime_ns for path in heard} == heard

    # What the cache has lost is spoken again; what is damaged there is told.
    line = lines(second, REQUESTS[:1])[0]
    whole = Path(line.uri).read_bytes()
    Path(line.uri).unlink()
    assert speak_all(REQUESTS, recipe(tiny_en, **shared), str(tmp_path / "two"))[REQUESTS[0]] == line
    assert Path(line.uri).read_bytes() == whole
    Path(line.uri).write_bytes(whole[:100])
    with pytest.raises(LLaSOError, match="damaged file in the cache of voices"):
        make_clip([line], Variation(), 0.5, "k", str(tmp_path / "clips"))


FLAKY = """
import sys, hashlib
seed, wav = sys.argv[1:]
sys.stdin.read()
if int(seed) % 2:
    raise SystemExit("no voice today")
sys.stdout.buffer.write(open(wav, "rb").read())
"""


@needs_hibari
@pytest.mark.slow
def test_an_engine_that_fails_or_is_misheard_is_tried_again(tiny_en: Path, tmp_path: Path) -> None:
    """A command that always says the same sentence, and fails at odd seeds."""
    from llaso_data.instruct.voices import engine

    wav = tmp_path / "said.wav"
    spoken = engine("hibari").speak(TEXTS[0], "en", "heart", 1.0, 0)
    wav.write_bytes(encode(spoken.pcm, "wav", spoken.rate_hz))
    arguments = [sys.executable, "-c", FLAKY, "{seed}", str(wav)]
    own = {"command": {"arguments": arguments, "voices": {"en": ["ann"]}, "repeats": True}}
    requests = [SpeechRequest(TEXTS[0], "en", take) for take in range(8)]
    result = speak_all([*requests, SpeechRequest(TEXTS[2], "en")], recipe(tiny_en, own), str(tmp_path / "work"))
    kept = [one for one in (result[request] for request in requests) if isinstance(one, SpokenLine)]
    assert any(one.attempt for one in kept) and all(one.seed % 2 == 0 for one in kept)
    never = result[SpeechRequest(TEXTS[2], "en")]
    assert isinstance(never, Refusal) and never.reason in ("misheard", "engine_failed")
    tally = result.tallies["command/ann", "en"]
    assert tally.failed > 0 and tally.rejected + tally.failed > 0
    assert tally.lines - tally.rejected == len(kept)


@pytest.mark.slow
def test_an_engine_that_is_not_there_ends_the_run_and_commits_nothing(tiny_en: Path, tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", "raise SystemExit('no server')"]
    own = {"command": {"arguments": arguments, "voices": {"en": ["ann"]}}}
    with pytest.raises(LLaSOError, match=r"command speaks none of 8 texts.*no server"):
        speak_all(REQUESTS, recipe(tiny_en, own), str(tmp_path / "work"))
    assert not list(tmp_path.glob("work/speech/*.parquet"))


def test_a_language_that_whisper_does_not_know_is_told_before_any_work(tiny_en: Path, tmp_path: Path) -> None:
    own = {"command": {"arguments": [sys.executable, "--version"], "voices": {"zh": ["ann"]}}}
    with pytest.raises(LLaSOError, match="does not know Chinese"):
        speak_all([SpeechRequest("请打开窗户。", "zh")], recipe(tiny_en, own), str(tmp_path / "work"))
    assert not (tmp_path / "work").exists()
