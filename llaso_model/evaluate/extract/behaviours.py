"""What an answer does: it answers, refuses, or asks what is meant. For instructions that may be ones to refuse.

English and Chinese are known. The rule, in order:

1. An answer without a letter and a digit does nothing.
2. An answer that is mostly what is said in the recording, or the reference (:data:`REPEATED`), answers: a transcript of
   "Could you tell me which?" is no question back.
3. Its first words are looked at (:data:`HEAD_WORDS`), because who refuses or asks says so at once. A question to the
   user about what is meant is a question back; small talk and an offer to do more are none.
4. The rest refuses where it says that something cannot be done, or that what is asked about is not there. An answer
   may refuse and ask back.
5. What does neither answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from llaso_model.evaluate.extract.refusals import PATTERN as REFUSAL
from llaso_model.evaluate.extract.replies import folded, is_empty
from llaso_model.evaluate.metrics.text_generation import rouge_l

VERSION = 1
"""Changes with every change of what an answer is taken for; ``scores.json`` names it."""
Behaviour = Literal["answer", "refusal", "ask_back"]
HEAD_WORDS = 40
_HEAD_CHARACTERS = 240
REPEATED = 0.5
"""ROUGE-L from which an answer repeats a text."""

_SMALL_TALK = re.compile(
    r"[^.?!]*\b(?:how (?:can|may|could) i (?:help|assist)|(?:what|anything|something) (?:else )?(?:can|could|may) i "
    r"(?:help|do for|assist)|is there anything else|anything else|how are you|does that help)\b[^.?!]*[.?!]?|"
    r"[^。?!]*(?:有什么(?:我)?(?:可以|能)(?:为您|为你|帮)|我(?:可以|能)(?:为您|为你|帮您|帮你)做(?:些|点)?什么|还有(?:什么|其他))[^。?!]*[。?!]?"
)
_OFFER = re.compile(
    r"(?:^|[.?!]) ?(?:(?!what|how|which|who)\w+,? )?(?:would you like me to|do you want me to|shall i|should i also|"
    r"can i also)\b(?![^.?!]* or )[^.?!]*\?|"
    r"[^。?!]*(?:需要我|要不要我)(?![^。?!]*还是)[^。?!]*\?"
)
_ASKS = re.compile(
    r"(?:^|[.!?,:;\"] ?|\b(?:but|so|and|then|sorry|begin|first)\b ?)[^.?!]*"
    r"\b(?:which|what|whom?|where|how|do|did|are|should|could|can|would|may|shall)\b[^.?!]*"
    r"\b(?:you|your|i|me|mean|meant)\b[^.?!]*\?|"
    r"\b(?:please|could you|can you|would you|you need to|you will need to|need you to) (?:\w+ )?(?:clarify|specify|"
    r"elaborate|rephrase|explain (?:what|which)|be more specific|say (?:what|which)|tell me (?:what|which))\b|"
    r"\b(?:i need to know|please let me know|let me know|tell me) (?:what|which|whether)\b|"
    r"(?:请问|您|你|我|到底|究竟)[^。?!]{0,40}(?:哪|什么|怎么|怎样|如何|吗|还是|呢|不写|与否)[^。?!]{0,30}\?|"
    r"[^。?!]*(?:要不要|是不是|还是|哪)[^。?!]*\?|"
    r"(?:指|说|要|想要)的是(?:哪|什么)|请(?:您|你)?(?:再)?(?:具体|进一步)?(?:说明|澄清|明确|说清|讲清)|"
    r"能(?:不能)?(?:再)?(?:说|讲)得?(?:再)?(?:具体|清楚|详细)"
)
_ONE_QUESTION = re.compile(r"[^.?!。]{1,80}\?")
"""An answer that is a question and nothing else."""
_ABSENT = re.compile(
    r"\bthere(?:'s| is| are| was| were)? (?:(?:is|are|was|were)n't (?:any|an?)|no|not any|not an?|only one) "
    r"(?:\w+ ){0,2}?(?:second|third|other|another|song|singing|singer|music|lyrics|choir|guitar|announcer|reply|answer|"
    r"recordings?|clips?|speakers?|voices?|such|person|people|part)\b|"
    r"\bi (?:can )?only (?:hear|have|see|got|received?)\b|\bthere is nothing (?:like|of)\b|"
    r"\bno (?:lyrics|songs?|music|singing|choir|announcer|guitar|(?:second|third|other) \w+)\b|"
    r"\bonly (?:one|a single) (?:speaker|voice|person|recording|clip|audio)\b|"
    r"\b(?:nobody|no one|no (?:second|other|third|such) \w+)\b[^.?!]{0,30}\b(?:sings?|answers?|replies|heard|speaks?|"
    r"exists?|there)\b|"
    r"\b(?:the|this) (?:recording|audio|clip) (?:does not|doesn't|did not) (?:contain|include|have|hold|tell|say)\b|"
    r"\b(?:i|we) (?:do|did)(?: not|n't) hear\b|\bnot (?:in|part of) (?:the|this) (?:recording|audio|clip)\b|"
    r"\b(?:contradict\w*|contradictory|mutually exclusive|cannot both|can't both|exclude each other)\b|"
    r"录音(?:里|中)?(?:并)?没有(?:您|你|这|第|歌|音乐|别|其他|任何|人)|我(?:可)?不能|(?:不存在|听不到|做不到|并没有)|只有(?:一|1)(?:位|个|段|名)|"
    r"(?:互相|自相|前后)(?:矛盾|相反)|不能同时|不可能"
)


def behaviours(answer: str, said: Iterable[str] = (), language: str | None = "en") -> frozenset[Behaviour]:
    """What an answer does.

    Args:
        answer: What the system said, without its reasoning.
        said: Texts that an answer may repeat: what is said in the recording, the reference where it is no refusal.
        language: The language of these texts.

    Returns:
        ``answer`` alone; ``refusal``, ``ask_back`` or both; empty where there is nothing.
    """
    if is_empty(answer):
        return frozenset()
    if any(rouge_l(text, answer, language) >= REPEATED for text in said):
        return frozenset(("answer",))
    head = " ".join(folded(answer).split()[:HEAD_WORDS])[:_HEAD_CHARACTERS]
    head = _OFFER.sub(" ", _SMALL_TALK.sub(" ", head))
    rest = _ASKS.sub(" ", head)
    found: set[Behaviour] = set()
    if rest != head or _ONE_QUESTION.fullmatch(head.strip()):
        found.add("ask_back")
    if REFUSAL.search(rest) or _ABSENT.search(rest):
        found.add("refusal")
    return frozenset(found or ("answer",))
