"""Names and sentences for the scores and rules on the dataset card, and the grids that scores are drawn on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Measure:
    """A score as it is drawn: a title, a sentence, and a grid from ``low`` to ``high`` in steps of ``step``.

    The grid has the edges of the bars and the positions of thresholds. On a logarithmic axis neighbouring edges have
    the ratio 1 + ``step``. Values beyond the grid are counted in its first and last bar.
    """

    title: str
    says: str
    low: float
    high: float
    step: float
    unit: str = ""
    axis: Literal["linear", "log"] = "linear"

    def edges(self) -> npt.NDArray[np.float64]:
        """The edges of the bars, ascending."""
        if self.axis == "log":
            count = round(float(np.log(self.high / self.low) / np.log(1 + self.step)))
            return np.geomspace(self.low, self.high, count + 1)
        return np.round(np.linspace(self.low, self.high, round((self.high - self.low) / self.step) + 1), 6)

    def positions(self) -> npt.NDArray[np.float64]:
        """The positions that a threshold can be moved to: the edges, rounded to what a user would type."""
        if self.axis == "linear":
            return self.edges()
        decimals = np.where(self.edges() < 1, 2, 1)
        return np.unique([round(float(x), int(d)) for x, d in zip(self.edges(), decimals, strict=True)])


QUALITY: dict[str, Measure] = {
    "dnsmos": Measure("Quality", "DNSMOS: what listeners would say of all that is heard, 1 to 5.", 1, 5, 0.05),
    "dnsmos_sig": Measure("Quality of the speech", "DNSMOS of the speech alone, 1 to 5.", 1, 5, 0.05),
    "dnsmos_bak": Measure(
        "Quality of the background", "DNSMOS: how little the background intrudes, 1 to 5.", 1, 5, 0.05
    ),
    "dnsmos_p808": Measure("Quality (P.808)", "DNSMOS of all that is heard, by the older network, 1 to 5.", 1, 5, 0.05),
    "snr_db": Measure("Signal-to-noise ratio", "Power of the speech over that of steady noise.", -20, 60, 1, "dB"),
    "bandwidth_hz": Measure("Bandwidth", "The frequency above which there is nothing.", 0, 8000, 250, "Hz"),
}
"""What ``observe.quality`` puts into ``scores.extra``; no rule looks at it."""

MEASURES: dict[str, Measure] = {
    "duration_s": Measure("Duration", "Length of the utterance.", 0.1, 60.0, 0.08, "s", "log"),
    "chars_per_s": Measure("Speaking rate", "Letters and digits of the text per second of audio.", 0, 50, 0.5, "/s"),
    "avg_logprob": Measure(
        "Confidence of the hypothesis", "Mean log-probability of what Whisper heard, per token.", -3, 0, 0.02
    ),
    "min_word_logprob": Measure(
        "Least likely word", "The text is forced onto the audio; this is its least likely word's log-probability.",
        -14, 0, 0.1,
    ),
    "eot_logprob": Measure(
        "Text ends with the audio", "Log-probability that nothing more is said after the text's last word.", -14, 0, 0.1
    ),
    "cer": Measure(
        "Text against hypothesis", "Character error rate between the corpus's transcript and what was heard.",
        0, 1.5, 0.01,
    ),
    "llr": Measure(
        "Likelihood ratio", "Log-likelihood of the text minus that of what was heard, where they differ most.",
        -40, 5, 0.25,
    ),
    "surplus": Measure("Surplus", "Share of the text that is more than was heard.", 0, 1, 0.01),
    "no_speech_prob": Measure(
        "Probability of no speech", "Whisper's own; known only for clips that were decoded alone.", 0, 1, 0.01
    ),
    "language_prob": Measure(
        "Probability of the language", "1 where the corpus gives the language.", 0, 1, 0.01
    ),
    "compression_ratio": Measure(
        "Compression of the hypothesis", "Text that repeats itself compresses well; loops stand out.", 0, 4, 0.05
    ),
    "repetition": Measure("Repetition", "Share of the text that its most repeated phrase covers.", 0, 1, 0.01),
    "rms_dbfs": Measure("Level", "Root mean square; 0 dB is full scale.", -90, 0, 0.5, "dB"),
    "clipped_ratio": Measure("Clipping", "Share of samples at full scale.", 0, 0.2, 0.001),
    "border_db": Measure(
        "Level at the borders", "How much it sounds as if a word were cut at the start or the end; silence is -120 dB.",
        -120, 20, 1, "dB",
    ),
    "lm_delta": Measure(
        "Language model", "How much less likely the text is than the hypothesis, per token.", -6, 3, 0.05
    ),
}  # fmt: skip
"""Every score that a rule looks at, in the order in which the card shows them."""

RULES: dict[str, str] = {
    "repeated_id": "Two sources name the same audio of the same corpus; the first stays.",
    "confidence.not_a_number": "A score is not a number, so no threshold can be applied to it.",
    "confidence.no_speech": "Nobody speaks in a recording that was to be cut into utterances.",
    "confidence.duration_min_s": "Too short to say something.",
    "confidence.duration_max_s": "Longer than Whisper can hear at once.",
    "confidence.no_speech_prob": "Whisper finds it likely that nobody speaks.",
    "confidence.no_text": "There is no letter in the text: nothing was given and nothing was heard.",
    "confidence.rms_dbfs": "Too quiet.",
    "confidence.clipped_ratio": "Recorded too loud: too many samples stand at full scale.",
    "confidence.border_db": "The audio starts or ends in the middle of a sound: a word is cut.",
    "confidence.language_prob": "Whisper is not sure which language it is.",
    "confidence.avg_logprob": "Whisper is not sure of what it heard.",
    "confidence.compression_ratio": "What was heard repeats itself, as Whisper does where it loops.",
    "confidence.chars_per_s_min": "Too little text for so much audio.",
    "confidence.chars_per_s_max": "More text than can be spoken in the time.",
    "confidence.cjk_chars_per_s_max": "More Chinese, Japanese or Korean text than can be spoken in the time.",
    "consistency.given_unmatched": "No part of the recording's transcript matches this stretch of it.",
    "consistency.unscored": "The transcript could not be scored against the audio.",
    "consistency.markup": "Something stands in brackets in the text, and no known scheme says what it is.",
    "consistency.script": "The text is not in a script of its language.",
    "consistency.phrase": "The whole text is a phrase that Whisper invents where nobody speaks.",
    "consistency.repetition": "The text repeats itself.",
    "consistency.min_word_logprob": "At least one word of the text does not seem to be in the audio.",
    "consistency.eot_logprob": "The audio seems to go on after the text ends.",
    "consistency.llr": "Where the transcript and what was heard differ, the audio speaks against the transcript.",
    "consistency.cer": "The transcript and what was heard differ too much.",
    "consistency.surplus": "The transcript is much longer than what was heard, as where it stands there twice.",
    "consistency.lm_delta": "The transcript is much less likely as language than what was heard.",
}
"""One sentence for every rule that rejects."""

FAILURES: dict[str, str] = {
    "missing": "The file is not there.",
    "unreadable": "It cannot be opened or is no audio.",
    "empty": "There is no audio in it.",
    "truncated": "Less audio came out than the file states.",
    "not_finite": "It has samples that are not numbers.",
    "span_outside": "The span that was asked for lies outside the audio.",
    "too_long": "It is longer than the recipe allows.",
    "stuck": "The decoder stopped in it and made no more progress.",
    "too_much_memory": "Its decoder wanted more memory than the recipe allows.",
    "crashed": "The decoder crashed on it, twice.",
    "bad_row": "A line of a manifest or archive cannot be used.",
    "bad_channel": "The file does not have the channels that its row names.",
    "bad_language": "What is stated as its language is no language.",
    "language_unsupported": "The model does not know this language.",
}
"""One sentence for every reason to fail that LLaSO itself names; a user's stage may name others."""


def why(rule: str) -> str:
    """The sentence for a rule or a failure as the verdict names it; a plain one for names that are not ours."""
    if rule.startswith("failed."):
        return FAILURES.get(rule.removeprefix("failed."), "A stage of the recipe could not observe it.")
    return RULES.get(rule, "Rejected by a rule that this version does not know.")


TITLES: dict[str, str] = {
    "repeated_id": "Named twice",
    "confidence.not_a_number": "Not a number",
    "confidence.no_speech": "No speech",
    "confidence.duration_min_s": "Too short",
    "confidence.duration_max_s": "Too long",
    "confidence.no_speech_prob": "Probably no speech",
    "confidence.no_text": "No text",
    "confidence.rms_dbfs": "Too quiet",
    "confidence.clipped_ratio": "Clipped",
    "confidence.border_db": "Cut at a border",
    "confidence.language_prob": "Language unsure",
    "confidence.avg_logprob": "Hypothesis unsure",
    "confidence.compression_ratio": "Heard in a loop",
    "confidence.chars_per_s_min": "Too slow",
    "confidence.chars_per_s_max": "Too fast",
    "confidence.cjk_chars_per_s_max": "Too fast, CJK",
    "consistency.given_unmatched": "Transcript unmatched",
    "consistency.unscored": "Not scored",
    "consistency.markup": "Unknown markup",
    "consistency.script": "Wrong script",
    "consistency.phrase": "Invented phrase",
    "consistency.repetition": "Repetition",
    "consistency.min_word_logprob": "Unlikely word",
    "consistency.eot_logprob": "Text ends early",
    "consistency.llr": "Not what is said",
    "consistency.cer": "Heard otherwise",
    "consistency.surplus": "More than is said",
    "consistency.lm_delta": "Unlikely as language",
}
"""What the examples of a rule are filed under."""


def title(rule: str) -> str:
    """A rule's short name for a heading."""
    return TITLES.get(rule, rule)
