"""Which of a set's labels an answer names: exactly one, several, none, or it refuses, or it is empty.

The rule, in order:

1. No letter and no digit: *empty*.
2. Labels are found by all their forms (synonyms, inflections, known typos), word-bounded, ignoring case, the longest
   form first, so that "Northern Irish" is not also "Irish" and "female" is not "male". What a set ignores is masked.
   Where the prompt letters or numbers its options, an answer that gives the letter or number names the option.
3. A negated label ("not male") is not named; with two labels it names the other one.
4. In a long answer labels count only in clauses about the recording, its speaker or the answer: a story in which a
   Scottish dish or a boy occurs names no accent and no gender. In one that refuses, the clause must state something.
5. Where an answer with several labels concludes ("so the answer is 100"), what stands in the conclusion counts.
6. One distinct label: *one*; more: *several*; none: *refusal* or *none*.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from llaso_model.evaluate.refusals import PATTERN as REFUSAL
from llaso_model.evaluate.refusals import folded, is_empty

Kind = Literal["one", "several", "none", "refusal", "empty"]
KINDS: tuple[Kind, ...] = ("one", "several", "none", "refusal", "empty")

_CJK = r"\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f"
_NEGATION = re.compile(
    r"(?:\b(?:not|never|neither|nor|without|no longer|rather than|instead of|non)\b|n't\b)[\s-]*"
    r"(?:(?:a|an|the|any|necessarily|really|actually|very|particularly|be|being|is|from|either|of|typical|"
    r"characteristic)\s+){0,3}[\"']?$|(?:不是|并非|而非|不像|不属于|没有)[^，。,.]{0,4}$"
)
_CONCLUSION = re.compile(
    r"\b(?:(?:final|correct|best|most likely|right|appropriate) )?(?:answer|label|conclusion)\b"
    r"[^.!?]{0,90}?(?:\bis\b|\bwould be\b|:)|"
    r"\bi(?:'d| would| will|'ll)? (?:choose|pick|select|go with)\b|\b(?:therefore|thus|hence),|"
    r"(?:所以|因此)?(?:正确)?答案(?:是|为|:)|"
    r"\b(?:is|be) (?:best |most likely )?(?:classified|categori[sz]ed|labell?ed|described) as\b"
)
_CLAUSE = re.compile(r"[.!?;。！？；\n]+(?=\s|$|[^\x00-\x7f])|,?\s+but\s+|,?\s*however\b|，?(?:但是|不过|但)")
_STATES = re.compile(
    r"\b(?:speaker|voice|person|accent|emotion|gender|age|it|this|that|clip|audio|sample|instrument|sound|she|he|"
    r"they|tone|intensity|recording|speech)\b.*"
    r"\b(?:is|are|was|be|sounds?|seems?|appears?|likely|probably|has|have)\b|'s\b|"
    r"\bi(?:'d| would| think| guess| believe| feel)\b|我(?:觉得|猜|感觉)|听起来|可能|应该|大概"
)
_ABOUT = re.compile(  # \0 stands where a label was
    r"\b(?:speakers?|voices?|person|accents?|dialect|emotions?|emotional|gender|age group|aged?|audio|clip|"
    r"recording|sample|sentence|instruments?|(?<!it )(?<!that )sounds?|"
    r"(?:it|that) sounds(?! like you(?:'re| are) \w+ing)|(?:the|his|her|their|your|'s) tone|pitch|velocity|"
    r"intensity|label|answer|category|classified|classif\w+|categori\w+|identify|labell?ed|speaking|speech|"
    r"sounding|intent|identity|mood|sentiment|feeling|feel|source|speaks?|spoken|"
    r"i(?:'d| would) (?:say|guess|go|choose|estimate|describe)|my guess|best guess|i think|i believe|i hear|"
    r"your (?:age|gender|mood|identity|pronunciation)|"
    r"(?:s?he|they)(?:'s|'re| is| are) (?:from|a|an|in|likely|probably)|"
    r"you(?:'re| are) (?:in|a|an|between|from)|expresse[sd]|conveyed|midi)\b|"
    r"\b(?:it|that|this)(?:'s| is| was) "
    r"(?:(?:a|an|the|only|likely|probably|most|more|very|clearly|definitely) )*[\"']?\0|^\W*\0+\W*:|"
    r"声|音|口音|说话|语气|语调|听起来|性别|年龄|岁|情绪|情感|乐器|这(?:个|是|句|段)|那是|你|答案|力度|速度|"
    r"强度|可能是|应该是|合成|判断"
)
_QUOTED = re.compile(r'"[^"]{12,}"')  # what is quoted at length is not said by the answer itself
_SHORT_WORDS, _SHORT_CHINESE = 6, 12
GENERAL = re.compile(
    r"\b(?:typically|usually|generally|often|such as|for example|(?<!sounds )like|whether|either|can help|tools?|"
    r"systems?|if)\b|是否|还是|或者|例如"
)
_CUE = re.compile(
    r"(?:\b(?:command|word|commands)\b[^.!?]{0,40}?\b(?:is|was|are)\b(?: only| simply)?\s*:?|"
    r"\b(?:command|spoken text|spoken command|spoken word|text|recogni[sz]ed speech|speech|transcription|answer|"
    r"says?|said|saying|return|speaker says)\b\s*:?|"
    r"指令是|命令是|说的是|是)\s*[\"'“「]?\s*(?:to )?$"
)


@dataclass(frozen=True, slots=True)
class Extraction:
    """What an answer names: the kind, and the distinct labels in the order in which they appear."""

    kind: Kind
    labels: tuple[str, ...] = ()

    @property
    def label(self) -> str | None:
        """The label where there is exactly one."""
        return self.labels[0] if self.kind == "one" else None


@dataclass(frozen=True, slots=True)
class _Named:
    label: str
    start: int
    end: int


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
        if is_empty(answer):
            return Extraction("empty")
        text = folded(answer)
        option = self._option(text, prompt)
        if option is not None:
            return Extraction("one", (option,))
        named = self._named(text)
        refuses = REFUSAL.search(_QUOTED.sub(" ", _blanked(text, named))) is not None
        if refuses:
            named = _stated(text, named)
        elif not self._named_only and not _is_short(text):
            named = _about_recording(text, named) or self._listed(named)
        if not refuses and len(_distinct(named)) > 1:
            concluded = _concluded(text, named)
            named = named if concluded is None else concluded
        found = _distinct(named)
        labels = tuple(label for label in found if label)
        if len(found) == 1 and labels:
            return Extraction("one", labels)
        if len(found) > 1:
            return Extraction("several", labels)
        return Extraction("refusal" if refuses else "none")

    def _named(self, text: str) -> list[_Named]:
        """Every label in the text that is not negated, with its place; "" for what is outside of the set."""
        masked = text
        for pattern in self._ignored:
            masked = pattern.sub(lambda found: "\0" * len(found[0]), masked)
        named = []
        for found in self._pattern.finditer(masked):
            label = self._forms[_form_of(found[0], self._forms)]
            if self._named_only:
                if self._is_named(text, found.start(), found.end()):
                    named.append(_Named(label, found.start(), found.end()))
            elif _NEGATION.search(masked[max(0, found.start() - 40) : found.start()]) is None:
                named.append(_Named(label, found.start(), found.end()))
            elif len(self.labels) == 2 and label:
                other = self.labels[1 - self.labels.index(label)]
                named.append(_Named(other, found.start(), found.end()))
        return named

    def _listed(self, named: Sequence[_Named]) -> list[_Named]:
        """The labels where an answer goes through nearly all of them, whatever it says there."""
        return list(named) if len(_distinct(named)) >= max(4, 0.8 * len(self.labels)) else []

    def _is_named(self, text: str, start: int, end: int) -> bool:
        """Whether the stretch is the whole answer, is quoted, or follows words such as "the command is"."""
        before, after = text[:start], text[end:]
        alone = not re.search(r"[^\W_]", before + after)
        quoted = re.search(r"[\"'“「《]\s*$", before) and re.match(r"\s*[.,!?。！]?\s*[\"'”」》]", after)
        cued = _CUE.search(before) and re.match(r"\s*[\"'”」]?\s*(?:[.,!?。！，\n]|$)", after)
        return bool(alone or quoted or cued)

    def _option(self, text: str, prompt: str) -> str | None:
        """The option whose letter or number the answer gives, where the prompt has lettered or numbered options."""
        given = re.fullmatch(r"(?:option |answer:? |the answer is )?\(?([a-z]|\d{1,2})\)?[.:]?", text)
        if given is None or not prompt:
            return None
        options = folded(prompt)
        for mark in re.finditer(r"(?<![a-z0-9])\(?([a-z]|\d{1,2})[).:]\s*", options):
            found = self._pattern.match(options, mark.end()) if mark[1] == given[1] else None
            if found is not None:
                return self._forms[_form_of(found[0], self._forms)] or None
        return None


def _bounded(form: str) -> str:
    """A form as a pattern: spaces and hyphens between words are alike, and word characters do not go on."""
    parts = [re.escape(part) for part in re.split(r"[\s-]+", form) if part]
    is_range = re.fullmatch(r"\d+-\d+", form) is not None
    body = (r"\s*-\s*" if is_range else r"[\s-]+").join(parts)
    left = r"(?<![a-z0-9])(?<!\d[.,])" if re.match(r"[a-z0-9]", form) else ""
    right = r"(?![a-z0-9])(?![.,]\d*[1-9])(?![.,]0\d)" if re.search(r"[a-z0-9+]$", form) else ""
    return f"{left}{body}{right}"


def _form_of(found: str, forms: Mapping[str, str]) -> str:
    """The form that a stretch of text is written like."""
    if found in forms:
        return found
    plain = re.sub(r"[\s-]+", " ", found)
    for form in forms:
        if re.sub(r"[\s-]+", " ", form) == plain or re.sub(r"[\s-]+", "", form) == re.sub(r"[\s-]+", "", found):
            return form
    raise AssertionError(found)


def _blanked(text: str, named: Sequence[_Named]) -> str:
    """The text without its labels, so that the label "unspecified" is not taken for a refusal."""
    for one in named:
        text = text[: one.start] + "\0" * (one.end - one.start) + text[one.end :]
    return text


def _distinct(named: Iterable[_Named]) -> list[str]:
    return list(dict.fromkeys(one.label for one in named))


def clauses(text: str) -> list[tuple[int, int]]:
    """Spans of the clauses of a text."""
    borders = [0, *(place for found in _CLAUSE.finditer(text) for place in found.span()), len(text)]
    return [(start, end) for start, end in zip(borders[::2], borders[1::2], strict=True) if start < end]


def _is_short(text: str) -> bool:
    """Whether the answer is hardly more than a label."""
    chinese = len(re.findall(f"[{_CJK}]", text))
    return chinese <= _SHORT_CHINESE and len(re.findall(r"[a-z0-9+'-]+", text)) <= _SHORT_WORDS


def _about_recording(text: str, named: Sequence[_Named]) -> list[_Named]:
    """The labels in clauses about the recording, its speaker, or what the answer is; a bare label is such a clause."""
    blanked = _blanked(text, named)
    kept: list[_Named] = []
    for start, end in clauses(text):
        clause = blanked[start:end]
        if _ABOUT.search(clause) or _is_short(clause):
            kept += [one for one in named if start <= one.start < end]
    return kept


def _stated(text: str, named: Sequence[_Named]) -> list[_Named]:
    """The labels in clauses that do not refuse and state something of the recording."""
    kept: list[_Named] = []
    blanked = _blanked(text, named)
    for start, end in clauses(text):
        inside = [one for one in named if start <= one.start < end]
        clause = blanked[start:end]
        bare = not re.search(r"[^\W\d_]", clause.replace("\0", ""))
        if inside and not REFUSAL.search(clause) and (bare or _STATES.search(clause)) and not GENERAL.search(clause):
            kept += inside
    return kept


def _concluded(text: str, named: Sequence[_Named]) -> list[_Named] | None:
    """The one label that follows the last words of conclusion; none where these quote something else; else None."""
    cues = list(_CONCLUSION.finditer(text))
    if not cues:
        return None
    start = cues[-1].end()
    end = next((end for _, end in clauses(text) if end > start), len(text))
    inside = [one for one in named if start <= one.start < end]
    if not inside and re.match(r"\s*[\"“「][^\"”」]+[\"”」]", text[start:]):
        return []
    return inside if len(_distinct(inside)) == 1 else None
