"""The recipe: what to read, how to observe it, how to judge it, what to write.

A recipe is a YAML file checked by pydantic. ``docs/recipe.md`` is generated from these classes.
Only ``observe`` and what a source says of its records enter a block's digest; ``judge`` enters the
verdict table's; ``run`` (machines) enters neither.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    """A section of settings: unknown keys are errors, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceSpec(Part):
    """One corpus. `type: auto` looks at the layout."""

    path: str = Field(description="folder, file or URI (s3://, gs://, hf://, https://)")
    type: str = Field("auto", description="layout of the corpus")
    corpus: str | None = Field(None, description="name stored in every record; default: the path's last part")
    language: str | None = Field(
        None, description="where the whole source speaks one: its code (en, hsb, nan-TW) or its English name"
    )
    pattern: str = Field("**/*", description="which files below the folder, as a glob")
    limit: int | None = Field(None, ge=1, description="take only the first N inputs (in path order)")
    speaker: str | None = Field(None, description="speaker id, where the whole source has one voice")
    gender: str | None = Field(None, description="of the whole source, in any common spelling")
    age: str | None = Field(None, description="of the whole source: years, a decade or a range")
    accent: str | None = Field(None, description="of the whole source")
    environment: str | None = Field(None, description="where the whole source was recorded")


class Blocks(Part):
    """How inputs are cut into blocks, the unit of work and of commit."""

    clips: int = Field(256, ge=1, description="expected number of inputs in a block")
    max_clips: int = Field(1024, ge=1, description="never more inputs than this")
    megabytes: float = Field(64.0, gt=0, description="expected size of a block's audio files")


class Decode(Part):
    """Audio to 16 kHz mono, in a process of its own.

    A file that passes `stall_s` or `memory_mb` fails as `stuck` or `too_much_memory`. Changing these two observes
    nothing again; to try such a file once more, touch it.
    """

    max_duration_s: float = Field(6 * 3600.0, gt=0, description="longer recordings are rejected by name")
    stall_s: float = Field(120.0, gt=0, description="a decoder that makes no progress for so long is killed")
    memory_mb: int = Field(2048, ge=1, description="MiB that the decoder may use; the decoded audio does not count")


class Segment(Part):
    """Voice activity detection (Silero) for what is longer than a Whisper window."""

    longer_than_s: float = Field(30.0, gt=0, le=30, description="what is not longer stays whole")
    max_s: float = Field(28.0, gt=1, le=30, description="longest segment")
    min_silence_s: float = Field(0.3, gt=0, description="pauses shorter than this do not cut")
    pad_s: float = Field(0.2, ge=0, description="kept around speech")
    threshold: float = Field(0.5, gt=0, lt=1, description="probability from which a frame is speech")


class Asr(Part):
    """Whisper. `model` is a Hugging Face id or a local folder in Hugging Face format."""

    model: str = Field("openai/whisper-large-v3", description="any checkpoint of the Whisper family")
    revision: str | None = Field(None, description="commit, tag or branch on the hub; null: its main branch")
    engine: Literal["ctranslate2", "torch"] = Field("ctranslate2", description="what encodes and decodes freely")
    compute_type: Literal["auto", "int8", "int8_float16", "float16", "bfloat16", "float32"] = Field(
        "auto", description="auto: int8 on a CPU, float16 on a GPU"
    )
    pack: bool = Field(True, description="pack short clips into one 30 s window")
    gap_s: float = Field(0.6, ge=0, description="silence between packed clips")
    disputed_alone: bool = Field(
        True, description="hear a packed clip once more, alone, where what was heard speaks against its given text"
    )
    beam_size: int = Field(1, ge=1, description="of free decoding; 1 is greedy")
    batch_size: int | None = Field(
        None, ge=1, description="windows decoded at once; null: 8 on a GPU, 4 on a CPU, which are many batches at once"
    )
    languages: tuple[str, ...] = Field((), description="candidates where a clip's language is unknown; empty: all")
    whisper_language: str | dict[str, str] | None = Field(
        None,
        description="whose token stands for a language that Whisper has none of, such as {hsb: cs, kab: none}, or one "
        "for all of them; none: its transcripts are aligned and not judged by Whisper; null: none for each",
    )
    chinese_script: Literal["simplified", "traditional"] | None = Field(
        None, description="what the texts that Whisper writes in Chinese are in; null: as it writes; given texts stay"
    )


class Align(Part):
    """Word times: character-level cross-attention and monotone DTW."""

    dtw: Literal["builtin", "dtw-python"] = Field("builtin", description="dtw-python needs the extra `[dtw]` (GPL-3)")
    heads: int = Field(6, ge=1, description="heads of largest norm by which a packed window's words are dealt to clips")
    median: int = Field(3, ge=1, description="width of the median filter, frames")
    energy: float = Field(0.6, ge=0, description="weight of the frames' energy in the path's score")


class LanguageModel(Part):
    """Tier 2's causal language model; off while `model` is null."""

    model: str | None = Field(None, description="Hugging Face id or local folder of any causal language model")
    revision: str | None = Field(None, description="commit, tag or branch on the hub; null: its main branch")
    batch_size: int = Field(16, ge=1, description="texts scored at once")


class UserStage(Part):
    """A stage of the user's own: `stage: package.module:Stage`, called on every block."""

    stage: str = Field(pattern=r"^[\w.]+:\w+$", description="where it is, as package.module:Stage")
    options: dict[str, Any] = Field(default_factory=dict, description="keyword arguments that it is made with")


class Observe(Part):
    """Expensive and pure per block; any change here observes again."""

    decode: Decode = Decode()
    segment: Segment = Segment()
    asr: Asr = Asr()
    align: Align = Align()
    language_model: LanguageModel = LanguageModel()
    stages: tuple[UserStage, ...] = Field((), description="run last, in this order")


class Confidence(Part):
    """Tier 1. A threshold that is null is off."""

    avg_logprob_min: float | None = Field(-1.0, description="mean token log-probability of the hypothesis")
    given_avg_logprob_min: float | None = Field(
        -1.5, description="the same where the text is given, and need not be what was heard; null: as for the others"
    )
    no_speech_prob_max: float | None = Field(
        0.6, description="Whisper's probability that nobody speaks; of clips decoded alone"
    )
    compression_ratio_max: float | None = Field(2.4, description="of the hypothesis; loops compress well")
    language_prob_min: float | None = Field(0.5, description="probability of the identified language")
    duration_min_s: float | None = Field(0.3, description="length of the utterance")
    duration_max_s: float | None = Field(30.0, description="length of the utterance")
    chars_per_s_min: float | None = Field(1.0, description="letters and digits of the text per second")
    chars_per_s_max: float | None = Field(30.0, description="the same; not for Chinese, Japanese and Korean")
    cjk_chars_per_s_max: float | None = Field(15.0, description="Chinese, Japanese and Korean apart")
    rms_dbfs_min: float | None = Field(-60.0, description="level")
    clipped_ratio_max: float | None = Field(0.05, description="share of samples at full scale")
    border_db_max: float | None = Field(
        -35.0,
        description="level of the speech at the first or last 20 ms, dB, less what noise takes; louder is a cut word",
    )
    border_margin_db: float | None = Field(
        None,
        description="but only what is so many dB louder than three quarters of its corpus and language; null: "
        "whatever is usual there",
    )


class Consistency(Part):
    """Tier 2. Packed windows have thresholds of their own, where given."""

    min_word_logprob_min: float | None = Field(-7.0, description="the least likely word of the text, teacher-forced")
    eot_logprob_min: float | None = Field(-5.0, description="that the text ends where it ends")
    packed_min_word_logprob_min: float | None = Field(-10.0, description="for packed clips; null: as for the others")
    packed_eot_logprob_min: float | None = Field(-5.0, description="for packed clips; null: as for the others")
    llr_min: float | None = Field(
        -3.75, description="log-likelihood ratio of the text to the hypothesis where they differ most"
    )
    packed_llr_min: float | None = Field(-1.75, description="for packed clips; null: as for the others")
    cer_max: float | None = Field(None, description="given text against the hypothesis")
    surplus_max: float | None = Field(0.2, description="share of the given text that is more than was heard")
    repetition_max: float | None = Field(0.6, description="share of the text that its most repeated n-gram covers")
    lm_delta_min: float | None = Field(None, description="text minus hypothesis, mean token log-probability")
    markup: bool = Field(
        True, description="nothing in `[…]`, `<…>`, `{…}` or `*…*` may stay in the text that no known scheme explains"
    )
    script_match: bool = Field(True, description="the text's script must be one of the language's")
    phrases: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="by language: texts that Whisper invents; adds to the built-in list"
    )


class Duplicates(Part):
    """The same audio more than once: the record of the smallest (corpus, id) stays."""

    exact: bool = Field(True, description="one accepted record per audio_id, the others are counted as duplicates")


class Audit(Part):
    """Tier 3: a seeded, score-blind draw for a person to hear."""

    items: int = Field(208, ge=0, description="how many are drawn, proportional over language and corpus")
    seed: int = Field(0, description="another seed draws another sample")


class Judge(Part):
    """Cheap and global; any change here judges again and transcribes nothing."""

    confidence: Confidence = Confidence()
    consistency: Consistency = Consistency()
    duplicates: Duplicates = Duplicates()
    audit: Audit = Audit()
    max_failures: float = Field(0.1, ge=0, le=1, description="share of failed inputs above which the exit code is 1")


class Shard(Part):
    """Training shards: WebDataset tars with an index."""

    audio: Literal["flac", "opus", "wav"] = Field("flac", description="flac and wav are lossless, 16 kHz 16-bit")
    samples_per_shard: int = Field(1000, ge=1, description="the last shard may have fewer")
    seed: int = Field(0, description="of the order of the samples and of the drawn instructions")


class Run(Part):
    """Machines; changes no result but for floating-point differences between devices."""

    engine: Literal["ray", "local"] = Field("ray", description="local: in this process, one block after the other")
    address: str | None = Field(None, description="a Ray cluster to join; null starts a local one")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: cuda where there is one")
    num_workers: int | None = Field(None, ge=1, description="listening actors; null: one per GPU, or per CPU core")
    num_gpus: float | None = Field(None, ge=0, description="GPUs per listening actor; null: 1 with cuda, else 0")
    threads: int = Field(1, ge=1, description="batches that a listening actor works on at once, each on a CPU core")


class Recipe(Part):
    """Everything that a run needs."""

    sources: tuple[SourceSpec, ...] = Field((), description="what to read; sources on the command line replace it")
    out: str | None = Field(None, description="folder or URI to write to; `--out` replaces it")
    blocks: Blocks = Blocks()
    observe: Observe = Observe()
    judge: Judge = Judge()
    shard: Shard = Shard()
    run: Run = Run()
