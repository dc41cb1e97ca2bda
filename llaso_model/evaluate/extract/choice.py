"""Which of the things that an answer mentions it gives as its answer. Labels and numbers are chosen alike.

Where an answer mentions several, in order: what it repeats of the question counts only where there is nothing else;
what it says to be its answer comes before what it mentions; what it asserts before what it says of such things in
general; what it prefers ("most likely") before what it allows for ("could be"). Two answers that contradict each other
stay two, unless the second one takes the first back.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from llaso_model.evaluate.extract.negation import joined

_CLAUSE = re.compile(
    r"\n+|[。！？；]+|[.!?;]+(?=[\"')]*(?:\s|$|[^\x01-\x7f]))|,?\s+but\s+|,?\s*however\b|，?(?:但是|不过|但)"
)
_SENTENCE = re.compile(r"(?<=[。！？])|(?<=[.!?])[\"')]*(?=\s|$|[^\x00-\x7f])|\n")
_IS = r"(?:\bis\b(?! not\b|n't)|\bwould be\b|\bwould have to be\b|\bmust be\b|\bshould be\b|\bremains\b|:|=|->|→)"
_FINAL = re.compile(
    rf"\b(?:final|overall|definitive|ultimate) (?:answer|label|classification|verdict|decision|prediction|choice|"
    rf"conclusion|judge?ment|estimate|guess|result|assessment|determination)\b[^.!?\n]{{0,60}}?(?:{_IS}|\n)|"
    r"\b(?:in conclusion|to conclude|conclusion\s*:|verdict\s*:)|(?:最终|最后)(?:的)?(?:答案|结论|判断)(?:是|为|:)?|"
    r"结论(?:是|为|:)|"
    r"\b(?:respuesta|conclusión|réponse|resposta|risposta) (?:final|finale)\b(?: es| est| é| è)?\s*:?|"
    r"\bendgültige antwort\b(?: ist| lautet)?\s*:?|คำตอบสุดท้าย(?:คือ|:)?|最終(?:的な)?(?:回答|答え)(?:は|:)?"
)
_ANSWER = re.compile(
    rf"\b(?:(?:final|correct|best|right|appropriate|my) )?(?:answer|label|conclusion|prediction|"
    rf"(?<=my )choice)s?\b[^.!?\n]{{0,140}}?{_IS}|"
    r"\bi(?:'d| would| will|'ll|'m going to| am going to| have to| must)? (?:therefore |thus |hence |"
    r"confidently |have to )?"
    r"(?:choose|pick|select|go with|going with|opt for|settle on|settle for|vote for|conclude(?: that)?|answer|"
    r"classify (?:it|this|the \w+(?: \w+)?) as|identify (?:it|this|the \w+(?: \w+)?) as|label (?:it|this|the \w+) as|"
    r"describe (?:it|this|the \w+(?: \w+)?) as)\b|"
    rf"\b(?:best|closest|most (?:likely|probable|appropriate|suitable|fitting|plausible|accurate)) (?:match|"
    rf"answer|choice|"
    rf"option|guess|label|fit|candidate|description|classification|category|estimate|conclusion|emotion|"
    rf"accent|gender|age|"
    rf"number|value|pitch|instrument|sound|speaker)\b[^.!?\n]{{0,60}}?{_IS}|"
    r"(?:所以|因此)?(?:正确|我的)?答案(?:应该)?(?:是|为|:)|(?:我)?(?:会)?选(?:择)?(?=[^\w]*[\w\x00])|"
    r"\b(?:la )?respuesta (?:correcta )?(?:es|sería)\b\s*:?|\brespuesta\s*:|"
    r"\b(?:la )?(?:bonne )?réponse (?:correcte )?(?:est|serait)\b\s*:?|\bréponse\s*:|\bantwort (?:ist|lautet|"
    r"wäre)\b\s*:?|\bantwort\s*:|"
    r"\bresposta (?:correta )?é\b\s*:?|\bresposta\s*:|\brisposta (?:corretta )?è\b\s*:?|\brisposta\s*:|\bответ\s*[:-]|"
    r"คำตอบ(?:ที่ถูกต้อง)?(?:คือ|:)|->|→|=>|(?:答え|回答|正解)は|(?:정답|답변|답)(?:은|:)|"
    r"\b(?:is|be) (?:best |most likely |most accurately )?(?:classified|categori[sz]ed|labell?ed|described|"
    r"identified) as\b"
)
_SO = re.compile(
    r"\b(?:therefore|thus|hence|consequently|accordingly|ultimately|overall|in summary|in short|to sum up|all in all|"
    r"as a result|taken together|altogether|so)\b,?|综上(?:所述)?|总之|因此|所以|总的来说|por lo tanto|por tanto|"
    r"en resumen|"
    r"donc|en résumé|also ist|daher|somit|поэтому|итак|таким образом|ดังนั้น|สรุป|したがって|よって|따라서"
)
_TAKEN_BACK = re.compile(
    r"\b(?:no wait|wait|actually|correction|on second thoughts?|on reflection|scratch that|let me (?:re\w+|"
    r"correct)|i mean|"
    r"upon (?:re\w+|closer|further)|or rather|hold on|no,|sorry,)|不对|更正|等等|其实"
)
_STRONG = re.compile(
    r"\b(?:(?:most|more|very|highly|much more) (?:likely|probabl[ey]|consistent|of an?|like|closely|"
    r"plausibl[ey]|fitting)|likeliest|"
    r"probably|i(?:'d| would) (?:say|guess|estimate|lean|call|describe)|i (?:think|believe|guess|estimate|suspect)|"
    r"my (?:best )?(?:guess|estimate)|best guess|lean(?:s|ing)? (?:more )?to(?:wards?)?|leans|primarily|"
    r"mainly|predominantly|"
    r"mostly|dominant|strongest|closest|closer|specifically|definitely|clearly|certainly|unmistakably|undoubtedly|"
    r"if i (?:had|have) to|(?:strongly|clearly) (?:suggests?|indicates?|points?)|best (?:fits?|match\w*|"
    r"described|represented|"
    r"captured)|fits best|stands out|particularly|overall|main|primary|predominant|dominant|sounds more|"
    r"more specifically|"
    r"but rather|it is rather|indicating|suggesting|pointing to|points? to(?:wards?)?|indicates|suggests|"
    r"which makes|consistent with)\b|"
    r"更(?:像|可能|接近|倾向)|最(?:可能|像|接近)|主要|偏向|倾向于|应该是|我觉得|我认为|我猜|"
    r"\b(?:probablemente|lo más probable|sobre todo|probablement|sans doute|plutôt|wahrscheinlich|vermutlich|eher|"
    r"provavelmente|probabilmente|скорее всего|вероятно)\b|น่าจะ|おそらく|多分|아마"
)
_ALLOWED = re.compile(
    r"\b(?:could|might|may|possibly|perhaps|maybe|potentially|or)\b|"
    r"\b(?:quizás?|tal vez|podría|peut-être|pourrait|vielleicht|könnte|talvez|forse|может)\b"
)
_WEAK = re.compile(
    r"\b(?:slight(?:ly)?|hints?|touch|undertones?|underlying|secondary|less|traces?|(?:a |little )bit of|"
    r"a little|tinged|"
    r"(?:although|though|but) (?:it|there|this|he|she|they|the \w+) (?:\w+ )?(?:could|might|may)|at first|initially|"
    r"first glance|can't rule out|cannot (?:be )?rule|talking (?:to|about|with)|speaking (?:to|about|with)|says? to|"
    r"addressing|refer\w* to(?! (?:is|are|was)\b)|mention\w*|above|below|outside|typical|possible that)\b|"
    r"也有|略带|有点|带有|一些"
)
_ASSERTS = re.compile(
    r"\b(?:instrument|speaker|emotion|accent|gender|voice|sound|category|source|age|label|intensity|tone|"
    r"sentiment|person|it|"
    r"this|that|velocity|command|word|audio|clip|recording|speech)\b[^.!?\n,;]{0,50}(?:\b(?:is|was|sounds|"
    r"seems|appears)|'s)"
    r"(?: to be| like| of)?(?: an?| the| most| clearly| very| definitely)*\s*[\"']?$"
)
_EVIDENT = re.compile(
    r"(?:[是为像属]|听起来)\W*$|(?:es|est|ist|é|è|เป็น)(?: una?| une?| eine?| uma?)?\s*[\"']?$|"
    r"\bindicat\w+(?: an?| the)?\s*$|\b(?:a|an|the|is|has|hear|sounds?) (?:\w+ )?[\"']?$"
)
_ASKS = re.compile(
    r"^\W*(?:(?:the |your )?(?:question|prompt|instruction|task|q)\s*:)?\W*(?:is|are|was|does|do|did|could|"
    r"can|would|should|"
    r"which|what|who|whose|how|whether|or|identify|determine|classify|choose|select|¿|est-ce|ist|es|est|is it|so)\b|"
    r"吗\s*[?？]|是否|还是|哪"
)
_CHOICES = re.compile(
    r"\b(?:between|among|amongst|of|from|out of|whether|options?|choices?|labels?|categor(?:y|ies)|classes|"
    r"choose|select|"
    r"possible|possibilities|classify|distinguish|compare|candidates?|given|following|listed|available|"
    r"determine|decide|"
    r"consider(?:ing|ed)?|identify|say|tell)\b|选项|是否|在[^，。]{0,6}$|从[^，。]{0,8}$|还是|entre|parmi|zwischen|ระหว่าง"
)
_SHARED = re.compile(r"\b(?:both|mix\w*|blend|combin\w+|as well as|contains?|plus)\b|混合|都有|既|结合")
_SCORE = re.compile(
    r"[\"']?\s*(?:[:=(-]|is|at|with)+\s*(?:about |around |~|approximately |probability |confidence |"
    r"score )*(\d{1,3}(?:\.\d+)?|\.\d+)\s*(%)?"
)
_LEADS = re.compile(
    r"[\"')\]]*\s*(?:$|[.!;\n(]|:(?!\s*(?:no|yes|\d))|-\s|,?\s*(?:because|since|as|based|due|given|with|"
    r"judging|considering)\b)"
)
_BECAUSE = re.compile(r"\b(?:because|since|due to|given that)\b|因为|由于")
_SPEECH = re.compile(
    r'"(?:[^"\s]+ ){3,}[^"\n]*"|\b(?:the words|(?:use|uses) (?:of )?the (?:word|term|'
    r'phrase)) "[^"\n]+"(?: (?:and|or) "[^"\n]+")*'
)  # what is quoted at length is not said by the answer itself
_BORDER = 90

Value = TypeVar("Value", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Mention:
    """A label, or a number as text, and where in the text it stands."""

    value: Hashable
    start: int
    end: int


def distinct(mentions: Iterable[Mention]) -> list[Hashable]:
    """The values, each once, in the order in which they are first met."""
    return list(dict.fromkeys(one.value for one in mentions))


def clauses(text: str) -> list[tuple[int, int]]:
    """Spans of the clauses of a text."""
    return _between(_CLAUSE, text)


def sentences(text: str) -> list[tuple[int, int]]:
    """Spans of the sentences of a text."""
    return _between(_SENTENCE, text)


def _between(border: re.Pattern[str], text: str) -> list[tuple[int, int]]:
    borders = [0, *(place for found in border.finditer(text) for place in found.span()), len(text)]
    return [(start, end) for start, end in zip(borders[::2], borders[1::2], strict=True) if start < end]


def chosen(text: str, mentions: Sequence[Mention], all_values: int = 0) -> list[Mention]:
    """The mentions that are the answer. ``all_values`` is how many there are to choose from, 0 where that is open."""
    if len(distinct(mentions)) < 2:
        return list(mentions)
    rated = _by_score(text, mentions)
    if rated is not None:
        return [rated]
    left = _not_asked(text, mentions, all_values)
    for cue in (_FINAL, _ANSWER):
        concluded = _concluded(text, left, cue)
        if concluded is not None:
            left = concluded
            break
    for narrow in (_corrected, _bare, _so, _no_reason, _preferred, _asserted):
        if len(distinct(left)) < 2:
            return left
        left = narrow(text, left) or left
    return left


def concluded_in(text: str, mentions: Sequence[Mention]) -> list[Mention]:
    """The mentions in what the text says to be its answer, if it says so."""
    return next((found for cue in (_FINAL, _ANSWER) if (found := _concluded(text, mentions, cue))), [])


def after_conclusions(text: str) -> list[int]:
    """Places behind the words that announce an answer, the last first."""
    return sorted({found.end() for cue in (_FINAL, _ANSWER) for found in cue.finditer(text)}, reverse=True)


def _by_score(text: str, mentions: Sequence[Mention]) -> Mention | None:
    """The mention with the highest share, where at least two have one: "male: 20 %, female: 80 %"."""
    scores: dict[Hashable, tuple[float, Mention]] = {}
    for one in mentions:
        found = _SCORE.match(text, one.end)
        if found and (found[2] or float(found[1]) <= 1):
            scores[one.value] = max(
                scores.get(one.value, (-1.0, one)), (float(found[1]), one), key=lambda pair: pair[0]
            )
    if len(scores) < 2 or len(scores) < len(distinct(mentions)):
        return None
    first, second = sorted(scores.values(), key=lambda pair: -pair[0])[:2]
    return first[1] if first[0] > second[0] else None


def runs(text: str, mentions: Sequence[Mention]) -> list[list[Mention]]:
    """The mentions, those of one list ("A, B or C") together."""
    found: list[list[Mention]] = []
    for one in mentions:
        if found and joined(text[found[-1][-1].end : one.start]):
            found[-1].append(one)
        else:
            found.append([one])
    return found


def _not_asked(text: str, mentions: Sequence[Mention], all_values: int) -> list[Mention]:
    """The mentions without those that repeat the question, the options or what is spoken, where others are left."""
    quoted = [found.span() for found in _SPEECH.finditer(text)]
    asked = {one for one in mentions if any(start < one.start and one.end <= end for start, end in quoted)}
    start = 0
    for end in [*(found.end() for found in _SENTENCE.finditer(text)), len(text)]:
        sentence = text[start:end]
        inside = [one for one in mentions if start <= one.start < end]
        ends_in_question = re.search(r"[?？][\"')]*\s*$", sentence) is not None
        if inside and (ends_in_question and (len(distinct(inside)) > 1 or _ASKS.search(sentence))):
            asked.update(inside)
        start = end
    for run in runs(text, mentions):
        values = len(distinct(run))
        before = re.split(r"[.!?\n。！？]", text[max(0, run[0].start - 60) : run[0].start])[-1]
        if values < 2 or _SHARED.search(before):
            continue
        if _CHOICES.search(before) or (all_values and values >= all_values):
            asked.update(run)
    left = [one for one in mentions if one not in asked]
    return left if any(_is_evident(text, one) for one in left) else list(mentions)


def _is_evident(text: str, one: Mention) -> bool:
    """Whether a mention is said to be so, preferred, announced as the answer, or a clause by itself."""
    before = _SENTENCE.split(text[max(0, one.start - _BORDER) : one.start])[-1]
    if any(cue.search(before) for cue in (_ASSERTS, _EVIDENT, _STRONG, _SO)):
        return True
    return bool(concluded_in(text, [one]) or _bare(text, [one]))


def _concluded(text: str, mentions: Sequence[Mention], cue: re.Pattern[str]) -> list[Mention] | None:
    """What stands behind the words that announce an answer; [] where they quote something else; None without."""
    given: list[tuple[int, list[Mention]]] = []
    quotes = False
    for found in cue.finditer(text):
        inside = _behind(text, mentions, found.end())
        if inside:
            given.append((found.start(), inside))
        quotes = not inside and re.match(r"\s*\"[^\"]+\"", text[found.end() :]) is not None
    if quotes:
        return []
    if not given:
        return None
    single = [(place, inside) for place, inside in given if len(distinct(inside)) == 1]
    if not single:
        return None
    kept = [inside[0] for _, inside in single]
    if len(distinct(kept)) > 1 and _TAKEN_BACK.search(text[kept[0].end : kept[-1].start]):
        return [kept[-1]]
    return kept


def _behind(text: str, mentions: Sequence[Mention], place: int) -> list[Mention]:
    """The mentions in the clause that begins at a place, be it on the next line."""
    opening = re.match(r"[\s:\"'(\[=-]*", text[place:])
    start = place + (opening.end() if opening else 0)
    borders = [found.start() for found in (_CLAUSE.search(text, start), _BECAUSE.search(text, start)) if found]
    end = min(borders, default=len(text))
    return [one for one in mentions if start <= one.start < end]


def _bare(text: str, mentions: Sequence[Mention]) -> list[Mention]:
    """The mentions that are a clause by themselves, or lead the answer: "Female. The voice …"."""
    spans = set(clauses(text))
    alone = [
        one
        for one in mentions
        if any(
            start <= one.start
            and one.end <= end
            and not re.search(r"[^\W_]", text[start : one.start] + text[one.end : end])
            for start, end in spans
        )
    ]
    first = mentions[0]
    if not re.search(r"[^\W_]", text[: first.start]) and _LEADS.match(text, first.end) and first not in alone:
        alone.append(first)
    return alone


def _corrected(text: str, mentions: Sequence[Mention]) -> list[Mention]:
    """What stands behind the words that take something back: "no wait, female"."""
    return _last_behind(text, mentions, _TAKEN_BACK)


def _so(text: str, mentions: Sequence[Mention]) -> list[Mention]:
    """What stands behind the last word such as "therefore"."""
    return _last_behind(text, mentions, _SO)


def _no_reason(text: str, mentions: Sequence[Mention]) -> list[Mention]:
    """The mentions without those of a reason for one before: "it is anger, because anger goes with fear"."""
    reasons = [(found.start(), end) for start, end in sentences(text) for found in _BECAUSE.finditer(text, start, end)]
    left = [one for one in mentions if not any(start <= one.start < end for start, end in reasons)]
    return left if left and left[0] == mentions[0] else []


def _last_behind(text: str, mentions: Sequence[Mention], cue: re.Pattern[str]) -> list[Mention]:
    for found in reversed(list(cue.finditer(text))):
        inside = _behind(text, mentions, found.end())
        if inside:
            return inside if len(distinct(inside)) == 1 else []
    return []


def _asserted(text: str, mentions: Sequence[Mention]) -> list[Mention]:
    """What is said to be so ("the instrument is a guitar"), where the others stand in other sentences."""
    every = sentences(text)

    def sentence(one: Mention) -> int:
        return next((number for number, (start, end) in enumerate(every) if start <= one.start < end), -1)

    first = next((one for one in mentions if _ASSERTS.search(text[max(0, one.start - _BORDER) : one.start])), None)
    if first is None:
        return []
    others = [one for one in mentions if one.value != first.value]
    place = sentence(first)
    for one in others:
        before = _SENTENCE.split(text[max(0, one.start - _BORDER) : one.start])[-1]
        if sentence(one) == place or _ASSERTS.search(before) or _ALLOWED.search(before) or "also" in before:
            return []
    return [first]


def _preferred(text: str, mentions: Sequence[Mention]) -> list[Mention]:
    """The mentions that are said with more certainty than the others; none where that is no single one."""
    strength: dict[Hashable, int] = {}
    last = 0
    for run in runs(text, mentions):
        start = max(last, run[0].start - _BORDER)
        before = _SENTENCE.split(text[start : run[0].start])[-1]
        after = re.split(r"[.,;!?\n。，；]", text[run[-1].end : run[-1].end + 60])[0]
        following = [one.start for one in mentions if one.start > run[-1].start]
        after = after[: max(0, following[0] - run[-1].end)] if following else after
        said = 2 * bool(
            _STRONG.search(before)
            or re.search(
                r"\b(?:is|seems|being|sounds?) (?:the )?(?:most|more) (?:likely|probable|fitting|prominent|"
                r"dominant|plausible)|"
                r"\bfits? best|\bstands? out|最(?:可能|明显)|\bbest (?:match|fit)",
                after,
            )
        )
        elsewhere = bool(last) and _SENTENCE.search(text[start : run[0].start]) is not None
        said -= bool((_WEAK.search(before) and not _SHARED.search(before)) or (elsewhere and _ALLOWED.search(before)))
        for one in run:
            strength[one.value] = max(strength.get(one.value, -9), said)
        last = run[-1].end
    best = max(strength.values())
    values = {value for value, said in strength.items() if said == best}
    return [one for one in mentions if one.value in values] if len(values) == 1 else []
