"""Words by which an answer marks what it gives as its answer, what it prefers, and what it only mentions."""

from __future__ import annotations

import re

CLAUSE = re.compile(
    r"\n+|[。！？；]+|[.!?;]+(?=[\"')]*(?:\s|$|[^\x01-\x7f]))|,?\s+but\s+|,?\s*however\b|，?(?:但是|不过|但)"
)
SENTENCE = re.compile(r"(?<=[。！？])|(?<=[.!?])[\"')]*(?=\s|$|[^\x00-\x7f])|\n")
IS = r"(?:\bis\b(?! not\b|n't)|≈|\bwould be\b|\bwould have to be\b|\bmust be\b|\bshould be\b|\bremains\b|:|=|->|→)"
FINAL = re.compile(
    rf"\b(?:final|overall|definitive|ultimate) (?:answer|label|classification|verdict|decision|prediction|choice|"
    rf"conclusion|judge?ment|estimate|guess|result|assessment|determination)\b[^.!?\n]{{0,60}}?(?:{IS}|\n)|"
    r"\b(?:in conclusion|to conclude|conclusion\s*:|verdict\s*:)|(?:最终|最后)(?:的)?(?:答案|结论|判断)(?:是|为|:)?|"
    r"结论(?:是|为|:)|"
    r"\b(?:respuesta|conclusión|réponse|resposta|risposta) (?:final|finale)\b(?: es| est| é| è)?\s*:?|"
    r"\bendgültige antwort\b(?: ist| lautet)?\s*:?|คำตอบสุดท้าย(?:คือ|:)?|最終(?:的な)?(?:回答|答え)(?:は|:)?"
)
FIELD = re.compile(
    r"(?:^|[\n.!?;,]\W*)(?:(?:the|overall|emotional|estimated|likely|predicted|detected|selected|recogni[sz]ed|vocal|"
    r"primary|dominant|main) )*(?:gender|sex|accent|dialect|age(?: group| range)?|emotion|intensity|sentiment|label|"
    r"category|class|classification|decision|verdict|instrument|source|speaker|command|intent|result|"
    r"prediction|selected|selection|chosen|choice)(?: (?:level|type|class|group|range|label|name|"
    r"category))?\s*(?::|=|->|→)|"
    r"\b(?:guess|estimate|verdict)\s*:"
)  # "emotional intensity: medium"
ANSWER = re.compile(
    rf"\b(?:(?:final|correct|best|right|appropriate|my) )?(?:answer|label|conclusion|prediction|"
    rf"(?<=my )choice)s?\b[^.!?\n]{{0,140}}?{IS}|"
    r"\bi(?:'d| would| will|'ll|'m going to| am going to| have to| had to| must)? (?:therefore |thus |hence |"
    r"confidently |have to )?"
    r"(?:choose|pick|select|go with|going with|opt for|settle on|settle for|vote for|conclude(?: that)?|answer|"
    r"classify (?:it|this|the \w+(?: \w+)?) as|identify (?:it|this|the \w+(?: \w+)?) as|label (?:it|this|the \w+) as|"
    r"describe (?:it|this|the \w+(?: \w+)?) as)\b|"
    rf"\b(?:best|closest|most (?:likely|probable|appropriate|suitable|fitting|plausible|accurate)) (?:match|"
    rf"answer|choice|"
    rf"option|guess|label|fit|candidate|description|classification|category|estimate|conclusion|emotion|"
    rf"accent|gender|age|"
    rf"number|value|pitch|instrument|sound|speaker)\b[^.!?\n]{{0,60}}?{IS}|"
    r"(?:所以|因此)?(?:正确|我的)?答案(?:应该)?(?:是|为|:)|(?:我)?(?:会)?选(?:择)?(?=[^\w]*[\w\x00])|"
    r"\b(?:la )?respuesta (?:correcta )?(?:es|sería)\b\s*:?|\brespuesta\s*:|"
    r"\b(?:la )?(?:bonne )?réponse (?:correcte )?(?:est|serait)\b\s*:?|\bréponse\s*:|\bantwort (?:ist|lautet|"
    r"wäre)\b\s*:?|\bantwort\s*:|"
    r"\bresposta (?:correta )?é\b\s*:?|\bresposta\s*:|\brisposta (?:corretta )?è\b\s*:?|\brisposta\s*:|\bответ\s*[:-]|"
    r"คำตอบ(?:ที่ถูกต้อง)?(?:คือ|:)|->|→|=>|(?:答え|回答|正解)は|(?:정답|답변|답)(?:은|:)|"
    r"\b(?:is|be) (?:best |most likely |most accurately )?(?:classified|categori[sz]ed|labell?ed|described|"
    r"identified) as\b"
)
SO = re.compile(
    r"\bi\.?e\.?,|\bnamely\b|\bin other words\b|\s-\s(?=[\w'-]+(?: [\w'-]+)?\W*$)|"
    r":\s*(?=[\"'(]*[\w+'-]+(?: [\w'-]+)?[^\w)]*$)|\b(?:therefore|thus|hence|consequently|accordingly|"
    r"ultimately|overall|in summary|in short|to sum up|all in all|"
    r"as a result|taken together|altogether|so)\b,?|综上(?:所述)?|总之|因此|所以|总的来说|por lo tanto|por tanto|"
    r"en resumen|"
    r"donc|en résumé|also ist|daher|somit|поэтому|итак|таким образом|ดังนั้น|สรุป|したがって|よって|따라서"
)
TAKEN_BACK = re.compile(
    r"\b(?:no wait|wait|actually|correction|on second thoughts?|on reflection|scratch that|let me (?:re\w+|"
    r"correct)|i mean|"
    r"upon (?:re\w+|closer|further)|or rather|hold on|no,|sorry,)|不对|更正|等等|其实"
)
STRONG = re.compile(
    r"\b(?:(?:most|more|very|highly|much more) (?:likely|probabl[ey]|consistent|of an?|like|closely|"
    r"plausibl[ey]|fitting)|likeliest|"
    r"probably|i(?:'d| would|'ll| will) (?:say|guess|estimate|lean|call|describe|put|place|rate|pick)|"
    r"i (?:think|believe|guess|estimate|suspect)|"
    r"my (?:best )?(?:guess|estimate)|best guess|lean(?:s|ing)? (?:more )?to(?:wards?)?|leans|primarily|"
    r"mainly|predominantly|"
    r"mostly|dominant|strongest|closest|closer|specifically|definitely|clearly|certainly|unmistakably|undoubtedly|"
    r"if i (?:had|have) to|(?:strongly|clearly) (?:suggests?|indicates?|points?)|best (?:fits?|match\w*|"
    r"described|represented|"
    r"captured)|fits best|stands out|particularly|overall|main|primary|predominant|dominant|sounds more|"
    r"more specifically|"
    r"but rather|it is rather|indicating|suggesting|pointing to|points? to(?:wards?)?|indicates?|suggests?|"
    r"the (?:real|actual|true|underlying) (?=\w+ (?:is|seems|appears))|"
    r"which makes|makes|consistent with|favou?r(?:s|ing)?)\b|"
    r"更(?:像|可能|接近|倾向)|最(?:可能|像|接近)|主要|偏向|倾向于|应该是|我觉得|我认为|我猜|"
    r"\b(?:probablemente|lo más probable|sobre todo|probablement|sans doute|plutôt|wahrscheinlich|vermutlich|eher|"
    r"provavelmente|probabilmente|скорее всего|вероятно)\b|น่าจะ|おそらく|多分|아마"
)
ALLOWED = re.compile(
    r"\b(?:could|might|may|possibly|perhaps|maybe|potentially|or)\b|"
    r"\b(?:quizás?|tal vez|podría|peut-être|pourrait|vielleicht|könnte|talvez|forse|может)\b"
)
WEAK = re.compile(
    r"\b(?:slight(?:ly)?|hints?|touch|undertones?|underlying|secondary|less|traces?|(?:a |little )bit of|"
    r"a little|tinged|with some|bordering on|like in|similar to|shared (?:with|by)|overlap\w*|imitat\w+|"
    r"mimick?\w*|reminiscent|(?:which )?also (?:occurs?|found|heard|common|used|present)|"
    r"(?:sing|yell|shout|laugh|listen|respond|repl)\w* (?:to|about|with|at)|or (?:possibly|perhaps|maybe)|"
    r"(?:although|though|but) (?:it|there|this|he|she|they|the \w+) (?:\w+ )?(?:could|might|may)|at first|initially|"
    r"first glance|can't rule out|cannot (?:be )?rule|talking (?:to|about|with)|speaking (?:to|about|with)|"
    r"says? to|(?:says|said|saying|speaking|talking|singing|tells|telling)\b[^.,;\n]{0,25} to|"
    r"addressing|refer\w* to(?! (?:is|are|was)\b)|mention\w*|above|below|outside|typical|possible that)\b|"
    r"也有|略带|有点|带有|一些"
)
ASSERTS = re.compile(
    r"\b(?:instrument|speaker|emotion|accent|gender|voice|sound|category|source|age|label|intensity|tone|"
    r"sentiment|person|it|"
    r"this|that|velocity|command|word|audio|clip|recording|speech)\b[^.!?\n,;]{0,50}(?:\b(?:is|was|sounds|"
    r"seems|appears)|'s)"
    r"(?: to be| like| of)?(?: an?| the| most| clearly| very| definitely)*\s*[\"']?$"
)
EVIDENT = re.compile(
    r"\bi(?:'d| would) (?:put|place|rate)\b[^.;\n]{0,30}$|(?:[是为像属]|听起来)\W*$|(?:es|est|ist|é|è|เป็น)(?: una?|"
    r" une?| eine?| uma?)?\s*[\"']?$|"
    r"\bindicat\w+(?: an?| the)?\s*$|\b(?:a|an|the|is|has|hear|sounds?) (?:\w+ )?[\"']?$"
)
ASKS = re.compile(
    r"^\W*(?:(?:the |your )?(?:question|prompt|instruction|task|q)\s*:)?\W*(?:is|are|was|does|do|did|could|"
    r"can|would|should|"
    r"which|what|who|whose|how|whether|or|identify|determine|classify|choose|select|¿|est-ce|ist|es|est|is it|so)\b|"
    r"吗\s*[?？]|是否|还是|哪"
)
CHOICES = re.compile(
    r"\b(?:between|among|amongst|(?:one|any|either|out|list|set|choice|range|which|each|all|none|terms|"
    r"labels?|options?|categories) of|from|whether|options?|choices?|labels?|categor(?:y|ies)|classes|"
    r"choose|select|"
    r"possible|possibilities|classify|distinguish|compare|candidates?|given|following|listed|available|"
    r"determine|decide|"
    r"consider(?:ing|ed)?|identify|say|tell)\b|选项|是否|在[^，。]{0,6}$|从[^，。]{0,8}$|还是|entre|parmi|zwischen|ระหว่าง"
)
SECOND = re.compile(
    r"^\W*(?:(?:would be|is|as|being) )?(?:my |an? |the )?(?:possible |close |distant )?(?:second|"
    r"less (?:likely|probable|plausible))\b"
)
HEDGED = re.compile(r"\b(?:possibly|perhaps|maybe)\b")
SHARED = re.compile(r"\b(?:both|mix\w*|blend|combin\w+|as well as|contains?|plus)\b|混合|都有|既|结合")
SCORE = re.compile(
    r"[\"']?\s*(?:[:=(-]|is|at|with)+\s*(?:about |around |~|approximately |probability |confidence |"
    r"score )*(\d{1,3}(?:\.\d+)?|\.\d+)\s*(%)?"
)
SCORED = re.compile(
    r"(\d{1,3}(?:\.\d+)?)\s*(%)(?: (?:sure|certain|confident|chance|probability|likely|"
    r"likelihood))?(?: (?:that|of|for))?"
    r"(?: (?:it's|it is|this is|being|the (?:speaker|voice) is))?(?: an?)? $"
)
LEADS = re.compile(
    r"[\"')\]]*\s*(?:$|[.!;\n(]|:(?!\s*(?:no|yes|\d))|-\s|,?\s*(?:because|since|as|based|due|given|with|"
    r"judging|considering)\b)"
)
BECAUSE = re.compile(
    r"\b(?:because|since|due to|given that|which (?:means?|is|are|was|has|have|includes?))\b|因为|由于"
)
ALTHOUGH = re.compile(r"\W*(?:although|though|while|whereas|even though|even if|despite)\b[^,.;!?\n]*,")
CAVEAT = re.compile(
    r"\W*(?:however|but|also|that said)?,? ?(?:please )?(?:note|keep in mind|bear in mind|be aware|remember)\b[^\n.!?]*"
)
YET = re.compile(
    r"[^.;!?\n]{0,200}\b(?:mention\w*|recall\w*|talk\w*|words?|text|lyrics|content|could|might|may|resembles?|"
    r"typical\w*|sounds like|"
    r"at first|initially|seems?)\b[^.;!?\n]{0,200}?,? (?:but|yet|however|nevertheless)\b(?! (?:it )?(?:could|might|"
    r"may|also)\b)"
)
SPEECH = re.compile(
    r'"(?:[^"\s]+ ){3,}[^"\n]*"|\b(?:the words|(?:use|uses) (?:of )?the (?:word|term|'
    r'phrase)) "[^"\n]+"(?: (?:and|or) "[^"\n]+")*'
)  # what is quoted at length is not said by the answer itself
SPOKEN = re.compile(
    r"\b(?:says?|said|saying|reads?|utters?|the (?:line|phrase|sentence|words?))\b[^\"\n]{0,20}(\"[^\"\n]+\")"
)
