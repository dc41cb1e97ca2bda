"""What is accepted: ``judge``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from llaso_data.recipe.part import Part


class Confidence(Part):
    """Tier 1: rules on Whisper's confidence and on the audio. A threshold that is null is off."""

    avg_logprob_min: float | None = Field(-1.2, description="The mean token log-probability of the hypothesis.")
    given_avg_logprob_min: float | None = Field(
        -1.5,
        description="The same for clips with a given text in which Whisper hears other words. Null: as for the others, "
        "whatever Whisper hears.",
    )
    no_speech_prob_max: float | None = Field(
        0.6, description="Whisper's probability that nobody speaks, of clips that were transcribed alone."
    )
    compression_ratio_max: float | None = Field(
        2.4, description="The compression ratio of the hypothesis. Repetitions compress well."
    )
    language_prob_min: float | None = Field(0.5, description="The probability of the identified language.")
    duration_min_s: float | None = Field(0.3, description="The shortest utterance.")
    duration_max_s: float | None = Field(30.0, description="The longest utterance.")
    chars_per_s_min: float | None = Field(1.0, description="The letters and digits of the text per second.")
    chars_per_s_max: float | None = Field(
        30.0, description="The same. It does not count for Chinese, Japanese and Korean."
    )
    cjk_chars_per_s_max: float | None = Field(15.0, description="The same for Chinese, Japanese and Korean.")
    rms_dbfs_min: float | None = Field(-60.0, description="The level of the clip.")
    clipped_ratio_max: float | None = Field(0.05, description="The share of samples at full scale.")
    border_db_max: float | None = Field(
        -35.0,
        description="How much the clip sounds as if it started or ended inside a word, in dB. More is a word that was "
        "cut.",
    )
    border_margin_db: float | None = Field(
        None,
        description="A word counts as cut only where the level is also this many dB above that of three quarters of "
        "the clips of its corpus and language. Null: `border_db_max` decides alone.",
    )


class Consistency(Part):
    """Tier 2: rules on text and audio together. Clips in packed windows may have thresholds of their own."""

    min_word_logprob_min: float | None = Field(
        -6.0, description="The log-probability of the text's least likely word, by teacher forcing."
    )
    eot_logprob_min: float | None = Field(-5.0, description="The log-probability that the text ends where it does.")
    packed_min_word_logprob_min: float | None = Field(
        -10.0, description="The same for packed clips. Null: as for the others."
    )
    packed_eot_logprob_min: float | None = Field(
        -5.0, description="The same for packed clips. Null: as for the others."
    )
    llr_min: float | None = Field(
        -3.75, description="The log-likelihood ratio of the text to the hypothesis, where they differ most."
    )
    packed_llr_min: float | None = Field(-1.75, description="The same for packed clips. Null: as for the others.")
    cer_max: float | None = Field(
        None, description="The character error rate of the given text against the hypothesis."
    )
    surplus_max: float | None = Field(0.2, description="The share of the given text that the hypothesis does not have.")
    repetition_max: float | None = Field(0.6, description="The share of the text that its most repeated n-gram covers.")
    lm_delta_min: float | None = Field(
        None, description="The mean token log-probability of the text minus that of the hypothesis."
    )
    markup: bool = Field(
        True, description="Texts with `[…]`, `<…>`, `{…}` or `*…*` that no known scheme explains are rejected."
    )
    script_match: bool = Field(True, description="Texts in a script that the language is not written in are rejected.")
    phrases: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="Texts that Whisper invents, by language. They add to the built-in list."
    )


class Duplicates(Part):
    """The same audio more than once. The record with the smallest (corpus, id) is accepted."""

    exact: bool = Field(
        True, description="Of the records with one audio_id one is accepted. The others are counted as duplicates."
    )


class Audit(Part):
    """Tier 3: a random draw, blind to scores, for a person to listen to."""

    items: int = Field(
        208, ge=0, description="The number of clips that are drawn, in proportion to languages and corpora."
    )
    seed: int = Field(0, description="Another seed draws other clips.")


class Judge(Part):
    """What is accepted. After a change here everything is judged again, in seconds, and nothing is transcribed."""

    confidence: Confidence = Confidence()
    consistency: Consistency = Consistency()
    duplicates: Duplicates = Duplicates()
    audit: Audit = Audit()
    calibrate: Literal["auto", "off"] = Field(
        "auto",
        description="auto: thresholds that were fitted to the corpus itself replace those that are left at their "
        "defaults. `llaso-data calibrate` fits them; for a large corpus `build-align` does.",
    )
    false_alarms: float = Field(
        0.03, ge=0, le=1, description="The share of right clips that fitted thresholds may reject."
    )
    max_failures: float = Field(
        0.1, ge=0, le=1, description="The share of failed inputs above which the exit code is 1."
    )
