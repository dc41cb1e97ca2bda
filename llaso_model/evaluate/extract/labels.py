"""Which of a set's labels an answer names: exactly one, several, none, or it refuses, or it is empty.

The rule, in order:

1. Special tokens, other turns and reasoning are no part of the answer (:mod:`replies`). What is left without a letter
   and a digit is *empty*; an answer that only reasons is *none*.
2. Labels are found by all their forms (synonyms, inflections, known typos), word-bounded, ignoring case, the longest
   form first, so that "Northern Irish" is not also "Irish" and "female" is not "male". What a set ignores is masked.
   Where the prompt letters or numbers its options, the letter or number given as the answer names the option.
3. A denied label ("not male", "rather than male") is not named; with two labels it names the other one.
4. In a long answer labels count only in clauses about the recording, its speaker or the answer, not in advice, plans,
   definitions or talk of words (:mod:`relevance`): a story in which a Scottish dish or a boy occurs names no accent and
   no gender. An answer that speaks of the recording and does not talk to the user counts as a whole. Where an answer
   tells how anybody could find out, or says nothing of the recording, the options that it goes through are *several*.
5. Where an answer has several labels, those count that it gives as its answer (:mod:`choice`).
6. One distinct label: *one*; more: *several*; none: *refusal* or *none*. In sets of ages, an age in years names the
   class that it is in (:mod:`ages`); in sets of numbers, another number given as the answer is *none*.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from llaso_model.evaluate.extract import ages, choice, negation, relevance, replies
from llaso_model.evaluate.extract.choice import Mention, distinct
from llaso_model.evaluate.extract.refusals import PATTERN as REFUSAL
from llaso_model.evaluate.extract.relevance import LETTER
from llaso_model.evaluate.extract.replies import folded, is_empty

AnswerKind = Literal["one", "several", "none", "refusal", "empty"]
"""What an answer to a question is: one answer, several, none, a refusal, nothing at all."""
ANSWER_KINDS: tuple[AnswerKind, ...] = ("one", "several", "none", "refusal", "empty")

_OTHERWISE = re.compile(
    r"\bbut (?:it|this) (?:could|might|may) be (?:an?|the|that|about|related) |\bbut it (?:seems|sounds|"
    r"feels) |\binferred that "
)  # answered, in other words
_QUOTED = re.compile(r'"(?:[^"\s]+ ){3,}[^"\n]*"')  # what is quoted at length is not said by the answer itself
_EMPHASIS = re.compile(r"\*{1,2}([^*\n]{1,30})\*{1,2}")
_MARK = re.compile(r"(?<![a-z0-9])[(\[]?([a-z]|\d{1,2})[).:\]]\s*[\"']?")
_OPTION = re.compile(
    r"\b(?:option|choice|letter)\s+(?=\(?[a-z\d]\b)|\bis\s+(?=[(\[\"']*[a-z\d]{1,2}[)\]\"']*\s*(?:[.,;:\n]|$))"
)
_GIVEN = re.compile(
    r"[\s:\"'(\[]*(?:(?:option|choice|letter|number)\s+)?[(\[\"']*([a-z]|"
    r"\d{1,2})(?:[)\].,:;\"'!。，]|\s*$|\s*\n|\s+(?:-|because|since|as|is (?:the )?(?:correct|right|best|most))\b)"
)
_BETWEEN = re.compile(r"[,.;:!?\n]")
_FIGURE = re.compile(r"[\s:\"'(]*(?:about |around |大约|大概)?(\d+(?:\.\d+)?)")
_ECHO = 15
_INTERJECTIONS = ("yes", "no", "right", "wow", "go", "不", "on", "one")  # "Right. How can I help?"
_CUE = re.compile(
    r"(?:\b(?:command|word|commands)\b[^.!?]{0,40}?\b(?:is|was|are)\b(?: only| simply)?\s*:?|"
    r"\bi (?:heard|hear)\s*:|\b(?:command|text|speech|word|audio)s? (?:recogni[sz]ed|detected|spoken|heard)\s*:|"
    r"\b(?:command|spoken text|spoken command|spoken word|text|recogni[sz]ed speech|speech|transcription|answer|"
    r"says?|said|saying|return|speaker says|the word|keyword)\b\s*[:=]?|"
    r"指令是|命令是|说的是|是)\s*(?:the (?:number|word|digit|command|name) )?[\"'“「]?\s*(?:to )?$"
)

_FEW = re.compile(
    r"\bcommands?\b[^.!?\"'\n]{0,30}?\b(?:is|was):? (?!not\b|to\b|in\b|for\b|an?\b|the\b|that\b)(?:[a-z]+ ){1,2}$|"
    r"这是[您你]要的\s*$"
)  # "the command is play eight"


@dataclass(frozen=True, slots=True)
class Extraction:
    """What an answer names: the kind, and the distinct labels in the order in which they appear."""

    kind: AnswerKind
    labels: tuple[str, ...] = ()

    @property
    def label(self) -> str | None:
        """The label where there is exactly one."""
        return self.labels[0] if self.kind == "one" else None


class Extractor:
    """Finds the labels of one set in answers. Made once for a set: its patterns are compiled."""

    def __init__(
        self,
        labels: Mapping[str, Iterable[str]],
        others: Iterable[str] = (),
        ignore: Iterable[str] = (),
        match: Literal["anywhere", "named"] = "anywhere",
    ) -> None:
        """``labels`` maps a label to its other forms; ``others``, ``ignore`` and ``match`` are a set's keys."""
        self.labels = tuple(labels)
        self._named_only = match == "named"
        self._forms: dict[str, str] = {}
        for label, forms in labels.items():
            for form in (label, *forms):
                self._forms.setdefault(folded(form), label)
        for form in others:
            self._forms.setdefault(folded(form), "")
        self._written = {_squeezed(form): label for form, label in self._forms.items()}
        self._numbers = all(label.isdigit() for label in self.labels)
        self._years = ages.years(self.labels)
        self._ignored = [re.compile(pattern) for pattern in ignore]

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        longest_first = sorted(self._forms, key=len, reverse=True)
        return re.compile("|".join(f"(?:{_bounded(form)})" for form in longest_first))

    def reference(self, text: str) -> str | None:
        """The label that a reference means; None where it is none of the set."""
        return self._forms.get(folded(text).strip(" .!。")) or None

    def __call__(self, answer: str, prompt: str = "") -> Extraction:
        """What the answer names; ``prompt`` is looked at for options with letters or numbers."""
        marked = replies.marked_answer(answer)
        if is_empty(marked):
            return Extraction("empty" if replies.only_tokens(answer) else "none")
        if self._named_only:
            marked = _EMPHASIS.sub(r'"\1"', marked)
        options = self._options(prompt) or self._options(marked)
        whole = replies.lines(marked)
        own = without_echo(whole, replies.lines(prompt))
        extraction = self._extracted(own, options)
        return extraction if extraction.kind != "none" or own == whole else self._extracted(whole, options)

    def _extracted(self, text: str, options: Mapping[str, str]) -> Extraction:
        option = _option_alone(text, options)
        if option is not None:
            return Extraction("one", (option,))
        every = self._found(text)
        named = self._asserted(text, every)
        refuses = REFUSAL.search(_QUOTED.sub(" ", _blanked(text, named))) is not None
        named = _with_options(text, named, options)
        if refuses or (not self._named_only and not relevance.is_short(text)):
            counted = self._counted(text, named, every, refuses)
            if isinstance(counted, Extraction):
                return counted
            named = counted
        if self._numbers and _gives_another_number(text, named):
            return Extraction("none")
        named = choice.chosen(text, named, len(self.labels))
        values = [str(value) for value in distinct(named)]
        labels = tuple(label for label in values if label)
        if len(values) == 1 and labels:
            return Extraction("one", labels)
        if len(values) > 1 and not (refuses and len(labels) == len(self.labels)):
            return Extraction("several", labels)
        if self._years and not refuses and len(aged := ages.classes(text, self._years)) == 1:
            return Extraction("one", (aged[0],))
        return Extraction("refusal" if refuses and not _OTHERWISE.search(text) else "none")

    def _counted(
        self, text: str, named: list[Mention], every: Sequence[Mention], refuses: bool
    ) -> list[Mention] | Extraction:
        """The mentions of a long answer that are said of the recording, or what the answer is where there are none."""
        words = relevance.mentioned_words(text)
        named = [one for one in named if not any(start <= one.start < end for start, end in words)]
        named = _said_of_it(text, named)
        if relevance.tells_how(text) and not choice.after_conclusions(text):
            listed = tuple(str(value) for value in distinct(every) if value)
            several = not refuses and len(listed) > 1
            return Extraction("several", listed) if several else Extraction("refusal" if refuses else "none")
        kept = self._relevant(text, named, every, refuses)
        if not kept and not refuses and self._restated(text, named):
            return Extraction("several", tuple(str(value) for value in distinct(named) if value))
        return kept

    def _found(self, text: str) -> list[Mention]:
        """Every mention of a label; "" for what is outside of the set."""
        for pattern in self._ignored:
            text = pattern.sub(lambda match: "\0" * len(match[0]), text)
        mentions: list[Mention] = []
        for match in self._pattern.finditer(text):
            one = Mention(self._written[_squeezed(match[0])], match.start(), match.end())
            last = mentions[-1] if mentions else None
            if last and one.value in (last.value, "") and not text[last.end : one.start].strip(" -"):
                mentions[-1] = Mention(last.value, last.start, one.end)  # "a real human voice", "mallet percussion"
            else:
                mentions.append(one)
        return mentions

    def _asserted(self, text: str, every: Sequence[Mention]) -> list[Mention]:
        """The mentions that are not denied; of two labels, a denied one is the other one, unless both are."""
        denials = negation.denied(text, [(one.start, one.end) for one in every])
        if self._named_only:
            pairs = zip(every, denials, strict=True)
            return [one for one, denied in pairs if not denied and self._is_named(text, one.start, one.end)]
        kept = [one for one, denied in zip(every, denials, strict=True) if not denied]
        denied = {str(one.value) for one in every} - {str(one.value) for one in kept} - {""}
        if len(self.labels) == 2 and len(denied) == 1 and not any(one.value for one in kept):
            other = self.labels[1 - self.labels.index(denied.pop())]
            return [Mention(other, one.start, one.end) for one in every if one.value]
        return kept

    def _relevant(self, text: str, named: list[Mention], every: Sequence[Mention], refuses: bool) -> list[Mention]:
        """The mentions in clauses about the recording, or those that the answer announces, or all the options."""
        blanked = _blanked(text, named if refuses else every)
        spans = list(relevance.about_recording(blanked, refuses))
        kept = [one for one in named if any(start <= one.start < end for start, end in spans)]
        if refuses:
            spans = list(relevance.ventured(_blanked(text, named)))
            kept = kept or [one for one in named if any(start <= one.start < end for start, end in spans)]
            return kept or choice.concluded_in(text, named)
        if kept:
            beside = [span for span in choice.clauses(blanked) if relevance.is_beside(blanked[slice(*span)])]
            about = set(kept)
            kept = [one for one in named if one in about or not any(start <= one.start < end for start, end in beside)]
        if kept and len(self.labels) > 2 and self._are_options(named):
            return named  # the choice among the options may lie in any of its clauses
        kept = kept or choice.concluded_in(text, named)
        return kept or (named if relevance.answers(blanked) else [])

    def _restated(self, text: str, named: Sequence[Mention]) -> bool:
        """Whether an answer that says nothing of the recording goes through the options."""
        spans = [span for span in choice.clauses(text) if relevance.restates_options(text[slice(*span)])]
        return self._are_options([one for one in named if any(start <= one.start < end for start, end in spans)])

    def _are_options(self, named: Sequence[Mention]) -> bool:
        return len(distinct(named)) >= max(2, 0.6 * len(self.labels))

    def _is_named(self, text: str, start: int, end: int) -> bool:
        """Whether the stretch is the whole answer, is quoted, or follows words such as "the command is"."""
        before, after = text[:start], text[end:]
        alone = not re.search(r"[^\W_]", before + after) or (
            "\n" in text and not re.search(r"[^\W_]", re.split("\n", before)[-1] + re.split("\n", after)[0])
        )
        leads = (
            not re.search(r"[^\W_]", before)
            and re.match(r"[\"'”」》]?[.!。！]", after)
            and text[start:end] not in _INTERJECTIONS
            and not re.search(r"(?:^|\s)2[.)]\s", after)
        )
        names_file = re.search(r"\b(?:file|clip|recording|track|audio)(?: named| called)? [\"'“「《]\s*$", before)
        quoted = (
            not names_file and re.search(r"[\"'“「《]\s*$", before) and re.match(r"\s*[.,!?。！]?\s*[\"'”」》]", after)
        )
        cued = _CUE.search(before) and re.match(r"\s*[\"'”」]?\s*(?:[.,!?。！，\n]|$)", after)
        few = (
            _FEW.search(before)
            and re.match(r"(?: [a-z]+)?[.!]?\s*(?:$|\n)", after)
            and text[start:end] not in _INTERJECTIONS
        )
        return bool(alone or leads or quoted or cued or few or self._is_quoted_command(text, start, end))

    def _is_quoted_command(self, text: str, start: int, end: int) -> bool:
        """Whether the stretch stands among few words in quotes behind words such as "the command is"."""
        for match in re.finditer(r"\"([^\"\n]*)\"|(?<!\w)'([^'\n]*)'(?!\w)", text):
            words = match[1] or match[2] or ""
            if match.start() < start and end < match.end() and len(words.split()) <= 4:
                cued = _CUE.search(text[: match.start() + 1]) is not None
                return cued and text[start:end] not in _INTERJECTIONS and len(self._found(words)) == 1
        return False

    def _options(self, prompt: str) -> dict[str, str]:
        """Labels by the letters or numbers of the options that a text lists; empty where it lists fewer than two."""
        text = replies.lines(prompt)
        options: dict[str, str] = {}
        for mark in _MARK.finditer(text):
            label = self._pattern.match(text, mark.end())
            if label is not None and self._written[_squeezed(label[0])]:
                options.setdefault(mark[1], self._written[_squeezed(label[0])])
        return options if len(options) > 1 else {}


def _squeezed(form: str) -> str:
    return re.sub(r"[\s/:.-]+", "", form)


def _bounded(form: str) -> str:
    """A form as a pattern: spaces and hyphens between words are alike, and word characters do not go on."""
    parts = [re.escape(part) for part in re.split(r"[\s-]+", form) if part]
    is_range = re.fullmatch(r"\d+-\d+", form) is not None
    body = (r"\s*-\s*" if is_range else r"(?:[\s-]+|[/:.](?=\w))").join(parts)
    left = rf"(?<![{LETTER}])(?<!\d[.,])" if re.match(rf"[{LETTER}]", form) else ""
    right = rf"(?![{LETTER}])(?![.,]\d*[1-9])(?![.,]0\d)(?![.,]\d+[.,]\d)" if re.search(rf"[{LETTER}+]$", form) else ""
    return f"{left}{body}{right}"


def without_echo(text: str, prompt: str) -> str:
    """The text without the lines and sentences of the prompt that it repeats, unless it is nothing else."""
    left = text
    for part in sorted(re.split(r"\n|(?<=[.?!:。？！])\s*", prompt), key=len, reverse=True):
        if len(part) >= _ECHO and part in left:
            left = left.replace(part, " ")
    return text if is_empty(left) else left.strip()


def _option_alone(text: str, options: Mapping[str, str]) -> str | None:
    """The option whose letter or number is the whole answer."""
    match = re.fullmatch(
        r"\W*(?:(?:the )?(?:option|choice|answer|letter|"
        r"number)\s*(?:is)?\s*:?\s*)?\W*([a-z]|\d{1,2})\W*",
        text,
    )
    return options.get(match[1]) if match else None


def _with_options(text: str, named: list[Mention], options: Mapping[str, str]) -> list[Mention]:
    """The mentions, and the options given by letter or number: at the beginning, or where an answer is announced."""
    if not options:
        return named
    places = [
        0,
        *(place for place in choice.after_conclusions(text)),
        *(match.end() for match in _OPTION.finditer(text)),
    ]
    added = []
    for place in places:
        match = _GIVEN.match(text, place)
        if match is None or match[1] not in options:
            continue
        if any(match.end(1) <= one.start <= match.end(1) + 8 for one in named):
            continue  # "B) male": the label itself stands there
        added.append(Mention(options[match[1]], match.start(1), match.end(1)))
    return sorted({*named, *added}, key=lambda one: one.start)


def _said_of_it(text: str, named: list[Mention]) -> list[Mention]:
    """The mentions that are not talked of, nor say which other thing is meant, unless all labels only do that."""
    kept = [one for one in named if not relevance.is_talked_of(text, one.start)]
    left = [one for one in kept if not relevance.names_another(text, one.start, one.end)]
    if len(distinct(named)) < 2:
        return left
    ends = [match.start() for match in _BETWEEN.finditer(text)]
    part = {one: bisect.bisect(ends, one.start) for one in kept}
    apart = not {part[one] for one in left} & {part[one] for one in set(kept) - set(left)}
    return left if left and apart else kept


def _gives_another_number(text: str, named: Sequence[Mention]) -> bool:
    """Whether the last thing that the text says to be its answer is a number that is none of the mentions."""
    places = choice.after_conclusions(text)
    number = _FIGURE.match(text, places[0]) if places else None
    return number is not None and not any(one.start <= number.start(1) < one.end for one in named)


def _blanked(text: str, named: Sequence[Mention]) -> str:
    """The text without its labels, so that the label "unspecified" is not taken for a refusal."""
    for one in named:
        text = text[: one.start] + "\0" * (one.end - one.start) + text[one.end :]
    return text
