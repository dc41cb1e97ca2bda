"""Leakage: what was planted is found, whatever was done to it; what is different is not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from llaso_data import audio
from llaso_data.audio import SAMPLE_RATE_HZ, Pcm
from llaso_data.instruct.leakage.find import CLIP, NEAR_WORDS, SAMPLE, SOUND, WORDS, Leak, OtherSets, find_leaks
from llaso_data.instruct.leakage.fingerprint import fingerprint
from llaso_data.instruct.leakage.presence import Presence
from llaso_data.instruct.leakage.sounds import SoundIndex, thinned
from llaso_data.instruct.leakage.texts import NormalText, TextIndex
from llaso_data.instruct.leakage.traits import SampleTraits, traits_of
from llaso_data.records import Message, Sample, Source, Utterance
from tests.conftest import Clip
from tests.support.coded_sounds import coded, resampled

CUT = SAMPLE_RATE_HZ // 5


def louder(pcm: Pcm) -> Pcm:
    return np.clip(2 * pcm.astype(np.int32), -32768, 32767).astype(np.int16)


CHANGES: dict[str, Callable[[Pcm], Pcm]] = {
    "opus 24": lambda pcm: coded(pcm, "libopus", 24_000, 48_000, "ogg"),
    "mp3 32": lambda pcm: coded(pcm, "libmp3lame", 32_000, 16_000, "mp3"),
    "telephone": lambda pcm: resampled(resampled(pcm, 16_000, 8_000), 8_000, 16_000),
    "22 kHz": lambda pcm: resampled(resampled(pcm, 16_000, 22_050), 22_050, 16_000),
    "+6 dB": louder,
    "-6 dB": lambda pcm: pcm // 2,
    "begins later": lambda pcm: pcm[CUT:],
    "ends earlier": lambda pcm: pcm[:-CUT],
    "opus, later": lambda pcm: CHANGES["opus 24"](pcm)[CUT + 100 :],
}


@pytest.fixture(scope="module")
def sounds(clips: list[Clip]) -> list[Pcm]:
    """At most four seconds of each clip."""
    return [audio.decode(str(clip.path))[0][: 4 * SAMPLE_RATE_HZ] for clip in clips]


@pytest.fixture(scope="module")
def index(sounds: list[Pcm]) -> SoundIndex:
    return SoundIndex.of([thinned(fingerprint(pcm).codes) for pcm in sounds])


@pytest.mark.parametrize("change", CHANGES)
def test_the_same_sound_is_found_and_no_other(change: str, sounds: list[Pcm], index: SoundIndex) -> None:
    for number in range(0, len(sounds), 9):
        found = index.find(fingerprint(CHANGES[change](sounds[number])))
        assert [one.clip for one in found] == [number]


def test_clips_are_not_taken_for_each_other(sounds: list[Pcm], index: SoundIndex) -> None:
    for number, pcm in enumerate(sounds):
        assert [one.clip for one in index.find(fingerprint(pcm))] == [number]


def test_silence_and_scraps_are_found_nowhere(index: SoundIndex) -> None:
    for pcm in (np.zeros(0, np.int16), np.zeros(80_000, np.int16), np.ones(5_000, np.int16)):
        assert index.find(fingerprint(pcm)) == []


def test_no_key_that_is_there_is_passed_over_and_most_others_are() -> None:
    keys = np.random.default_rng(0).integers(0, 1 << 63, 20_000, np.uint64)
    presence = Presence.of(keys[:10_000])
    assert presence.may_have(keys[:10_000]).all()
    assert presence.may_have(keys[10_000:]).mean() < 0.15
    assert not Presence.of(keys[:0]).may_have(keys).any()


def test_no_text_with_one_word_changed_is_missed() -> None:
    sentence = ["enter", "the", "number", "of", "your", "account", "and", "press", "pound"]
    for length in range(5, len(sentence) + 1):
        index = TextIndex.of([NormalText.of(" ".join(sentence[:length]), "en")])
        for place in range(length):
            changed = [*sentence[:place], "incomprehensibility", *sentence[place + 1 : length]]
            (found,) = index.find(NormalText.of(" ".join(changed), "en"))
            assert found.changed == round(1 / length, 4)


def test_other_texts_are_not_near() -> None:
    index = TextIndex.of([NormalText.of("Your mailbox is full, please delete a message.", "en")])
    assert index.find(NormalText.of("Your account is empty, please pay by card.", "en")) == []
    assert TextIndex.of([]).find(NormalText.of("one two three four five", "en")) == []


def test_texts_without_spaces_are_compared_by_characters() -> None:
    index = TextIndex.of([NormalText.of("请输入您的电话号码，然后按井号键。", "zh")])
    (found,) = index.find(NormalText.of("請輸入您的帳話號碼然後按井號鍵", "zh"))
    assert found.changed == round(1 / 15, 4)


def sample(name: str, text: str, pcm: Pcm | None = None) -> SampleTraits:
    utterance = Utterance(
        id=name, recording=name, source=Source(corpus="c", uri=f"{name}.wav"), text=text, language="en"
    )
    messages = (Message.of("user", "Transcribe the speech.", 0), Message.of("assistant", text))
    traits = traits_of(Sample(task="asr", messages=messages, audios=(utterance,)), where=name)
    return traits if pcm is None else traits.hearing([(audio.audio_id(pcm), fingerprint(pcm))])


def test_each_kind_is_counted_once_and_instructions_are_no_leak(sounds: list[Pcm]) -> None:
    one, two, three, four, five = sounds[::5][:5]
    test_set = [
        sample("a", "the first sentence of the test", one),
        sample("b", "the second sentence of the test", two),
        sample("c", "nothing that the others say", three),
    ]
    train = [
        sample("a", "the first sentence of the test", one),
        sample("d", "what is said is not known", louder(two)),
        sample("e", "Nothing, that the others SAY!", four),
        sample("f", "nothing that the others said", five),
        sample("g", "something else", five[CUT:]),
    ]
    report = find_leaks(train, OtherSets({"test": test_set}))
    assert report.counts == {"test": {SAMPLE: 1, CLIP: 1, SOUND: 1, WORDS: 2, NEAR_WORDS: 2}}
    assert (report.samples, report.leaked, report.names) == (5, 4, ["a", "d", "e", "f"])
    assert report.examples[SOUND] == [
        Leak(kind=SOUND, where="d", other="test", other_where="b", differs=report.examples[SOUND][0].differs)
    ]
    assert find_leaks(train, OtherSets({"test": test_set}), [CLIP]).counts == {"test": {CLIP: 1}}


def test_a_prompt_without_sound_is_a_text() -> None:
    def asked(text: str, answer: str) -> SampleTraits:
        return traits_of(
            Sample(task="aqa", messages=(Message.of("user", text), Message.of("assistant", answer)), language="en")
        )

    report = find_leaks([asked("What is LOUD?", "a")], OtherSets({"test": [asked("what is loud", "b")]}))
    assert report.counts["test"] == {SAMPLE: 0, CLIP: 0, SOUND: 0, WORDS: 1, NEAR_WORDS: 0}


def test_a_clip_of_many_samples_and_sets_is_found_once_in_each(sounds: list[Pcm]) -> None:
    many = [sample(f"t{number}", "said in many samples of it", sounds[0]) for number in range(20)]
    others = OtherSets({"test": many[:10], "validation": many[10:]})
    found = list(others.leaks(sample("a", "said in many samples of it", louder(sounds[0]))))
    assert [(leak.kind, leak.other, leak.other_where) for leak in found] == [
        (SOUND, "test", "t0"), (SOUND, "validation", "t10"), (WORDS, "test", "t0"), (WORDS, "validation", "t10"),
    ]  # fmt: skip
