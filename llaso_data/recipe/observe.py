"""What is observed of each clip: ``observe``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from llaso_data.recipe.part import Part


class Decode(Part):
    """Decoding of audio to 16 kHz mono, in a process of its own.

    A file that exceeds `stall_s` or `memory_mb` fails as `stuck` or `too_much_memory`. A change of these two observes
    nothing again. To try such a file once more, touch it.
    """

    max_duration_s: float = Field(6 * 3600.0, gt=0, description="Longer recordings fail as `too_long`.")
    stall_s: float = Field(120.0, gt=0, description="A decoder that makes no progress for this time is killed.")
    memory_mb: int = Field(2048, ge=1, description="Memory in MiB that the decoder may use, without the decoded audio.")


class Segment(Part):
    """Voice activity detection (Silero) for recordings that are longer than a window of Whisper."""

    longer_than_s: float = Field(30.0, gt=0, le=30, description="Shorter clips stay whole.")
    max_s: float = Field(28.0, gt=1, le=30, description="The longest segment.")
    min_silence_s: float = Field(0.3, gt=0, description="Shorter pauses are not cut at.")
    pad_s: float = Field(0.2, ge=0, description="Time kept before and after speech.")
    threshold: float = Field(
        0.5, gt=0, lt=1, description="The probability of speech from which a frame counts as speech."
    )


class Asr(Part):
    """Whisper. `model` is a Hugging Face id or a local folder in Hugging Face format."""

    model: str = Field("openai/whisper-large-v3", description="Any checkpoint of the Whisper family.")
    revision: str | None = Field(None, description="A commit, tag or branch on the hub. Null: the main branch.")
    engine: Literal["ctranslate2", "torch"] = Field(
        "ctranslate2", description="The program that encodes audio and transcribes it."
    )
    compute_type: Literal[
        "auto",
        "int8_bfloat16_encoder",
        "bfloat16_encoder",
        "int8_float32_encoder",
        "float32_encoder",
        "int8",
        "int8_float16",
        "float16",
        "bfloat16",
        "float32",
    ] = Field(
        "auto",
        description="The precision of encoding and transcribing. bfloat16_encoder, float32_encoder: on CPUs OpenVINO "
        "encodes in it, and transcribing is in align.compute_type (with several beams in int8); with int8_ before it, "
        "the encoder's linear layers are in int8. "
        "auto: what the output was begun in; of a new one float16 on GPUs, and on CPUs int8_bfloat16_encoder where all "
        "of them have AVX512_BF16 or AMX, int8_float32_encoder where they have AVX512_VNNI, else int8 (float32 with "
        "torch).",
    )
    pack: bool = Field(True, description="Several short clips share one window of 30 s.")
    gap_s: float = Field(0.6, ge=0, description="The silence between the clips of a window.")
    disputed_alone: bool = Field(
        True,
        description="A packed clip whose transcription contradicts its given text, or of which Whisper is not sure, is "
        "transcribed again, alone.",
    )
    beam_size: int = Field(1, ge=1, description="The number of beams of transcription. 1 is greedy.")
    batch_size: int | None = Field(
        None,
        ge=1,
        description="The windows in a batch. Null: 8 on a GPU, 4 to 24 on a CPU (where several batches run at once).",
    )
    languages: tuple[str, ...] = Field(
        (), description="The languages that a clip of unknown language may have. Empty: all."
    )
    whisper_language: str | dict[str, str] | None = Field(
        None,
        description="The language whose token stands for one that Whisper does not know: {hsb: cs, kab: none}, or one "
        "for all of them. none: given transcripts are aligned, and Whisper does not judge them. Null: none for each.",
    )
    chinese_script: Literal["simplified", "traditional"] | None = Field(
        None, description="The script of Whisper's Chinese transcriptions. Null: as Whisper writes. Given texts stay."
    )


class Align(Part):
    """Scores of texts by teacher forcing, and word times by character-level cross-attention and monotone DTW."""

    dtw: Literal["builtin", "dtw-python"] = Field(
        "builtin", description="The aligner. dtw-python needs the extra `[dtw]` (GPL-3)."
    )
    heads: int = Field(
        6,
        ge=1,
        description="The attention heads, largest norm first, that assign a packed window's words to its clips.",
    )
    median: int = Field(3, ge=1, description="The width of the median filter, in frames.")
    energy: float = Field(0.6, ge=0, description="The weight of the frames' energy in the path's score.")
    compute_type: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="The decoder's precision on a CPU when it reads known texts, or transcribes beside OpenVINO. auto: "
        "what the output was begun in; of a new one bfloat16 where all processors have instructions for it, else "
        "float32. A GPU reads in float16, or with `asr.compute_type: float32` in that.",
    )


class LanguageModel(Part):
    """The causal language model of tier 2. It is off while `model` is null."""

    model: str | None = Field(None, description="The Hugging Face id or local folder of any causal language model.")
    revision: str | None = Field(None, description="A commit, tag or branch on the hub. Null: the main branch.")
    batch_size: int = Field(16, ge=1, description="The texts in a batch.")


class Quality(Part):
    """How good recordings sound: DNSMOS, signal-to-noise ratio, bandwidth, and from them the environment.

    The numbers go to `scores.extra` (docs/estimated-labels.md). Nothing is rejected for them. While `enabled` is false
    the section counts for nothing.
    """

    enabled: bool = Field(False, description="Whether the quality is measured.")
    dnsmos: bool = Field(True, description="Whether DNSMOS is run. It needs the extra `[quality]`.")
    environment: bool = Field(
        True, description="Whether the environment is estimated of recordings of which nobody says it."
    )


class Speakers(Part):
    """Who speaks, of utterances of which nobody says it: voices are compared within recordings and across a corpus.

    The speakers have the origin `estimated` (docs/estimated-labels.md). The extra `[speakers]` is needed. While
    `enabled` is false the section counts for nothing.
    """

    enabled: bool = Field(False, description="Whether speakers are estimated.")
    similarity: float = Field(
        0.82,
        gt=0,
        description="How alike the voices of two recordings must be to be one speaker. More than 1: speakers are told "
        "apart within recordings only. A change observes nothing again.",
    )


class UserStage(Part):
    """A stage of your own, which is called on every block."""

    stage: str = Field(pattern=r"^[\w.]+:\w+$", description="The class of the stage, as package.module:Stage.")
    options: dict[str, Any] = Field(default_factory=dict, description="The keyword arguments of the class.")


class Observe(Part):
    """What is observed of each clip: transcription, alignment, scores. After a change clips are observed again."""

    decode: Decode = Decode()
    segment: Segment = Segment()
    asr: Asr = Asr()
    align: Align | None = Field(
        Align(), description="Null: transcripts alone, without scores and word times (docs/align.md)."
    )
    language_model: LanguageModel = LanguageModel()
    quality: Quality = Quality()
    speakers: Speakers = Speakers()
    stages: tuple[UserStage, ...] = Field((), description="Stages of your own. They run last, in this order.")
