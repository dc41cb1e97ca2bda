"""The card's examples: groups to choose from, each example with text, scores and sound."""

from __future__ import annotations

import difflib
import itertools
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from llaso_data.languages import language_name
from llaso_data.pipeline import commit
from llaso_data.pipeline.calibrated import fitted_of
from llaso_data.records import GIVEN, UNKNOWN, Utterance, Word
from llaso_data.report.card_data import CardData, verdict_numbers
from llaso_data.report.clips import MAX_SOUND_S, RowLocation, Sound, find_rows, load_sound, read_rows, text_pieces
from llaso_data.report.reasons import MEASURES, title, why
from llaso_data.report.rejections import place as place_of
from llaso_data.report.sections import duration_text
from llaso_data.text import letters, normalize, word_spans
from llaso_data.uris import shown

BUDGET_BYTES = 8_500_000  # of the page for examples; in base64 they grow by a third, and the page stays under 15 MB
_MARKUP_BYTES = 7_000  # of one example without its text and sound
_MARKUP_PER_CHARACTER = 40  # a word of four letters is an element of its own, in the text and in what was heard
_LONGEST_TEXT = 2_000
_SHORT = {
    "avg_logprob": "avg log-prob",
    "min_word_logprob": "least word",
    "eot_logprob": "end of text",
    "llr": "likelihood ratio",
    "cer": "CER",
}
_RIGHT_TO_LEFT = ("R", "AL")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text: a word with its times in seconds, or what stands between words."""

    text: str
    start_s: float | None = None
    end_s: float | None = None
    weakest: bool = False


@dataclass(frozen=True, slots=True)
class Example:
    """One utterance to listen to.

    ``heard`` is the hypothesis in parts, each with whether it differs from the text; empty where both agree.
    """

    name: str
    place: str
    language: str
    language_name: str
    corpus: str
    speaker: str
    duration: str
    decoding: str
    given: bool
    direction: str
    text: tuple[Piece, ...]
    heard: tuple[tuple[str, bool], ...]
    same: bool
    verdict: str
    scores: tuple[tuple[str, str], ...]
    sound: Sound
    cut: bool
    size_bytes: int = field(compare=False, default=0)


@dataclass(frozen=True, slots=True)
class Group:
    """The examples of one rule.

    Attributes:
        rule: empty for the accepted.
        title: for a heading.
        why: what the rule rejects, in a sentence.
        number: of all utterances of the group.
        examples: those that the page shows.
        left_out: examples that did not fit into the page.
    """

    rule: str
    title: str
    why: str
    number: int
    examples: list[Example]
    left_out: int


def groups(align: str, data: CardData, budget_bytes: int = BUDGET_BYTES) -> list[Group]:
    """Choose the card's examples, group by group in turns, until the page is full.

    Args:
        align: build-align's output.
        data: what was collected of it.
        budget_bytes: of the page, for examples.

    Returns:
        The group of the accepted, then the rules that reject most.
    """
    blocks, chosen = data.manifest["blocks"], data.examples.chosen() if data.examples.count else {}
    sizes = {rule: sum(by_language.values()) for rule, by_language in data.examples.sizes.items()}
    order = sorted(chosen, key=lambda rule: (rule != "", -sizes[rule], rule))
    records = read_rows(align, blocks, [place for places in chosen.values() for place in places])
    verdicts = _verdicts(align, data, records)
    columns = {judging.name: judging.column for judging in fitted_of(data.manifest).rules(data.recipe.judge)}
    examples: dict[str, list[Example]] = {rule: [] for rule in order}
    spent, full = 0, False
    for turn in range(data.examples.count):
        for rule in order:
            if full or turn >= len(chosen[rule]):
                continue
            example = _example(records[chosen[rule][turn]], rule, columns.get(rule, ""), verdicts)
            full = spent + example.size_bytes > budget_bytes
            if not full:
                examples[rule].append(example)
                spent += example.size_bytes
    return [
        Group(
            rule,
            title(rule) if rule else "Accepted",
            why(rule) if rule else "What passed every rule.",
            sizes[rule],
            examples[rule],
            len(chosen[rule]) - len(examples[rule]),
        )
        for rule in order
    ]


def _verdicts(
    align: str, data: CardData, records: dict[RowLocation, Utterance]
) -> Callable[[Utterance], tuple[float, float]]:
    """(value, threshold) that the verdict table has for an utterance; NaN where it has none."""
    ids = {utterance.id for utterance in records.values()}
    numbers = verdict_numbers(commit.verdicts_uri(align, data.manifest["verdicts"]), ids)
    return lambda utterance: numbers[utterance.id]


def _example(
    utterance: Utterance, rule: str, column: str, verdicts: Callable[[Utterance], tuple[float, float]]
) -> Example:
    heard_sound = load_sound(utterance)
    text = (utterance.text or "")[:_LONGEST_TEXT]
    heard = (utterance.hypothesis or "")[:_LONGEST_TEXT]
    given = utterance.text_origin == GIVEN
    same = normalize(text, utterance.language) == normalize(heard, utterance.language)
    weakest = _weakest(utterance.words) if rule == "consistency.min_word_logprob" else None
    source = utterance.source
    length_s = utterance.duration_s or 0.0
    return Example(
        name=(source.member or shown(source.uri)).rstrip("/").rsplit("/", 1)[-1],
        place=place_of_utterance(utterance),
        language=utterance.language or "",
        language_name=language_name(utterance.language) if utterance.language else "",
        corpus=source.corpus,
        speaker="" if utterance.speaker.id.value == UNKNOWN else utterance.speaker.id.value,
        duration=duration_text(length_s),
        decoding={"packed": "decoded with others", "solo": "decoded alone"}.get(utterance.decoding or "", ""),
        given=given,
        direction=direction(text or heard),
        text=tuple(_piece(part, word, weakest) for part, word in text_pieces(text, utterance.words)),
        heard=() if same or not given else tuple(differences(text, heard, utterance.language)),
        same=same and given,
        verdict=_verdict_text(rule, column, *verdicts(utterance)) if rule else "",
        scores=tuple(_scores(utterance, column)),
        sound=heard_sound,
        cut=length_s > MAX_SOUND_S + 0.1,
        size_bytes=len(heard_sound.opus) + _MARKUP_BYTES + _MARKUP_PER_CHARACTER * (len(text) + len(heard)),
    )


def _piece(text: str, word: Word | None, weakest: Word | None) -> Piece:
    if word is None:
        return Piece(text)
    return Piece(text, word.start_s, word.end_s, word is weakest)


def _weakest(words: Sequence[Word]) -> Word | None:
    scored = [word for word in words if word.logprob is not None]
    said = [word for word in scored if letters(word.text)] or scored  # as the score takes them
    return min(said, key=lambda word: word.logprob or 0.0, default=None)


def _verdict_text(rule: str, column: str, value: float, threshold: float) -> str:
    """``Least likely word −5.21, below −5``; nothing for rules on a flag, and where there is no number."""
    if column not in MEASURES or value != value or threshold != threshold:
        return ""
    side = "below" if value < threshold else "above"
    return f"{MEASURES[column].title} {number(value)}, {side} {threshold:g}".replace("-", "−")


def _scores(utterance: Utterance, except_column: str) -> list[tuple[str, str]]:
    values = [(name, getattr(utterance.scores, name)) for name in _SHORT if name != except_column]
    return [(_SHORT[name], number(value)) for name, value in values if value is not None]


def number(value: float) -> str:
    """A score for a reader: with two decimals where it is small, and a typographic minus."""
    text = f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"
    return text.replace("-", "−")


def _plain(text: str) -> list[str]:
    letters = (c if unicodedata.category(c)[0] in "LMN" else "" if c in "'’" else " " for c in text.casefold())
    return "".join(letters).split()


def differences(text: str, heard: str, language: str | None) -> list[tuple[str, bool]]:
    """Compare a hypothesis with a text; case and punctuation do not count.

    Args:
        text: the reference.
        heard: the hypothesis.
        language: decides what a word is.

    Returns:
        The hypothesis in parts, each with whether it differs from the text.
    """
    words, reference = _cut(heard, language), _cut(text, language)
    normalized = [["".join(_plain(word)) for word in side] for side in (reference, words)]
    matcher = difflib.SequenceMatcher(None, normalized[0], normalized[1], autojunk=False)
    stretches: list[tuple[str, bool]] = []
    for operation, _, _, start, end in matcher.get_opcodes():
        stretch = "".join(words[start:end])
        stretches.append((stretch.rstrip(), operation != "equal" and any(normalized[1][start:end])))
        stretches.append((stretch[len(stretch.rstrip()) :], False))
    return [(stretch, other) for stretch, other in stretches if stretch]


def _cut(text: str, language: str | None) -> list[str]:
    """The text's words, each with the white space that follows it."""
    starts = [*(start for start, _ in word_spans(text, language)), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(starts)]


def direction(text: str) -> str:
    """``rtl`` or ``ltr``, by the first letter that has a direction."""
    first = next((c for c in text if unicodedata.bidirectional(c) in ("L", *_RIGHT_TO_LEFT)), "a")
    return "rtl" if unicodedata.bidirectional(first) in _RIGHT_TO_LEFT else "ltr"


def failures(align: str, data: CardData) -> dict[str, list[tuple[str, str]]]:
    """The first failures of each rule, as (place, detail)."""
    records = read_rows(align, data.manifest["blocks"], [p for places in data.failures.values() for p in places])
    return {rule: [_place_and_detail(records[place]) for place in places] for rule, places in data.failures.items()}


def _place_and_detail(utterance: Utterance) -> tuple[str, str]:
    return place_of_utterance(utterance), utterance.failure.detail or "" if utterance.failure else ""


def duplicates(align: str, data: CardData) -> list[tuple[str, str]]:
    """The first duplicates, as (place of the copy, place of the utterance that stays)."""
    blocks = data.manifest["blocks"]
    kept = find_rows(align, blocks, [original for _, original in data.duplicates])
    records = read_rows(align, blocks, [*(place for place, _ in data.duplicates), *kept.values()])
    return [
        (place_of_utterance(records[place]), place_of_utterance(records[kept[original]]))
        for place, original in data.duplicates
    ]


def place_of_utterance(utterance: Utterance) -> str:
    """Where an utterance's sound lies, in one line."""
    source = utterance.source
    return place_of({name: getattr(source, name) for name in ("uri", "member", "start_s", "end_s")})
