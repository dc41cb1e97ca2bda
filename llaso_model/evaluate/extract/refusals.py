"""Whether an answer refuses: it says that it cannot or will not answer, or asks for what it would need.

Small talk that ignores the question ("How can I help you today?") is no refusal: it is no answer.
English and Chinese are known well, of eight more languages the usual phrases.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llaso_model.evaluate.extract.replies import folded, is_empty

if TYPE_CHECKING:
    from llaso_model.evaluate.extract.labels import AnswerKind

_VERBS = (
    r"hear|heard|listen|play|process|analy[sz]e|access|identif(?:y|ied)|determine|classif(?:y|ied)|detect|recogni[sz]e|"
    r"tell|told|see|seen|do|done|help|assist|perform|extract|estimate|predict|judge|view|open|display|show|shown|"
    r"distinguish|evaluate|assess|categori[sz]e|write|written|generate|sing|produce|answer|confirm|provide|give|given|"
    r"understand|interact|feel|respond|read|verif(?:y|ied)|differentiate|pinpoint|infer(?:red)?|deduce|derive|gauge|"
    r"say|said|guess|discern|ma(?:k|d)e out|fulfil|fulfill|comply|complete|output|return|transcribe|score|rate|find|"
    r"calculate|interpret|check|set|turn|call|control|change|adjust|remind|browse|schedule|delete|remove|create|"
    r"post|order|book|search|look up|send|spell|establish|ascertain|know|known|conclude|make (?:a|an|any|that|this) "
    r"(?:\w+ )?(?:determination|judge?ment|call|guess|assessment|identification|inference|conclusion)|offer|"
    r"commit|choose|decide|speculate|label|name|assign|describe|comment|narrow|measure|quantif(?:y|ied)|"
    r"specif(?:y|ied)|"
    r"be (?:sure|certain|confident|definitive|determinate)|be of (?:help|assistance)"
)
_FOUND = (
    r"determined|inferred|identified|classified|told|heard|detected|recogni[sz]ed|estimated|established|ascertained|"
    r"distinguished|concluded|verified|confirmed|assessed|known|given|provided|answered|made out|pinpointed|discerned|"
    r"deduced|derived|judged|guessed|predicted|evaluated|decided|analy[sz]ed|processed|specified|said|seen|accessed|"
    r"played|transcribed|understood|completed|labell?ed|categori[sz]ed|made|drawn|gauged|measured|rated|"
    r"scored|quantified"
)
_ADVERBS = (
    r"(?:[\s,]+(?:\w+ly|or|and|even|just|able|to|at all|ever|always|quite|with (?:\w+ )?(?:certainty|confidence|"
    r"accuracy|precision)|from (?:the|this|that|your) (?:\w+ )?\w+(?: alone)?|based on (?:the|this|"
    r"that) \w+(?: alone)?,?|"
    r"for (?:sure|certain)|well|also|yet|still|now|possibly|in any way))*"
)
_CANNOT = (
    r"(?:can(?:not|'?t| not| neither)|could(?:n't| not)|won't|will not|would(?:n't| not) (?:want|like) to|"
    r"(?:not|n't)(?:\s+\w+ly)? (?:able|possible|feasible|comfortable|willing|qualified|allowed|permitted|supposed|"
    r"in a position) (?:for me |for us )?to|(?<!being )unable(?: for me)? to|un\w+ly to be able to|"
    r"(?:fail|fails|failed|struggle|struggling|decline|refuse) to|(?:no|any) (?:\w+ )?(?:way|means|method|possibility) "
    r"(?:for me )?(?:to|of)|may not be able to|might not be able to)"
)
_INPUT = (
    r"context|information|details?|audio|recording|clip|sample|sound|file|speech|command|question|data|text|"
    r"transcript|feedback|example|notes?|"
    r"transcription|input|lyrics|melody|sentence|voice|words?|conversation|passage|link"
)
_ENGLISH = (
    rf"\b{_CANNOT}{_ADVERBS}[\s,]+(?:{_VERBS})(?:ing|s)?\b",
    rf"\b{_CANNOT}{_ADVERBS}[\s,]+(?:have )?be(?:en)?{_ADVERBS}[\s,]+(?:{_FOUND})\b",
    rf"\bi (?:can(?:not|'?t| not)|could(?:n't| not)){_ADVERBS}[\s,]+"
    r"(?!(?:wait|help (?:but|\w+ing)|believe|imagine|stress|deny|rule|thank|agree|emphasi[sz]e|argue|complain|exclude|"
    r"overstate|recommend|blame|afford|resist|get enough|say enough|be|have)\b)\w+\b",
    r"\bin(?:capable of|determinable|determinate|conclusive)\b|\bun(?:determined|determinable|identifiable)\b",
    r"\b(?:beyond|outside)(?: of)? (?:my|the scope of my) (?:\w+ )?(?:abilit|capabilit|scope|knowledge|expertise)",
    r"\b(?:i(?:'d| would) rather not|i(?:'d| would)? prefer not to|i must decline|i have no idea|no idea)\b",
    r"\b(?:in(?:sufficient|adequate|complete)|too little|limited|a lack of|lacks? (?:of )?(?:the |any |"
    r"enough |sufficient )?)"
    r" ?(?:\w+ )?(?:information|context|data|audio|details?|evidence|cues?|clues?|input)\b",
    r"\b(?:not|n't|without|lacking|lacks?) (?:have |provide |contain |give )?(?:me |us )?(?:with )?(?:enough|"
    r"sufficient|adequate) "
    r"(?:\w+ )?(?:information|context|data|audio|details?|evidence|cues?|clues?|input|to (?:determine|tell|"
    r"say|go on))\b",
    r"\bi(?:'ll| will) need (?:to know|to hear|some|more|the)\b(?! time)",
    r"\bgive me (?:\w+ ){0,3}(?:details?|information|context)\b",
    r"\b(?:no|any) (?:\w+ )?(?:indication|information|mention|clues?|evidence|cues?|hints?) (?:of|about|on|"
    r"regarding|as to|"
    r"for|concerning) (?:the |any |their |his |her |whether )?(?:speaker|gender|age|accent|emotion|identity|"
    r"pitch|voice|sex)",
    r"\btoo (?:\w+ly )?(?:short|noisy|quiet|brief|unclear|ambiguous|distorted|faint|muffled|limited|poor|low|"
    r"vague|subtle)"
    r" (?:for me )?to\b|\b(?:inappropriate|irresponsible|unethical|speculative|unwise|unfair|misleading|"
    r"not appropriate|not "
    rf"reliable|not ethical) (?:for me )?to (?:\w+ly )?(?:{_VERBS}|assume|make)\b|"
    r"\b(?:not|n't) (?:\w+ly )?(?:determinable|identifiable|discernible|discernable|"
    r"possible to \w+|something i can|within my)|\b(?:can|may) be (?:very |highly )?unreliable\b",
    r"^\W*(?:unknown|undetermined|uncertain|unclear|unsure|inconclusive|indeterminate|not sure|no idea|not clear|"
    r"cannot say|can't say|can't tell|hard to (?:say|tell)|difficult to (?:say|tell)|i don't know|unidentified)\W*$",
    r"\b(?:remains?|appears?|seems?|left|is|are) (?:\w+ly )?(?:uncertain|unclear|unknown|undetermined|"
    r"ambiguous to me)\b",
    r"\bi (?:do not|don't) (?:feel comfortable|want to (?:guess|speculate|assume))|\bi(?:'m|"
    r" am) (?:afraid i (?:do not|don't) know)",
    r"\b(?:not|n't)\s+(?:\w+\s+)?(?:capable of|equipped (?:to|for)|something i|designed to|programmed to|trained to)\b",
    r"\b(?:do(?:es)?n't|do not|does not|without|no)\s+(?:\w+\s+){0,2}(?:access to|ability|abilities|capability|"
    r"capabilities)\b(?! to (?:fall|sleep|eat|drink|dream|love|enjoy|get)\b)",
    rf"\b(?:do(?:es)?n't|do not|does not|did(?:n't| not))\s+(?:\w+\s+){{0,2}}(?:see|hear|receive|have|get|"
    rf"detect|catch)\s+(?:\w+\s+){{0,3}}"
    rf"(?:{_INPUT})\b",
    r"\b(?:did(?:n't| not)|could(?:n't| not))\s+(?:quite\s+)?(?:catch|hear|understand|get)\s+(?:that|you|it|what)\b",
    r"\b(?:please|(?:could|can|would) you(?: please)?) (?:\w+ly )?(?:clarify|specify|elaborate|rephrase|"
    r"share (?:them|it|that|your|the|more|some|any))\b",
    rf"\bif you (?:can |could )?(?:provide|share|give|tell|describe|clarify)\b[^.?!]{{0,40}}?\b(?:{_INPUT}|"
    rf"it|that|title)\b|"
    rf"\bdo you have (?:any |some )?(?:more |other |further )(?:{_INPUT})\b",
    r"\bnot (?:hearing|seeing|receiving)\b|\bno audio\b|\bisn't (?:any|an) audio\b",
    r"\btext[- ]based (?:ai|model|assistant|language|conversational|interface|virtual|chat)",
    r"\bi(?:'m| am) (?:just |only |simply )?an? (?:large |text |text-based )?(?:language model|ai\b|artificial)",
    r"\bas an? (?:ai|text|language model|voice assistant)\b",
    rf"\b(?:please|could you|can you|would you|can i|could i|may i|you(?:'d| would|'ll| will| can) (?:need|"
    rf"have) to|if you(?:'d like to| would like to| could| can))\b"
    rf"[^.?!]{{0,40}}?\b(?:provide|share|describe|send|upload|give|clarify|specify|repeat|rephrase|elaborate|"
    rf"tell|attach|play|know|get|have)\b"
    rf"[^.?!]{{0,60}}?\b(?:{_INPUT}|it|that)\b",
    rf"\b(?:i(?:'d|'ll| would| will)?|without|lack of)\s+(?:need |require |want )?(?:to (?:know|hear|see) )?(?:some |"
    rf"a bit |a little |much )?(?:more|additional|further|the|your)\s+(?:\w+\s+)?(?:{_INPUT})\b",
    r"(?<!that )(?<!which )\b(?:is|are|was|were|been|it's|be)\s+(?:not\s+(?:\w+ly )?|un)(?:specified|provided|"
    r"mentioned|given|stated|available|disclosed|known|clear|indicated|possible|determined(?! by(?! (?:the|"
    r"this|your) (?:audio|recording|clip|sample|file|sound)\b))|identified|"
    r"recorded)\b",
    r"\b(?:isn't|aren't|wasn't) (?:specified|provided|mentioned|given|stated|available|clear|indicated|possible|"
    r"enough)\b",
    r"\b(?:do(?:es)?n't|do not|does not) (?:provide|give|contain|include|specify|mention|indicate|state|have|"
    r"reveal)\b(?! any additional| additional)[^.?!]{0,40}"
    rf"\b(?:enough|sufficient|any|information|gender|age|accent|emotion|clues?|{_INPUT})\b",
    r"\b(?:impossible|difficult|hard|not possible|not easy|tricky|challenging|tough)(?: \w+)?(?: for (?:me|"
    r"anyone|us))? to "
    rf"(?:\w+ ){{0,2}}?(?:{_VERBS})\b",
    r"\bi(?:'m| am) (?:not|un) ?(?:\w+ly |quite |too |100% )?(?:sure|certain|confident)\b|"
    r"\bi (?:\w+ )?do(?:n't| not) (?:\w+ly )?know\b",
    r"\bi can only (?:respond|provide|process|answer|communicate|help with)\b",
    r"\bi(?:'m| am) not (?:aware of|familiar with)\b",
    r"\bi (?:do not|don't|never|will not|won't) (?:\w+ly )?(?:infer|guess|identify|classify|judge|estimate|determine|"
    r"speculate|assume|analy[sz]e|label)\b",
    r"\btell me more about what you(?:'re| are)? (?:trying|referring|mean|need|looking|asking|want)",
    r"\bi(?:'d| would) (?:need|have to (?:hear|listen|know|see))\b",
)
_CHINESE = (
    r"无法|没办法|没法|未能|不能(?:直接|够|真正|准确)?(?:听|判断|识别|处理|分析|确定|回答|提供|访问|播放|完成|做|理解|给)",
    r"需要知道[^。]{0,30}才能|[你您]需要(?:提供|告诉)",
    r"(?<!或)(?<!和)不(?:太)?(?:确定|知道|清楚)(?!或|和|、|的)",
    r"你?能(?:不能)?(?:再)?(?:提供|告诉我)[^。！]{0,20}吗",
    r"请(?:你|您)?(?:再)?(?:提供|告诉|描述|分享|上传|给|重复|说)",
    r"(?<!如果)(?<!如果你)(?<!你)(?<!可以)(?:提供|需要|告诉我)(?:一些|我)?更多(?!\w{0,4}(?:吗|的话))|"
    r"更多(?:的)?(?:信息|上下文|背景|细节)(?!吗|的话)",
    r"作为(?:一个)?(?:人工智能|语言模型|ai|文本|语音助手)",
    r"(?:很|较|比较|十分|非常|有点|有些)?难(?:以)?(?:直接|准确|确切)?(?:确定|判断|识别|分辨|辨别|辨认|界定|得出)|不好(?:判断|说|确定)|说不准|"
    r"看不出|不足以|信息不足|(?:并)?不(?:太)?(?:能|可能)(?:准确|直接)?(?:确定|判断)",
    r"没有(?:提供|足够|听到|收到|具体)|没听(?:清|懂|到)|听不(?:出|清|懂|到)|(?:不太|没)(?:明白|理解)|(?:再)?(?:具体|详细)(?:点|一点|说)",
)
_OTHERS = (  # Spanish and Portuguese, French, Italian, German, Russian, Japanese, Korean, Thai
    r"\b(?:no|não) (?:\w+ )?(?:puedo|podemos|se puede|es posible|soy capaz|tengo (?:acceso|suficiente)|hay suficiente|"
    r"posso|consigo|é possível|tenho (?:acesso|informaç)|há informaç)|\bno sé\b|\bnão sei\b|\bimposible (?:de )?\w+r\b|"
    r"\bimpossível (?:de )?\w+r\b|\binformación insuficiente|\b(?:no|não) estoy segur|\bnão tenho certeza",
    r"\b(?:ne|n') ?(?:peux|peut|puis|suis|sais|dispose|est) (?:\w+ )?(?:pas|guère)\b|\bimpossible d(?:e |')|"
    r"\bpas (?:en mesure|capable|possible) d(?:e |')|\bje ne sais pas\b|\binformations? insuffisante",
    r"\bnon (?:posso|riesco|sono in grado|è possibile|ho (?:accesso|abbastanza)|so)\b|\bimpossibile \w+re\b",
    r"\b(?:kann|können|lässt sich)\b[^.!?]{0,60}\b(?:nicht|keine)\b|\bnicht (?:möglich|in der lage|bestimmbar|sicher)|"
    r"\bunmöglich zu\b|\bich weiß (?:es )?nicht\b|\bnicht genug informationen",
    r"\bне (?:могу|можем|удается|удаётся|удалось|знаю|уверен|в состоянии)|\bневозможно\b|"
    r"\bнедостаточно (?:информации|данных)",
    r"(?:でき|聞け|聞き取れ|判断しかね|答えられ|わかり|分かり)ません|(?:判断|特定|判別)(?:は|が|するのは)?(?:困難|難し|不可能)|わからない|分からない",
    r"(?:할|알|들을|판단할|확인할|구분할) 수 (?:없|가 없)|모르겠|어렵습니다|불가능|정보가 부족",
    r"ไม่สามารถ|ไม่ทราบ|ไม่แน่ใจ|ไม่ได้ยิน|ไม่มีข้อมูล|ข้อมูลไม่เพียงพอ|ยากที่จะ|บอกไม่ได้|ระบุไม่ได้",
)
PATTERN = re.compile("|".join(f"(?:{part})" for part in (*_ENGLISH, *_CHINESE, *_OTHERS)))
"""Matches in folded text (:func:`folded`)."""


def is_refusal(answer: str) -> bool:
    """Whether a free answer refuses; a long answer that says so somewhere in passing does not.

    Looked at are the first 25 words, or characters of Chinese times two: who refuses says so at once.
    """
    text = folded(answer)
    head = " ".join(text.split()[:25])[:400]
    return PATTERN.search(head) is not None


def free_answer_kind(answer: str) -> AnswerKind:
    """What an answer in free words is: it may be empty or refuse, else it is one answer."""
    return "empty" if is_empty(answer) else "refusal" if is_refusal(answer) else "one"
