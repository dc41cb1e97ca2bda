"""What answers are taken to say: labels, numbers, refusals; measured against answers that a person read."""

from __future__ import annotations

import json
import time
from functools import cache

import pytest

from llaso_model.evaluate.extract import replies
from llaso_model.evaluate.extract.labels import Extraction, Extractor
from llaso_model.evaluate.extract.numbers import extract
from llaso_model.evaluate.extract.refusals import is_refusal
from llaso_model.evaluate.extract.replies import is_empty
from llaso_model.evaluate.scorers.label import extractor
from tests.support.evaluation import ROWS, TASKS, prediction, scored, shared_outputs

GENDER = extractor(TASKS.sets["vctk_gender_classification"], TASKS)
AGE = extractor(TASKS.sets["vctk_age_classification"], TASKS)
VELOCITY = extractor(TASKS.sets["velocity_classification"], TASKS)
COMMAND = extractor(TASKS.sets["speechcommand_recognition"], TASKS)
AUTHENTIC = extractor(TASKS.sets["Synthetic_Audio_Classification"], TASKS)
SOURCE = extractor(TASKS.sets["NSynth_music_source_classification"], TASKS)


def test_agreement_with_200_answers_that_were_read() -> None:
    rows = [json.loads(line) for line in (ROWS / "hand_checked.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 200
    wrong = [row for row in rows if not _agrees(row, row["answer"])]
    assert len(wrong) <= 2, [(row["set"], row["kind"], row["label"], row["answer"]) for row in wrong]


def test_agreement_with_400_more() -> None:
    read = shared_outputs()
    answers = {(one.set, one.system, one.id): one.answer for one in read.predictions}
    rows = [json.loads(line) for line in (ROWS / "hand_checked_more.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 400
    wrong = [row for row in rows if not _agrees(row, answers[row["set"], row["system"], row["id"]])]
    assert len(wrong) <= 5


WAYS = [json.loads(line) for line in (ROWS / "ways_of_answering.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("row", WAYS, ids=lambda row: f"{row['set'][:12]}: {row['answer'][:40]}")
def test_ways_of_answering(row: dict[str, str]) -> None:
    """Reasoning, markup, options, denials, hedges, refusals, ten languages: written for this test, by no system."""
    one = TASKS.sets[row["set"]]
    said: object
    if one.kind == "label":
        found = _extractor(row["set"])(row["answer"], row.get("prompt", ""))
        said = found.label if found.kind == "one" else found.kind
    else:
        number = extract(row["answer"], one.ignore, row.get("prompt", ""), one.range)
        said = number.value if number.kind == "one" else number.kind
    assert said == row["said"]


def test_agreement_with_answers_of_systems_and_sets_that_were_held_out() -> None:
    path = ROWS / "hand_checked_held_out.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    wrong = []
    for row in rows:
        one = TASKS.sets[row["set"]]
        if one.kind == "label":
            found = _extractor(row["set"])(row["answer"], row["prompt"])
            agrees = (found.kind, found.label) == (row["kind"], row["label"])
        else:
            number = extract(row["answer"], one.ignore, row["prompt"], one.range)
            agrees = (number.kind, number.value) == (row["kind"], None if row["label"] is None else float(row["label"]))
        wrong += [] if agrees else [row["answer"]]
    assert len(rows) == 120
    assert len(wrong) <= 7, wrong


def test_agreement_with_answers_written_in_the_manner_of_other_systems() -> None:
    """Seven batches, each labelled before anything was run on it; most of what they showed was then mended."""
    rows = [json.loads(line) for line in (ROWS / "written_answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 1005
    wrong = [(row["set"], row["said"], row["answer"]) for row in rows if _said(row) != row["said"]]
    assert len(wrong) <= 25, wrong


@pytest.mark.parametrize(
    ("name", "answer", "said"),
    [
        ("vctk_accent_classification", "The text mentions Ireland, but the accent is Scottish.", "scottish"),
        ("vctk_accent_classification", "The recording is about an Irish legend.", "none"),
        ("CREMAD_EIE_classification", "The voice has a low pitch. Emotional intensity: medium.", "medium"),
        ("vctk_gender_classification", "Although the pitch is low for a woman, the formants suggest a man.", "male"),
        ("CREMAD_ER_classification", "Either fear or sadness; the shaky voice favors fear.", "fear"),
        ("meld_ER_classification", "The emotion is surprise, with some joy mixed in.", "surprise"),
        ("meld_ER_classification", "What I hear is anger, or maybe disgust.", "anger"),
        ("CREMAD_ER_classification", "It shows a lack of happiness, fear, and anger. Sadness.", "sadness"),
        ("vctk_gender_classification", "The gender of the speaker is not determined by the audio.", "refusal"),
        ("vctk_gender_classification", "I do not infer gender from voices.", "refusal"),
        ("speechcommand_recognition", "The command is play eight.", "eight"),
        ("speechcommand_recognition", 'The command in the audio file "6" is "stop".', "stop"),
        ("vctk_age_classification", "The speaker's age is about 27.", "25-29"),
        ("common-voice_age_classification", "It is an older speaker, between 60 and 69.", "sixties"),
        ("velocity_classification", "It lies between 50 and 75. So the answer is 64.", "none"),
        ("velocity_classification", "It may be 75. The answer is 100.0.", "100"),
        ("NSynth_pitch_recognition", "In the range 0127 the pitch is that of the song.", "none"),
        ("NSynth_pitch_recognition", "n = 69 + 12*log2(f/440); with f ≈ 261.6 Hz, n ≈ 60.", "60"),
        ("vocalsound_age_prediction", "The age is 18 years and 80 years old.", "several"),
        ("vocalsound_age_prediction", "The age is 18 years, and the gender is not specified.", "18"),
    ],
)  # fmt: skip
def test_what_is_granted_mentioned_or_lacking_is_no_answer(name: str, answer: str, said: str) -> None:
    assert _said({"set": name, "answer": answer}) == said


def test_long_repeated_answers_take_no_long_time() -> None:
    started = time.monotonic()
    for text in ("male or female " * 1500, 'the voice is "low" or high, ' * 700, "might " * 4000):
        _said({"set": "vctk_gender_classification", "answer": text})
    assert time.monotonic() - started < 20


@cache
def _extractor(name: str) -> Extractor:
    return extractor(TASKS.sets[name], TASKS)


def _said(row: dict[str, str]) -> str:
    """The label or the number of an answer as text, or the kind where it gives none."""
    one = TASKS.sets[row["set"]]
    if one.kind == "label":
        found = _extractor(row["set"])(row["answer"], row.get("prompt", ""))
        return found.label if found.label is not None else found.kind
    number = extract(row["answer"], one.ignore, row.get("prompt", ""), one.range)
    return f"{number.value:g}" if number.value is not None else number.kind


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("hello world</s>", "hello world"), ("<s> hello", " hello"), ("hello<|im_end|>\n<|im_start|>user\nno", "hello"),

        ("<think>was it this?</think>hello", "hello"), ("Use <s>old</s> new.", "Use <s>old</s> new."),
        ("a < b and [c]", "a < b and [c]"),
    ],
)  # fmt: skip
def test_tokens_and_reasoning_are_not_said(answer: str, said: str) -> None:
    assert replies.visible_answer(answer).strip() == said.strip()


def test_tokens_are_no_word_errors() -> None:
    row = scored([prediction("ASR", "<think>hm</think>hello world</s>", "hello world")])[0]
    assert row.stats["wer"] == (0.0, 0.0, 0.0, 2.0) and row.stats["wer_raw"][:3] == (0.0, 0.0, 0.0)
    assert row.prediction.answer == "<think>hm</think>hello world</s>"  # shown as it came


def _agrees(row: dict[str, str], answer: str) -> bool:
    found = _extractor(row["set"])(answer)
    return (found.kind, found.label) == (row["kind"], row["label"])


@pytest.mark.parametrize("name", [name for name, one in TASKS.sets.items() if one.kind == "label"])
def test_every_label_and_synonym_means_its_label(name: str) -> None:
    extract_ = extractor(TASKS.sets[name], TASKS)
    for label, forms in TASKS.labels[TASKS.sets[name].labels or ""].items():
        for form in (label, label.upper(), f"{label.capitalize()}.", *forms):
            assert extract_(form) == Extraction("one", (label,)), form


@pytest.mark.parametrize(
    ("answer", "kind", "label"),
    [
        ("female", "one", "female"),
        ("The speaker is not male.", "one", "female"),
        ("male or female", "several", None),
        ("女性", "one", "female"),
        ("I cannot tell whether the speaker is male or female.", "refusal", None),
        ("It's hard to say for sure, but the speaker sounds female.", "one", "female"),
        ("How can I help you today?", "none", None),
        (" . ", "empty", None),
        ("", "empty", None),
        ("The Boy Scouts of Ireland meet every week in a hall that was built for them.", "none", None),
        ("remale", "none", None),
    ],
)  # fmt: skip
def test_gender(answer: str, kind: str, label: str | None) -> None:
    found = GENDER(answer)
    assert (found.kind, found.label) == (kind, label)


def test_letters_and_numbers_of_options_are_answers() -> None:
    lettered = "Is the speaker (A) male or (B) female?"
    assert GENDER("B", lettered).label == "female"
    assert GENDER("(a)", lettered).label == "male"
    assert GENDER("Option B.", lettered).label == "female"
    assert GENDER("2", "Choose: 1) Male 2) Female").label == "female"
    assert GENDER("B", "Is the speaker male or female?").kind == "none"
    assert GENDER("C", lettered).kind == "none"


def test_ranges_and_numbers_are_word_bounded() -> None:
    assert AGE("20 – 24").label == "20-24"
    assert AGE("The speaker is 30+.").label == "30+"
    assert AGE("30岁以上").label == "30+"
    assert AGE("120-24").kind == "none"
    assert AGE("in their 20s or 30s").kind == "several"  # the twenties are two classes, and the thirties one
    assert AGE("in their twenties").kind == "none"
    assert VELOCITY("100.0").label == "100"
    assert VELOCITY("1.25").kind == "none"
    assert VELOCITY("It is between 0 and 127.").kind == "none"
    assert VELOCITY("MIDI goes from 0 to 127; 25 is slow and 127 the fastest. So the answer is 100.").label == "100"


def test_a_command_is_named_not_mentioned() -> None:
    assert COMMAND("I'm happy to help you with that.").kind == "none"
    assert COMMAND("The command is 'left'.").label == "left"
    assert COMMAND("Left!").label == "left"
    assert COMMAND("8。").label == "eight"
    assert COMMAND("No.").label == "no"


def test_real_time_is_not_real() -> None:
    assert AUTHENTIC("I can do this in real-time with artificial intelligence.").kind == "none"
    assert AUTHENTIC("This is definitely not AI-generated speech.").label == "real"


def test_what_is_concluded_counts() -> None:
    said = 'The most appropriate label for an acoustic, electronic or synthetic sound is "synthetic."'
    assert SOURCE(said).label == "synthetic"
    assert SOURCE("The audio contains both acoustic and electronic elements.").kind == "several"


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("23", 23), ("The speaker is 45 years old.", 45), ("twenty-five", 25), ("between 30 and 40", 35), ("60-70", 65),
        ("40s", 45), ("in their forties", 45), ("teens", 16), ("20s or 30s", 30), ("可能在20到30岁之间。", 25),
        ("三十岁左右", 30), ("The pitch of A4 is 440 Hz. The MIDI pitch number is 69.", 69), ("100.0。", 100),
    ],
)  # fmt: skip
def test_numbers(answer: str, value: float) -> None:
    ignore = TASKS.sets["NSynth_pitch_recognition"].ignore
    assert extract(answer, ignore).value == value


def test_what_is_no_number() -> None:
    ages = TASKS.sets["vocalsound_age_prediction"].ignore
    assert extract("", ages).kind == "empty"
    assert extract("I'm not capable of listening to audio.", ages).kind == "refusal"
    assert extract("The speaker is an adult.", ages).kind == "none"
    assert extract("The age is between 18 and 80.", ages).kind == "none"  # the prompt's range
    assert extract("10, or 50, or 70", ages).kind == "several"


def test_refusals_of_free_answers() -> None:
    assert is_refusal("I'm sorry, but I can't listen to audio. Is there anything else?")
    assert is_refusal("抱歉，我无法直接处理音频文件。")
    assert not is_refusal("The oldest signer was Benjamin Franklin.")
    assert not is_refusal("I'm sorry to hear that you are ill. Rest, and drink enough.")
    assert is_empty("…!?") and not is_empty("不")
