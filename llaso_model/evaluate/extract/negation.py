"""Which mentions in an answer are denied: "not female but male", "rather than", "X can be ruled out"."""

from __future__ import annotations

import re

_FILL = (
    r"a|an|the|any|necessarily|really|actually|very|particularly|be|being|is|was|from|either|of|typical|characteristic|"
    r"to|sound|sounds|sounding|seem|seems|appear|appears|feel|look|like|as|that|this|it|its|it's|being|"
    r"possibly|clearly|"
    r"definitely|obviously|exactly|quite|overly|strongly|strong|too|so|entirely|fully|purely|likely|probably|"
    r"consistent|indicative|suggestive|with|match(?:es|ing)?|fits?|have|has|shows?|exhibits?|conveys?|express(?:es)?|"
    r"suggests?|indicates?|points|"
    r"contain|belong|correspond|spoken|by|in|for|what|you'd|expect|voice of|accent of|speaker's|speaker is|"
    r"speaker|voice|option|full|usual|maximum|"
    r"about|hear|detect|sense|find|notice|perceive|anything|emotion of|emotion is|emotions|label|answer is|"
    r"answer|tone|truly|just right|category"
)
_SIGN = (
    r"(?:\w+ )?(?:sign|signs|indication|indications|evidence|trace|traces|hint|"
    r"hints|suggestion|element|elements)(?: of)?"
)
_DENIES = (
    rf"(?:\b(?:not|cannot|never|neither|nor|without|no longer|rather than|instead of|as opposed to|"
    rf"opposed to|unlike|versus|"
    rf"non|nothing|outside(?: of)?|no {_SIGN}|no(?= \w)|free of|absence of|lack(?:s|ing)?(?: of)?|far from|"
    rf"anything but|"
    rf"nothing like|hardly|"
    rf"too \w+ to be|too \w+ for|different from|differs from|distinct from|(?:confused|mistaken) (?:with|"
    rf"for)|compared (?:to|with)|"
    rf"in contrast (?:to|with)|contrasts? with|than|opposite of|"
    rf"(?:rul(?:e|ed|es|ing) out|exclud(?:e|ed|es|ing)|eliminat(?:e|ed|es|ing)|discard(?:ed|s|ing)?|"
    rf"reject(?:ed|s|ing)?|"
    rf"dismiss(?:ed|es|ing)?)(?: the)?(?: possibility| option| options| idea)?(?: of| that)?|"
    rf"(?:less|least|un)[\s-]?likely|(?:do not|don't|wouldn't|would not) (?:think|believe|say|call|classify|"
    rf"describe|label|consider|identify)(?: that)?)\b|n't\b)"
)
_BEFORE = re.compile(
    rf"(?<!not ){_DENIES}(?! only| just| merely| simply| solely)[\s-]*(?:(?:{_FILL})[\s-]+){{0,6}}[\"'(]*$|"
    r"\b(?:not|neither|n't)(?: \w+){1,3} (?:or|nor) (?:a |an )?[\"']*$|"
    r"\black(?:s|ing)?\b[^.;,\n\0]{0,40}\b(?:of|in|from) (?:a |an |the )?[\"']*$|\bthan\b[^.;,\n\d]{0,32}[\"']*$|"
    rf"\b(?:no|nein|kein|keine|keinen|nicht|pas|pas de|pas d'|non|ni|tampoco|plutôt que|au lieu d[e']|en lugar de|"
    rf"en vez de|statt|не|нет|вместо|não|nem) (?:(?:es|un|una|une|um|uma|ein|eine|einen|de|la|el|le|é|"
    rf"la voz de)\s+){{0,3}}[\"']*$|"
    rf"(?:不是|并非|而非|而不是|不像|不太像|不大像|不属于|没有|不可能是|排除|并不|不存在|不包含|而不)[^，。,.；;]{{0,4}}$|"
    rf"(?:ไม่ใช่|ไม่ได้เป็น|มิใช่)[^ ]{{0,12}}$"
)
_CHOSEN_OVER = re.compile(
    r"\b(?:choose|chose|pick|prefer|favou?r|go with|"
    r"select)\b[^.!?\n]{0,60}\bover (?:a |an |the )?[\"']*$"
)
_AFTER = re.compile(
    r"[\"')]*(?:[\s-]+(?:accent|voice|speaker|speech|option|emotion|one|label|sound|english|category|tone|answer|"
    r"possibility|options|instrument)){0,2}[\"']*\s*(?:"
    r"(?:is|are|was|were|seems?|appears?|would be|can be|could be|may be|should be)(?: also|"
    r" both)? (?:\w+ly |very |quite |most )?"
    r"(?:unlikely|improbable|ruled out|excluded|eliminated|discarded|dismissed|rejected|incorrect|wrong|"
    r"less (?:likely|probable|fitting)|"
    r"implausible|absent|inconsistent)\b|"
    r"(?:is|are|was|were|does|do|did|would|seems?|can|could)(?:n't| not|not)\s+(?:\w+ly |really |quite |"
    r"very |be |seem |seem to |to |"
    r"the |a |an |a good |a strong |well )*(?:likely|probable|right|correct|the case|best|match|fit|matched|"
    r"apply|align|plausible|"
    r"present|supported|suitable|appropriate|it|possible|answer|detected|heard|evident|suit|make sense|correspond|"
    r"sound right|seem right|consistent)\b|"
    r"\s*[:=?-]+\s*(?:no\b|not\b|nope\b|false\b|incorrect\b|unlikely\b|✗|❌|×|x\b|0(?:\.0+)?\s*%?(?![\d.]))|"
    r"的?(?:可能性|概率)(?:很|较|比较|非常)?(?:低|小)|的?可能性不大|不太可能|可以排除|被排除|不符合|"
    r"(?:\s+[\w']+){0,2}\s+would\b(?! be (?:my|the|most|best|a good)| make sense)|"
    r"ではな|ではあり|じゃな|이 아니|가 아니"
    r")"
)
_STANDS = re.compile(
    r"(?:cannot|can't|can not|couldn't|could not) (?:\w+ly )?(?:be )?(?:rule[sd]? out|"
    r"exclude[d]?|eliminate[d]?)"
)
_JOIN = re.compile(
    r"[\s\"'/|),(-]*(?:岁|歳|years?(?: old)?)?[\s\"'/),(]*(?:(?:or|nor|and|to|到|至|或|或者|和|与|也不是|ou|o|ni|oder|"
    r"noch)[\s\"'(]*(?:(?:a|an|the|even|un|una|une|early|mid|late|their|perhaps|possibly|maybe)[\s-]+|-)*(?:[\"'(]*))?"
)
_ALTERNATIVE = re.compile(r"\b(?:or|nor|ni|oder|noch|ou)\b|或")

_LACKS = re.compile(r"\b(?:lack(?:s|ing)? of|absence of|without|free of|no \w+ of)\b[^.;,\n]{0,40}$")  # "A and B" alike

REACH = 80


def denied(text: str, spans: list[tuple[int, int]]) -> list[bool]:
    """Whether each stretch of the text is denied. A denial before "A, B or C" denies all of them."""
    found: list[bool] = []
    lacks = False
    for number, (start, end) in enumerate(spans):
        before = text[max(0, start - REACH) : start]
        before = before[max(before.rfind(mark) for mark in "\n;") + 1 :]
        after = text[end : end + REACH]
        open_still = _STANDS.search(before) or _STANDS.search(after.split(".")[0])
        here = bool(_BEFORE.search(before) or _CHOSEN_OVER.search(before) or _AFTER.match(after))
        found.append(here and not open_still)
        if number and found[-2] and not found[-1] and not open_still:
            run = _run_until(text, spans, number)
            found[-1] = run is not None and (lacks or _ALTERNATIVE.search(run) is not None)
        lacks = found[-1] and (lacks or _LACKS.search(before) is not None)
    return found


def _run_until(text: str, spans: list[tuple[int, int]], number: int) -> str | None:
    """What joins a stretch with those before it and after it, where these are a list."""
    gap = text[spans[number - 1][1] : spans[number][0]]
    if not joined(gap):
        return None
    whole = gap
    for left, right in zip(spans[number:], spans[number + 1 :], strict=False):
        gap = text[left[1] : right[0]]
        if not joined(gap):
            break
        whole += gap
    return whole


def joined(gap: str) -> bool:
    """Whether what stands between two stretches makes them parts of one list."""
    if gap == " ":
        return True
    return len(gap) < 30 and _JOIN.fullmatch(gap) is not None and gap.strip() not in ("", "(", "),", ")", ").")
