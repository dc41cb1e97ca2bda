"""Which clauses of an answer say something of the recording, and which talk of something else.

Labels and numbers count only in the former. A clause is *about the recording* where it names the speaker, the voice,
the sound or the answer as something given ("the voice is …", "a … accent", "it sounds …"). It is *beside* it where it
advises, plans, defines, speaks of things in general, asks what the user meant, or quotes words. "It is …" behind a
clause that is beside the recording is beside it too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from llaso_model.evaluate.extract.choice import clauses, sentences
from llaso_model.evaluate.extract.refusals import PATTERN as REFUSAL

CJK = r"\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f"
LETTER = r"a-z0-9\u00df-\u024f\u0370-\u052f"  # scripts whose words stand apart
_SHORT_WORDS, _SHORT_CHINESE = 6, 12
_THING = (
    r"speaker|voice|person|accent|dialect|variety|varieties|emotion|gender|sex|age|audio|clip|recording|sample|utterance|sentence|"
    r"instrument|sound|tone|pitch|velocity|intensity|label|answer|category|classification|speech|intent|identity|"
    r"mood|sentiment|feeling|source|note|conversation|dialogue|dialog|age group|option|description|passage|segment|"
    r"delivery|statement|intonation|pronunciation|tempo|number|value|command|word|singer|performer"
)
_ABOUT = re.compile(  # \0 stands where a label was
    rf"\b(?:the|this|that|his|her|their|its|your|speaker's|voice's|my|\w+'s) (?:[\w'-]+ ){{0,3}}?(?:{_THING})s?\b|"
    rf"^\W*(?:[\w'-]+ ){{0,2}}(?:{_THING})s?(?: [\w'-]+){{0,2}}\s*(?::|=|-|is\b)|"
    rf"\0[\"']?(?:-\w+)?,? (?:[\w-]+ )?(?!number|value|word|command|note)(?:{_THING})\b|"
    rf"\b(?:{_THING}) (?:\w+ )?(?:of|:)? ?[\"'(]*\0|"
    r"(?:it|that|this|he|she|they|you) (?:\w+ly )?(?:sounds?|seems?|appears?)\b(?! like you(?:'re| are) \w+ing)|"
    r"^\W*(?:sounds|seems|appears)\b|\bthere(?:'s| is| was) (?:an? )?[\"']?\0|"
    r"\b(?:it|that|this)(?:'s| is| was| (?:could|might|may|must|would|should) (?:also |well )?be) "
    r"(?:[\w-]+ ){0,3}[\"':]*\s*\0|\b(?:s?he|they|someone|man|woman|person|boy|girl|lady|guy|"
    r"adult)\b[^.,]{0,20} in (?:his|her|their|the) (?:\w+ )?\0|\baged? (?:\w+ )?\0|"
    r"\bconsidered (?:to be )?[\"']?\0|\b(?:classified|categori[sz]ed|labell?ed|identified|described) as\b|"
    r"^\W*\0+\W*:|:\s*[\"']?\0+\W*$|"
    r"\b(?:i(?:'d| would)? (?:say|guess|go|choose|estimate|describe|lean|classify|identify|label)|"
    r"my guess|best guess|i (?:can |do |still )?(?:think|believe|hear|feel|detect|sense|perceive|notice))\b|"
    r"^\W*an? (?:\w+ )?(?:speaker|voice|person)\b|"
    r"\0 (?:fits|stands out|it is)\b|\0 (?:is|are|seems|appears|would be|remains) (?:[\w-]+ ){0,2}?(?:best|"
    r"most|correct|right|likely|"
    r"likeliest|dominant|primary|main|closest|clear|evident|my|present|(?:good|great|excellent|"
    r"solid) (?:choice|option))\b|"
    r"\b(?:s?he|they)(?:'s|'re| is| are) (?:[\w-]+ ){0,3}\0|"
    r"\byou(?:'re| are) (?:in|a|an|between|from|feeling|likely|probably|\0)|\bsomeone (?:aged|in|from|who)\b|"
    r"\b(?:speak|speaks|speaking|talking|sings?|singing|spoken|performed|said|sung|played|produced|generated) "
    r"(?:with|in|by|on)\b|\bexpresse[sd]\b|\bconveyed\b|"
    r"\0 (?:is|are) (?:speaking|talking|singing|saying)|\bmidi\b|"
    r"声|音|口音|说话|语气|语调|听起来|性别|年龄|岁|情绪|情感|乐器|这(?:个|是|句|段)|那是|你|答案|力度|速度|"
    r"强度|可能是|应该是|合成|判断|"
    r"\b(?:voz|hablante|locutora?|persona|audio|género|emoción|acento|edad|sonido|habla|respuesta|voix|"
    r"locuteur|locutrice|"
    r"personne|genre|émotion|accent|âge|son|parle|réponse|stimme|sprecher(?:in)?|geschlecht|klingt|spricht|"
    r"aufnahme|antwort|"
    r"falante|gênero|emoção|idade|som|fala|resposta|voce|parlante|genere|emozione|età|suono|parla|risposta)\b|"
    r"голос|говор|звуч|эмоци|аудио|акцент|話者|話し手|感情|アクセント|楽器|화자|목소리|음성|성별|감정|억양|악기|"
    r"เสียง|ผู้พูด|คนพูด|พูด|เพศ|อายุ|อารมณ์|สำเนียง|คลิป|เครื่องดนตรี"
)
GENERAL = re.compile(
    r"\b(?:typically|usually|generally|often|such as|for example|(?<!sounds )like|whether|either|can help|tools?|"
    r"systems?|if(?! i\b| we\b| forced| pressed| you insist| anything))\b|是否|还是|或者|例如|比如|"
    r"如果(?!一定|必须|非要|要我)|"
    r"假如|\bsi (?:es|la)\b|\bob\b"
)
_PERCEIVED = r"say|hear|tell|call|describe|notice|conclude|guess|assume|estimate|classify|identify|label|see|infer"
_IMPERATIVE = re.compile(
    r"^\W*(?:(?:then|next|finally|first|firstly|second|secondly|third|also|lastly|so|additionally|instead|and|"
    r"please|\d+[.)]),? )*"
    r"(?:try|use|start|avoid|focus|consider|look|listen|check|compare|make sure|remember|pay|keep|ensure|begin|"
    r"imagine|practice|ask|think about|read|create|identify|determine|analy[sz]e|understand)(?:ing)?\b|^\W*if you\b"
)
_ADVICE = re.compile(
    rf"\b(?:you|one|we)(?:'ll| will)? (?:can|could|should|might|may|need to|have to|want to|would)"
    rf"(?: also| simply| easily| then| start)*(?! (?:\w+ly )?(?:{_PERCEIVED})\b)|"
    r"\bit(?:'s| is) (?:also |always )?(?:important|essential|crucial|helpful|best|okay|ok|a good idea|worth|"
    r"necessary|recommended|natural|common) (?:to|that)\b|\bwould sound like\b|"
    r"\b(?:one|another|a common|the best) (?:approach|way|method|strategy)\b|可以(?:尝试|试试|先|通过|使用)|建议|"
    r"(?:^|,)\W*if (?:it|its|he|she|they|someone|multiple|the|there)\b|"
    r"^\W*if you\b(?! (?:insist|listen|ask)\b)"
)
_PLAN = re.compile(
    r"\b(?:i|we)(?:'ll| will| can| could|'m going to| aim to| would be happy to)(?: also| then| only| just)* "
    r"(?:analy[sz]e|provide|create|generate|compile|help|assist|look|compare|search|design|develop|write|use|check|"
    r"need|try|do|explain|offer|include|build|detect|respond|focus|listen)\b|"
    r"\b(?:determin|identif|verif|check|see|tell|decid|assess|know)\w* (?:if|whether)\b|\bwhen you\b|"
    r"^\W*(?:do |did |are )?you (?:mean|asking|talking|referring|thinking)\b"
)
_GENERALLY = re.compile(
    r"\b(?:typically|often|usually|generally|commonly|tends? to|in general|such as|for example|for instance|"
    r"can (?:be|range|vary|indicate|suggest|help|lead|also|manifest|trigger)|might|whether|historically)\b|"
    r"通常|一般|例如|比如"
)
_TERM = re.compile(r"\b(?:terms?|words?|phrases?)(?:,? (?:such as|like|of))? [\"']")
_QUOTED = re.compile(r"\"[^\"\n]*\"")
_DEFINES = re.compile(
    r"^\W*(?:the |an? )?(?:[\w'-]+ ){0,2}?\0+(?: [()\"'\w\0-]+){0,6}? "
    r"(?:is|are|was|were|can|has|have|involves?|refers?|means?|may|might|often|includes?|flows?|produces?)\b"
)
_GIVEN = re.compile(
    r"\b(?:classified|identified) as\b|\b(?:the|this|your) (?:[\w-]+ ){0,2}?(?:speaker|voice|audio|clip|"
    r"recording|sample|answer|instrument|"
    r"emotion|accent|gender|tone|one|sentence)\b(?! (?:that|which|of an?)\b)|\bthe most \w+|"
    r"\b(?:great|good|excellent|solid|likely) (?:choice|option)\b|"
    r"\b(?:it|that|this|he|she|they) (?:\w+ly )?(?:sounds?|seems?|appears?)\b(?! like you)|\b(?:his|her|"
    r"their) \0|听起来|声音|说话|"
    r"\0[\"']? (?:[\w-]+ )?(?:voice|speaker|accent|tone|person|singer|emotion|instrument)\b|"
    r"\b(?:best|correct|right|primary|dominant|main|likely|likeliest|speaking|talking|singing|heard|playing|played)\b"
)
_ANAPHOR = re.compile(
    r"^\W*(?:(?:\w+ly|also|instead|then),? )?(?:it|they|these|this|those|he|she)\b(?! (?:\w+ly )?(?:sounds?|"
    r"seems?|appears?)\b)"
)
_HOW_TO = re.compile(
    r"\bto (?:determine|identify|classify|tell|estimate|distinguish|decide|find out|detect|check|assess|"
    r"recogni[sz]e|analy[sz]e)\b[^.!?\n]{0,160},? (?:you|one|we) (?:can|could|may|might|would|should|need|will)\b"
)
_VENTURES = re.compile(
    r"\b(?:i(?:'d| would| will|'ll) (?:say|guess|go|estimate)|my (?:best )?guess|probably|likely|perhaps|"
    r"maybe|possibly|suggests?|indicates?|(?:it |this )?(?:sounds|seems|appears|could be|might be))"
    r"\b|可能|也许|应该|大概|听起来"
)


def tells_how(text: str) -> bool:
    """Whether the answer tells how anybody could find out."""
    return _HOW_TO.search(text) is not None


def about_recording(text: str, refuses: bool) -> Iterator[tuple[int, int]]:
    """Spans of the clauses about the recording. ``text`` has \\0 where a label was.

    Where the answer refuses, a clause must not refuse itself, and being short is not enough.
    """
    was_beside = False
    for start, end in clauses(text):
        clause = text[start:end]
        bare = not re.search(r"[^\W\d_]", clause.replace("\0", ""))
        beside = not bare and (is_beside(clause) or (was_beside and _ANAPHOR.search(clause) is not None))
        was_beside = beside
        if beside:
            continue
        about = bare or _ABOUT.search(clause) is not None
        if refuses:
            about = about and not (REFUSAL.search(clause) or GENERAL.search(clause))
        if about or (not refuses and is_short(clause)):
            yield start, end


def is_short(text: str) -> bool:
    """Whether the answer is hardly more than a label."""
    chinese = len(re.findall(f"[{CJK}]", text))
    return chinese <= _SHORT_CHINESE and len(re.findall(rf"[{LETTER}+'-]+", text)) <= _SHORT_WORDS


def is_beside(clause: str) -> bool:
    """Whether a clause advises, plans, defines, quotes words, or speaks of things in general."""
    if any(act.search(clause) for act in (_IMPERATIVE, _ADVICE, _PLAN)):
        return True
    given = _GIVEN.search(clause) is not None
    return not given and any(act.search(clause) for act in (_GENERALLY, _DEFINES))


def ventured(text: str) -> Iterator[tuple[int, int]]:
    """Spans of what refusing sentences venture behind a comma: "I can't be sure, probably male"."""
    borders = [0, *(place for found in re.finditer(r"[,，;.。!?\n]", text) for place in found.span()), len(text)]
    for start, end in zip(borders[::2], borders[1::2], strict=True):
        part = text[start:end]
        if part.startswith("那"):
            continue  # "if …, then …"
        if _VENTURES.search(part) and not is_beside(part) and not REFUSAL.search(part) and not GENERAL.search(part):
            yield start, end


def mentioned_words(text: str) -> list[tuple[int, int]]:
    """Spans of words that are spoken of as words: 'words such as "low" and "high"'."""
    spans: list[tuple[int, int]] = []
    for start, end in sentences(text):
        if _TERM.search(text, start, end):
            spans += [found.span() for found in _QUOTED.finditer(text, start, end)]
    return spans


def restates_options(clause: str) -> bool:
    """Whether labels in a clause that is beside the recording may repeat the options that were asked for."""
    return _IMPERATIVE.search(clause) is None
