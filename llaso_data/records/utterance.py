"""An utterance: one stretch of speech, and the parts of its record."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field

UNKNOWN = "unknown"
GIVEN = "given"
ASR = "asr"
ESTIMATED = "estimated"

NO_SPEECH = "no_speech"
"""``scores.extra``: 1 where voice activity detection found nothing in a recording that it was to cut."""
GIVEN_UNMATCHED = "given_unmatched"
"""``scores.extra``: 1 where the corpus's transcript could not be matched to this stretch of audio."""
UNJUDGED = "unjudged"
"""``scores.extra``: 1 where Whisper is told no token of the language, so that its text has no scores."""
NOT_SCORED = "not_scored"
"""``scores.extra``: 1 where the recipe has no texts scored (``observe.align: null``)."""

SCORE_DECIMALS = 4
TIME_DECIMALS = 3


@dataclass(frozen=True, slots=True)
class Attribute:
    """A value and where it comes from.

    ``given`` by the corpus, ``estimated`` by a model, ``unknown``, or a user stage's name.
    """

    value: str = UNKNOWN
    origin: str = UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the audio lies: a file or a member of an archive, and optionally a span of it and some of its channels.

    Attributes:
        corpus: The corpus's name.
        uri: The file or the archive.
        member: The member of the archive.
        start_s: Start of the span in seconds from the start of the decoded file; None: the file's start.
        end_s: End of the span, alike; None: the file's end.
        sampling_rate_hz: Of the original file; None until the file was probed.
        channels: Of the original file; until it was probed, the number that the corpus states, or None.
        channel: The selected channel, counted from 0.
        averaged: The selected channels where several are averaged. Without ``channel`` and ``averaged`` all channels
            are averaged.
        taken: The one channel that is used because the average of the channels cancels.
        license: The licence of the recording, as the corpus or the recipe names it.
        consent: What the speaker has consented to, in the corpus's or the recipe's words.
    """

    corpus: str
    uri: str
    member: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    sampling_rate_hz: int | None = None
    channels: int | None = None
    channel: int | None = None
    averaged: tuple[int, ...] | None = None
    taken: int | None = None
    license: str | None = None
    consent: str | None = None

    @property
    def chosen(self) -> tuple[int, ...] | None:
        """The channels that are averaged, for the decoder; None: all."""
        single = self.channel if self.taken is None else self.taken
        return self.averaged if single is None else (single,)

    @property
    def is_probed(self) -> bool:
        """Whether the audio was decoded. Only then is ``taken`` known."""
        return self.sampling_rate_hz is not None


@dataclass(frozen=True, slots=True)
class Word:
    """One word of ``text``; times in seconds from the start of the utterance."""

    text: str
    start_s: float
    end_s: float
    logprob: float | None = None


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who speaks, as far as the corpus or the recipe says."""

    id: Attribute = Attribute()
    gender: Attribute = Attribute()
    age_range: Attribute = Attribute()
    accent: Attribute = Attribute()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The scores that a filter may use; None where the stage that computes it did not run.

    Log-probabilities are natural logarithms. *Forward* is free decoding, *backward* the text
    teacher-forced over the same encoder states.
    """

    avg_logprob: float | None = None  # forward: mean over the hypothesis's tokens
    min_token_logprob: float | None = None  # forward: the least likely token
    no_speech_prob: float | None = None  # Whisper's <|nospeech|>; null for packed clips, whose window holds others
    language_prob: float | None = None  # probability of `language`; 1 where it was given
    compression_ratio: float | None = None  # UTF-8 bytes of the hypothesis / zlib-compressed bytes
    chars_per_s: float | None = None  # letters of `text` per second of utterance
    min_word_logprob: float | None = None  # backward: lowest mean token log-probability of a word with letters
    mean_word_logprob: float | None = None  # backward: mean over the words of `text`
    eot_logprob: float | None = None  # backward: log-probability that the text ends where it ends
    llr: float | None = (
        None  # backward: log-likelihood ratio of `text` to `hypothesis` where they differ most; given text
    )
    cer: float | None = None  # normalised character error rate of `text` against `hypothesis`; given text only
    wer: float | None = None  # the same for words
    surplus: float | None = None  # share of `text` that the hypothesis lacks, in words or letters, whichever is less
    repetition: float | None = None  # share of the text covered by its most repeated n-gram
    lm_logprob: float | None = None  # causal LM: mean token log-probability of `text`
    lm_delta: float | None = None  # causal LM: `text` minus `hypothesis`, mean token log-probability
    speech_ratio: float | None = None  # share of frames that voice activity detection calls speech
    rms_dbfs: float | None = None  # level
    clipped_ratio: float | None = None  # share of samples at full scale
    border_db: float | None = None  # dB, how much it sounds as if a word were cut at the start or the end
    extra: dict[str, float] = field(default_factory=dict)  # a user's stages


NO_SCORES = Scores()
"""What an utterance has that was not observed."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an input could not be observed. ``reason`` is a stable name, ``detail`` says where and what."""

    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """One stretch of speech with its labels and scores (see ``docs/records.md``)."""

    id: str
    recording: str  # id of the input that it was cut from; its own id where nothing was cut
    source: Source
    audio_id: str | None = None
    duration_s: float | None = None
    language: str | None = None
    language_origin: str = UNKNOWN  # given | asr | unknown
    text: str | None = None
    text_origin: str = UNKNOWN  # given | asr | unknown
    text_given: str | None = None  # what the corpus says, where `text` is not the same
    hypothesis: str | None = None
    words: tuple[Word, ...] = ()
    speaker: Speaker = Speaker()
    environment: Attribute = Attribute()
    decoding: str | None = None  # packed | solo: how the hypothesis was decoded
    scores: Scores = NO_SCORES
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """An input that a source yields: an utterance that is not yet observed, and what the planner needs.

    Attributes:
        utterance: The utterance, with what the source states of it.
        container: The folder, archive or manifest that it belongs to. Blocks never cross containers.
        size_bytes: Estimates the work.
        version: Changes when the audio changes (size and mtime, or ETag).
    """

    utterance: Utterance
    container: str
    size_bytes: int = 0
    version: str = ""


def rounded(utterance: Utterance) -> Utterance:
    """The utterance as it is stored, the same on every platform.

    Returns:
        Scores to 4 decimals, times to 3. No value is a negative zero or of a type of NumPy's.
    """
    scores = dataclasses.asdict(utterance.scores)
    extra = {name: _round(value, SCORE_DECIMALS) for name, value in sorted(scores.pop("extra").items())}
    words = tuple(
        Word(
            w.text,
            _round(w.start_s, TIME_DECIMALS),
            _round(w.end_s, TIME_DECIMALS),
            None if w.logprob is None else _round(w.logprob, SCORE_DECIMALS),
        )
        for w in utterance.words
    )
    rounded_scores = {name: None if value is None else _round(value, SCORE_DECIMALS) for name, value in scores.items()}
    return dataclasses.replace(utterance, words=words, scores=Scores(**rounded_scores, extra=extra))


def failed(utterance: Utterance, reason: str, detail: str = "") -> Utterance:
    """The utterance with a failure.

    Args:
        utterance: What could not be observed.
        reason: A stable name; the judge counts it under ``failed.<reason>``.
        detail: Where and what, for a person.
    """
    return dataclasses.replace(utterance, failure=Failure(reason, detail))


def _round(value: float, decimals: int) -> float:
    return round(float(value), decimals) + 0.0  # + 0.0 turns -0.0 into 0.0


def ids(utterances: Iterable[Utterance]) -> list[str]:
    """The ids of utterances, in their order."""
    return [utterance.id for utterance in utterances]
