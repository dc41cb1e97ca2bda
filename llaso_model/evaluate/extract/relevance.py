"""Which clauses of an answer say something of the recording, and which talk of something else.

Labels and numbers count only in the former. A clause is *about the recording* where it names the speaker, the voice,
the sound or the answer as something given ("the voice is …", "a … accent", "it sounds …"). It is *beside* it where it
advises, plans, defines, speaks of things in general, asks what the user meant, or quotes words. "It is …" behind a
clause that is beside the recording is beside it too. Where an answer speaks of the recording anywhere, its other
clauses count as well, unless they are beside it.
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
    r"speaker|voice|person|accent|dialect|variety|varieties|emotion|gender|sex|age|audio|clip|recording|"
    r"sample|utterance|sentence|"
    r"instrument|sound|tone|pitch|velocity|intensity|label|answer|category|classification|speech|intent|identity|"
    r"mood|sentiment|feeling|source|note|conversation|dialogue|dialog|age group|option|description|passage|segment|"
    r"delivery|prosody|timbre|resonance|rhythm|cadence|laugh|laughter|cough|statement|intonation|"
    r"pronunciation|tempo|number|value|command|word|singer|performer"
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
    r"^\W*\0+\W*:|:\s*[\"']?\0+\W*$|^\W*\0+[\"')\]]*\s*[-(]|\0 is what\b|\bresembles? (?:an? |the )?\0|"
    r"\bbelongs? to (?:the )?\0|\0 (?:the )?(?:more|most) (?:likely|probable|plausible)|\binfluenced by \0|"
    r"^\W*(?:most |very )?(?:likely|probably|possibly|perhaps|maybe|presumably|"
    r"definitely|clearly|certainly)\b[^.,]{0,20}\0|\bin an? (?:\w+ )?\0+[\"']? (?:manner|way|fashion)|"
    r"\b(?:points?|pointing) to(?:wards?)? (?:an? |the )?\0|\b(?:suggests?|indicates?|signals?|implies|"
    r"conveys?|reveals?) "
    r"(?:an? |the )?(?:\w+ )?\0|\0 (?:says|said|speaks|delivers|asks|replies|tells|shouts|whispers)\b|"
    r"\b(?:you|we|one) (?:can )?(?:\w+ly )?hear\b|\bfavou?rs? \0|\bhas the \w+ \w+ of (?:an? |the )?\0|"
    r"\b(?:i(?:'d| would)? (?:say|guess|go|choose|estimate|describe|lean|classify|identify|label|put|place|"
    r"rate|call|pick)|"
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
    r"imagine|practice|ask|think about|read|create|identify|determine|analy[sz]e|understand)\b|^\W*if you\b"
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
_YOURS = re.compile(
    r"^\W*(?:it )?(?:sounds|seems|looks) like you(?:'re| are| might be| may be) (?:describ|referr|list|"
    r"discuss|ask|look|"
    r"try|talk|deal|interest|reflect)"
)
_THE_RECORDING = re.compile(r"\b(?:the|an?) (?:\w+ )?(?:speaker|voice|recording)\b|\ban? \0")
_POINTS = re.compile(
    r"^\W*(?:all )?(?:these|those|such|both)\b[^.]{0,60}\b(?:associated with|characteristics? of|typical|indicative|"
    r"consistent with|hallmarks?|signs? of|suggest\w*|indicate|point|found in|heard in|match)\b"
)  # "these qualities are generally associated with …", behind what is said of the recording
_GRANTED = re.compile(
    r",? (?:although|though|even though|even if|but|while|and (?=(?:the|it|its|this|there|does|do|is|i)\b))\b"
)
_TOPIC = re.compile(
    r"\b(?:speakers?|voices?|accents?|audio|recordings?|clips?|emotion|sounds?|instruments?|tones?|labels?|"
    r"pitch|similarity|vowels?|timbre|velocity|note|group|category|"
    r"i (?:hear|think|believe|would)|i'd)\b|\b(?:this|that) (?:is|isn't|was|sounds) (?:\w+ ){0,2}\0|声|音|说话|情绪"
)
_TALK = re.compile(
    r"\byou (?:can|could|should|might|may|need|would|want)\b|\byou(?:'re|'ve| are)\b|"
    r"\bit's (?:\w+ )?(?:important|crucial|essential|great|"
    r"wonderful|natural|okay|helpful|possible)\b|\b(?:i|we)(?:'ll| will) (?!say|go|pick|choose|guess)\w+|"
    r"\bfeel free|\blet me know|"
    r"\bhow can i|\bis there anything|\bwould you like|\bcan help|\bhere to help|\brefers? to\b|"
    r"\btypically\b|\b(?:can|may) (?:also )?be \w+ed\b|"
    r"\bwould sound like\b|\bif (?:they|it|he|she|the speaker)\b|\bis (?:also )?known\b|\bfor example\b|\bprocess\b|"
    r"^\W*(?:start|begin|use|try|avoid|focus)\b|你|您"
)
_BUT = re.compile(r"(?:\bbut|\bhowever|\bnevertheless|\bstill|但是|不过|但)\W*$")
_CONTENT = re.compile(
    r"\b(?:mention(?:s|ed|ing)?|talk(?:s|ing|ed)? (?:about|of)|speak(?:s|ing)? (?:about|of)|(?:\w{3,}(?:ing|"
    r"ed|s)|stor(?:y|ies)|songs?|books?|jokes?) about|discuss(?:es|ed|ing)?|"
    r"recall(?:s|ed|ing)?|the (?:idea|concept|notion|importance|topic|theme|subject|decline|history|"
    r"story) (?:of|that))\b"
    r"(?:(?!\b(?:but|yet|though|while)\b)[^.;,!?\n]){0,90}$"
)
_HEAD = re.compile(
    r"(?:accents?|english|dialects?|speech|languages?|speakers?|persons?|people|voices?|man|men|woman|women|"
    r"male|female|"
    r"boy|girl|lady|gentleman|guy|individuals?|native|tones?|emotions?|emotional|feelings?|mood|sentiment|state|"
    r"expressions?|intensity|levels?|category|label|class|group|bracket|range|identity|degree|amount|velocity|side|"
    r"end|scale|engine|system|model|software|age|years?|old|variety|varieties|pronunciation|"
    r"intonation|inflections?|vowels?|phrasing|influences?|origin|descent|background|heritage|region|sounds?|audio|"
    r"recordings?|instruments?|timbre|content|delivery|responses?|reactions?|comments?|messages?|statements?|notes?|"
    r"options?|answers?|style|features?|elements?|quality|qualities|characteristics|cues?|signal|sample|clip|source|"
    r"guitar|piano|bass|singer|singing|performer|actor|host|narrator|adult|child|teenager|talker|caller|customer|user|"
    r"and|or|nor|is|are|was|were|of|in|with|without|because|as|to|from|for|but|who|that|which|can|could|may|might|"
    r"would|should|will|must|has|have|had|do|does|did|seems?|sounds|appears?|than|at|by|on|over|under|i|it|he|she|they|"
    r"we|you|there|here|since|due|based|given|rather|instead|though|although|while|not|no|also|too|if|when|so|then|yet|"
    r"despite|like|both|either|most|more|very|only|alone|one|this|the|a|an|best|fits?|stands|wins|according|judging|"
    r"considering|after|before|during|throughout|through|about|rising|being|used|making|speaking|talking|saying|says|"
    r"said|laughing|crying|coughing|mixed|tinged|combined|compared|detected|heard|present|expressed|conveyed|indicated|"
    r"suggests?|indicates?|points?|comes?|belongs?|speaks?|plays?|played|playing|sings?|laughs?|coughs?|percent|"
    r"probability|confidence|score|melody|melodies|riffs?|chords?|strings?|lines?|solo|parts?|tracks?|strums?|tune|"
    r"attitude|outlook|manner|way|vibe|mood|connotation|undertones?|opinion|remark|review|opening|music|"
    r"waveforms?|waves?|texture|patch|production|synth|pad|lead|beep|pluck|"
    r"drums?|bell|ensemble|section|family|type|kind|lilt|drawl|twang|brogue|burr|giggle|chuckle|sigh|cry|scream|shout|"
    r"whisper|outburst|exclamation|cough|sneeze|laugh|laughter|kid|baby|teen|patient|student|(?!character|"
    r"number|letter|matter|factor|order|paper|power|water|computer|center|colou?r|error)\w+(?:er|or|ist))"
)
_OF_SPEECH = re.compile(r"\b(?:accents?|english|dialects?|languages?|speech|speakers?|voices?|tone|sounds?)\b")
_GENERALLY = re.compile(
    r"\b(?:typically|often|usually|generally|commonly|tends? to|in general|such as|for example|for instance|"
    r"can (?:be|range|vary|indicate|suggest|help|lead|also|manifest|trigger)|might|whether|historically)\b|"
    r"通常|一般|例如|比如"
)
_LINKED = re.compile(
    r"\balso (?:commonly|often|typically|usually|generally) (?:associated|used|known|played|found|heard)\b"
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
    r"^\W*\0+[\"')\]]*\s-\s|\b(?:it|this|that|s?he|they) (?:could|might|may|must) (?:also |well |"
    r"even )?be (?:an? |the )?\0|"
    r"\b(?:a|the) (?:better|best|closest|good) (?:match|fit|choice|guess|option)\b|"
    r"\0[\"']? (?:is|was|would be) (?:my|what i|the (?:answer|best|most|closest|correct|right|dominant|one))|"
    r"\bi(?:'d| would|'m| am|'ll| will)? (?:\w+ly )?(?:think|believe|guess|say|pick|choose|go (?:with|for)|"
    r"classify|label|"
    r"lean\w*|put|place|estimate|conclude|suspect)\b|\0[\"']? (?:[\w-]+ )?(?:voice|speaker|accent|tone|"
    r"person|singer|emotion|instrument)\b|"
    r"\b(?:best|correct|right|primary|dominant|main|likely|likeliest|speaking|talking|singing|heard|playing|played)\b"
)
_ANAPHOR = re.compile(
    r"^\W*(?:(?:\w+ly|also|instead|then),? )?(?:it|they|these|this|those|he|she)\b(?! (?:\w+ly )?(?:sounds?|"
    r"seems?|appears?)\b)"
)
_HOW_TO = re.compile(
    r"\bto (?:determine|solve|approach|verify|find|measure|predict|identify|classify|tell|estimate|"
    r"distinguish|decide|find out|detect|check|assess|"
    r"recogni[sz]e|analy[sz]e)\b[^.!?\n]{0,160},? (?:you|one|we|users?|a user) (?:can|could|may|might|would|"
    r"should|need|"
    r"will)\b|"
    r"\b(?:can|could|may) be (?:determined|predicted|done|identified|classified|estimated|inferred) (?:by|"
    r"using|through|"
    r"with) (?:the |an? )?(?:\w+ing|use|tool|software|built|method|algorithm)\b"
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
    was_beside = was_about = False
    last = 0
    every = clauses(text)
    on_topic = not refuses and any(
        _TOPIC.search(text[start:end]) and not is_beside(text[start:end]) for start, end in every
    )
    for start, end in every:
        clause = text[start:end]
        goes_on = was_about and re.search(r"\w", text[last:start]) is not None
        last = end
        bare = not re.search(r"[^\W\d_]", clause.replace("\0", ""))
        beside = not bare and (is_beside(clause) or (was_beside and _ANAPHOR.search(clause) is not None))
        if beside and was_about and _POINTS.search(clause):
            beside, goes_on = False, True
        was_beside, was_about = beside, False
        if beside:
            continue
        about = bare or goes_on or _ABOUT.search(clause) is not None
        granted = _GRANTED.search(clause) if refuses else None
        if granted is not None and not bare:
            clause = clause[: granted.start()]
            end = start + len(clause)
        if refuses:
            about = (about or _BUT.search(text[max(0, start - 20) : start]) is not None) and not (
                REFUSAL.search(clause) or GENERAL.search(clause)
            )
        if about or on_topic or (not refuses and is_short(clause)):
            was_about = about
            yield start, end


def answers(text: str) -> bool:
    """Whether an answer speaks of the recording and does not talk to the user. ``text`` has \\0 where a label was."""
    return _TOPIC.search(text) is not None and _TALK.search(text) is None


def is_short(text: str) -> bool:
    """Whether the answer is hardly more than a label."""
    chinese = len(re.findall(f"[{CJK}]", text))
    return chinese <= _SHORT_CHINESE and len(re.findall(rf"[{LETTER}+'-]+", text)) <= _SHORT_WORDS


def is_beside(clause: str) -> bool:
    """Whether a clause advises, plans, defines, quotes words, or speaks of things in general."""
    if any(act.search(clause) for act in (_IMPERATIVE, _ADVICE, _PLAN, _LINKED)):
        return True
    if _YOURS.search(clause) and not _THE_RECORDING.search(clause):
        return True
    given = _GIVEN.search(clause) is not None
    return not given and any(act.search(clause) for act in (_GENERALLY, _DEFINES))


def before_concession(clause: str) -> str:
    """What a refusing clause says before it refuses: "it is 18 years, and the gender is not specified"."""
    granted = _GRANTED.search(clause)
    statement = clause[: granted.start()] if granted is not None else ""
    return "" if REFUSAL.search(statement) or GENERAL.search(statement) or is_beside(statement) else statement


def ventured(text: str) -> Iterator[tuple[int, int]]:
    """Spans of what refusing sentences venture behind a comma: "I can't be sure, probably male"."""
    edges = [0, *(place for match in re.finditer(r"[,，;.。!?\n]", text) for place in match.span()), len(text)]
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        part = text[start:end]
        if part.startswith("那"):
            continue  # "if …, then …"
        if _VENTURES.search(part) and not is_beside(part) and not REFUSAL.search(part) and not GENERAL.search(part):
            yield start, end


def mentioned_words(text: str) -> list[tuple[int, int]]:
    """Spans of words that are spoken of as words: 'words such as "low" and "high"'."""
    spans: list[tuple[int, int]] = []
    for start, end in sentences(text):
        term = _TERM.search(text, start, end)
        if term is not None:
            spans += [match.span() for match in _QUOTED.finditer(text, term.start(), end)]
    return spans


def is_talked_of(text: str, start: int) -> bool:
    """Whether what begins there is what the recording, or its text, is about: "mentions Ireland"."""
    return _CONTENT.search(text[max(0, start - 120) : start]) is not None


def names_another(text: str, start: int, end: int) -> bool:
    """Whether a stretch only says which other thing is meant: "a Scottish dish", "the acoustic effect"."""
    determined = re.search(r"\b(?:an?|the|this|some|any|no) (?:[\w-]+ )?$", text[max(0, start - 30) : start])
    behind = re.match(r"[ -]([a-z]+)(?: ([a-z]+))?(?: ([a-z]+))?", text[end:])
    if determined is None or behind is None or behind[1].endswith("ly"):
        return False
    return not any(word is not None and _HEAD.fullmatch(word) for word in (behind[1],)) and not (
        behind[2] and _OF_SPEECH.search(behind[0])
    )


def restates_options(clause: str) -> bool:
    """Whether labels in a clause that is beside the recording may repeat the options that were asked for."""
    return _IMPERATIVE.search(clause) is None
