"""The recipe: what to read, how to observe it, how to judge it, what to write.

A recipe is a YAML file, which pydantic checks against these classes. ``docs/recipe.md`` is made from them.
A block's digest depends on ``observe`` and on what a source says of its records, that of the table of verdicts on
``judge``; neither depends on ``run``. A field that names an entry of a table (``SourceSpec.type``) is a plain ``str``:
``pipeline/load_recipe.py``, which knows the tables, checks it.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    """A section of settings. Unknown keys are errors, and values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceSpec(Part):
    """One corpus. `type: auto` recognises its layout (`docs/sources.md` says how).

    `language`, `speaker`, `gender`, `age`, `accent`, `environment`, `license` and `consent` fill what the corpus does
    not say of an input.
    """

    path: str = Field(min_length=1, description="The folder, file or URI (s3://, gs://, hf://, https://) to read.")
    type: str = Field("auto", description="The layout of the corpus.")
    corpus: str | None = Field(None, description="The name stored in every record. Default: the path's last part.")
    language: str | None = Field(None, description="The language, as its code (en, hsb, nan-TW) or its English name.")
    pattern: str = Field("**/*", description="Which files below the folder are read, as a glob.")
    limit: int | None = Field(None, ge=1, description="Only the first N inputs are read, in the order of their paths.")
    speaker: str | None = Field(None, description="The id of the speaker.")
    gender: str | None = Field(None, description="The gender of the speaker, in any common spelling.")
    age: str | None = Field(None, description="The age of the speaker: years, a decade or a range.")
    accent: str | None = Field(None, description="The accent of the speaker.")
    environment: str | None = Field(None, description="Where the source was recorded: studio, outdoor, telephone …")
    license: str | None = Field(None, description="The licence of the recordings: cc0-1.0, cc-by-4.0, cc-by-nc-4.0 …")
    consent: str | None = Field(None, description="What the speakers have consented to, in your words.")
    root: str | None = Field(
        None,
        description="The folder that {data_root} and $data_folder in SpeechBrain's tables stand for, and that other "
        "relative paths in them begin at. Default: the table's folder.",
    )
    map: dict[str, str] = Field(
        default_factory=dict, description="Values made of a row's fields: {text: '{sentence|trim}'} (docs/convert.md)."
    )


class Blocks(Part):
    """How inputs are grouped into blocks. A block is observed, and stored, as a whole."""

    clips: int = Field(256, ge=1, description="The expected number of inputs in a block.")
    max_clips: int = Field(1024, ge=1, description="The most inputs in a block.")
    megabytes: float = Field(64.0, gt=0, description="The expected size of a block's audio files.")


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
    compute_type: Literal["auto", "int8", "int8_float16", "float16", "bfloat16", "float32"] = Field(
        "auto", description="The precision. auto: int8 on a CPU, float16 on a GPU."
    )
    pack: bool = Field(True, description="Several short clips share one window of 30 s.")
    gap_s: float = Field(0.6, ge=0, description="The silence between the clips of a window.")
    disputed_alone: bool = Field(
        True, description="A packed clip whose transcription contradicts its given text is transcribed again, alone."
    )
    beam_size: int = Field(1, ge=1, description="The number of beams of transcription. 1 is greedy.")
    batch_size: int | None = Field(
        None,
        ge=1,
        description="The windows in a batch. Null: 8 on a GPU, 4 on a CPU (where several batches run at once).",
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
    """Word times, by character-level cross-attention and monotone DTW."""

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
    align: Align = Align()
    language_model: LanguageModel = LanguageModel()
    quality: Quality = Quality()
    speakers: Speakers = Speakers()
    stages: tuple[UserStage, ...] = Field((), description="Stages of your own. They run last, in this order.")


class Confidence(Part):
    """Tier 1: rules on Whisper's confidence and on the audio. A threshold that is null is off."""

    avg_logprob_min: float | None = Field(-1.0, description="The mean token log-probability of the hypothesis.")
    given_avg_logprob_min: float | None = Field(
        -1.5, description="The same for clips with a given text. Null: as for the others."
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
        description="The level of the speech in the first or last 20 ms, in dB, without the noise. Louder speech there "
        "is a word that was cut.",
    )
    border_margin_db: float | None = Field(
        None,
        description="A word counts as cut only where it is also this many dB louder than three quarters of the clips "
        "of its corpus and language. Null: `border_db_max` decides alone.",
    )


class Consistency(Part):
    """Tier 2: rules on text and audio together. Clips in packed windows may have thresholds of their own."""

    min_word_logprob_min: float | None = Field(
        -7.0, description="The log-probability of the text's least likely word, by teacher forcing."
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
    max_failures: float = Field(
        0.1, ge=0, le=1, description="The share of failed inputs above which the exit code is 1."
    )


class Shard(Part):
    """Training shards: WebDataset tars with an index."""

    audio: Literal["flac", "opus", "wav"] = Field(
        "flac", description="The format of the audio. flac and wav are lossless, 16 kHz, 16 bits."
    )
    samples_per_shard: int = Field(1000, ge=1, description="The samples of a shard. The last shard may have fewer.")
    seed: int = Field(0, description="Decides the order of the samples and their instructions.")


class Convert(Part):
    """Conversion of corpora and conversations to shards or to another layout, without a model."""

    to: str = Field("shards", description="shards, samples (Parquet with pointers to the audio), or a layout.")
    audio: Literal["keep", "flac", "wav", "opus"] | None = Field(
        None,
        description="The format of the audio: 16 kHz mono. keep: a layout points to the files where they are; shards "
        "take 16 kHz mono FLAC and WAV as they are. Null: keep where a layout can point, else flac.",
    )
    text: Literal["given", "clean", "hypotheses"] = Field(
        "given",
        description="The transcripts: as the source gives them; without markup; or what Whisper transcribed, of the "
        "output of build-align.",
    )
    filter: str | None = Field(
        None, description="Only samples for which this holds: duration_s < 20 and task == 'asr'."
    )
    split: dict[str, float] = Field(
        default_factory=dict, description="Shares of train, validation and test, each written to a folder of its name."
    )
    by: Literal["speaker", "recording", "text"] = Field("speaker", description="What the splits do not share.")
    estimated: bool = Field(
        False, description="Speakers that `observe.speakers` estimated tell samples apart for splits, too."
    )
    group_by_parts: bool = Field(False, description="Samples with other kinds of parts go to folders of their own.")
    group_by_split: bool = Field(False, description="Samples go to folders by the split that their source names.")
    samples_per_part: int = Field(1000, ge=1, description="The samples of a shard or part. The last may have fewer.")
    shuffle: bool | None = Field(
        None, description="Shuffle the samples within windows of 16 parts. Null: shards are shuffled, layouts are not."
    )
    seed: int = Field(0, description="Decides the order of samples, and the instructions of transcripts.")


class HoldOut(Part):
    """What training sets do not have, so that `build-instruct --eval` can ask for it as unseen."""

    tasks: tuple[str, ...] = Field((), description="Tasks, by name.")
    templates: tuple[str, ...] = Field((), description="Templates of instructions, by id; a prefix names several.")
    languages: tuple[str, ...] = Field((), description="Languages that are spoken or written in a row.")
    environments: tuple[str, ...] = Field((), description="Where rows were recorded: vehicle, outdoor …")
    speakers: tuple[str, ...] = Field((), description="Speakers, by id.")
    voices: tuple[str, ...] = Field((), description="Voices, as engine/voice.")


class LeakageCheck(Part):
    """What a set may not share with its other splits and with sets that it is tested on."""

    against: tuple[str, ...] = Field(
        (),
        description="Sets that models are tested on: anything that `convert` reads. Of a test set the training set: it "
        "has to keep the same rows apart.",
    )
    kinds: tuple[str, ...] = Field(
        ("sample", "audio", "sound", "text", "near_text"),
        description="What is looked for, as in `llaso-data leakage`. Empty: nothing.",
    )
    found: Literal["remove", "refuse"] = Field(
        "remove",
        description="remove: leave out and count what is found. refuse: end with an error, nothing is written.",
    )


class RobustShares(Part):
    """What the robustness layer of a test set is made of, as shares."""

    noise: float = Field(0.4, ge=0, description="Recordings in noise.")
    accent: float = Field(0.2, ge=0, description="Speakers whose accent is known.")
    pairs: float = Field(0.4, ge=0, description="Instructions of which one in two cannot be followed.")


LayerName = Literal["basic", "tasks", "generalisation", "robustness"]
_LAYERS: dict[LayerName, float] = {"basic": 6166.0, "tasks": 4439.0, "generalisation": 2219.0, "robustness": 2220.0}


class EvalSet(Part):
    """A test set of four layers, as `build-instruct --eval` makes it. Shares are of samples."""

    layers: dict[LayerName, float] = Field(default_factory=lambda: dict(_LAYERS), description="Shares of the layers.")
    tasks: dict[str, float] = Field(
        default_factory=dict, description="Shares of tasks within a layer. A task without one has 100."
    )
    pairs: float = Field(
        0.1,
        ge=0,
        le=1,
        description="The share of each other layer that is instructions of which one in two cannot be followed.",
    )
    robustness: RobustShares = RobustShares()
    snr_db: tuple[float, ...] = Field(
        (-10.0, -5.0, 0.0, 5.0, 10.0, 15.0, 20.0), min_length=1, description="Signal-to-noise ratios in dB."
    )
    noises: tuple[Literal["white", "pink", "speech", "babble"], ...] = Field(
        ("white", "pink", "babble"),
        min_length=1,
        description="The noises. speech: noise with the recording's spectrum. babble: other recordings of the set.",
    )


class Instruct(Part):
    """Instruction data: which tasks, how they are asked, and how the set is put together."""

    to: str = Field("shards", description="shards, samples (Parquet with pointers to the audio), or a layout.")
    audio: Literal["keep", "flac", "wav", "opus"] | None = Field(
        None, description="The format of the audio, as in `convert`."
    )
    samples_per_part: int = Field(1000, ge=1, description="The samples of a shard or part. The last may have fewer.")
    tasks: tuple[str, ...] = Field((), description="The tasks, by name. Empty: all that the sources can feed.")
    task_files: tuple[str, ...] = Field((), description="Files that declare tasks of your own (docs/tasks.md).")
    mix: Literal["natural", "balanced"] | dict[str, float] = Field(
        "natural",
        description="natural: all that the sources give. balanced: as many of each task. Weights by task or group: "
        "{asr: 2, paralinguistic: 1}; a task without one is left out.",
    )
    samples: int | None = Field(
        None, ge=1, description="How many samples, over all splits. Null: as many as the mix allows."
    )
    turns: int = Field(
        1,
        ge=1,
        le=16,
        description="How many times a row is asked for a task: by other templates, in other modalities where it has "
        "several.",
    )
    modalities: dict[str, float] = Field(
        default_factory=lambda: {"text_audio": 1.0, "audio_text": 1.0, "audio": 1.0, "text": 1.0},
        description="Shares of the modalities. Those count that the task has and the row allows.",
    )
    languages: dict[str, float] = Field(
        default_factory=lambda: {"en": 0.9, "zh": 0.1}, description="Shares of the languages of instructions."
    )
    example_share: float = Field(
        0.25, ge=0, le=1, description="The share of written instructions that carry a worked example."
    )
    carrier_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="The share of `audio` samples whose clip follows a written carrier sentence, as in LLaSO-Instruct.",
    )
    pause_s: tuple[float, float] = Field(
        (0.3, 0.8), description="The pause between the spoken instruction and the input in one clip, lowest first."
    )
    split: dict[str, float] = Field(
        default_factory=dict, description="Shares of train, validation and test, each written to a folder of its name."
    )
    by: Literal["speaker_and_text", "speaker", "recording", "text"] = Field(
        "speaker_and_text",
        description="What splits do not share. Texts are held apart for tasks whose answer is no label and no number.",
    )
    given_splits: bool = Field(True, description="The split that a source names for a row is that row's.")
    hold_out: HoldOut = HoldOut()
    estimated: bool = Field(
        False, description="Labels that a model estimated may be asked for, and tell speakers apart for splits."
    )
    leakage: LeakageCheck = LeakageCheck()
    eval: EvalSet | None = Field(
        None, description="A test set of four layers, of the test split and what hold_out names. Null: training data."
    )
    seed: int = Field(0, description="Decides every draw.")


class Voices(Part):
    """Voices that speak instructions and texts, and what becomes of what they say."""

    engines: dict[str, dict[str, Any]] = Field(
        default_factory=lambda: {"hibari": dict[str, Any]()},
        description="Engines by name, each with its settings. `weight` is its share of a language, `voices` "
        "the ones that are drawn from, by language.",
    )
    speed: tuple[float, float] = Field((0.8, 1.2), description="The slowest and the fastest speed.")
    loudness_dbfs: tuple[float, float] = Field((-30.0, -18.0), description="The level, in dB of full scale.")
    room_share: float = Field(0.0, ge=0, le=1, description="The share of what is spoken that is said in a room.")
    room_s: tuple[float, float] = Field((0.15, 0.5), description="The reverberation time of rooms in seconds.")
    noise_share: float = Field(0.0, ge=0, le=1, description="The share of what is spoken that gets pink noise.")
    noise_snr_db: tuple[float, float] = Field((10.0, 30.0), description="The signal-to-noise ratio of that noise.")
    takes: int = Field(
        8, ge=1, description="How many times a text is spoken, by other voices or at other speeds; samples share them."
    )
    tries: int = Field(3, ge=1, description="How many voices try a text that Whisper mishears.")
    max_error: float = Field(
        0.1, ge=0, description="The character error rate above which Whisper's transcription rejects what was spoken."
    )
    cache: str | None = Field(
        None, description="The folder of what was spoken, which runs share. Null: a folder in `out`."
    )


class Run(Part):
    """Where a run works. It changes no result, but for floating-point differences between devices."""

    engine: Literal["ray", "local"] = Field(
        "ray",
        description="ray: many processes and machines. local: this process, one block after the other; shards and "
        "conversions in `num_workers` processes where they are more than 1.",
    )
    address: str | None = Field(None, description="The Ray cluster to join. Null: a local one is started.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: cuda where there is a GPU.")
    num_workers: int | None = Field(None, ge=1, description="The worker processes. Null: one per GPU, or per CPU core.")
    num_gpus: float | None = Field(None, ge=0, description="The GPUs of each worker. Null: 1 with cuda, else 0.")
    scratch: str | None = Field(
        None, description="The folder for archives that are fetched, on each machine. Null: that of temporary files."
    )
    disk_budget: str | None = Field(
        None,
        description="What fetched archives and what is made of them may take of a machine's disk at once: 100GB. Null: "
        "half of what is free.",
    )
    threads: int = Field(1, ge=1, description="The batches that a worker processes at once, each on a CPU core.")


class Recipe(Part):
    """Everything that a run needs."""

    sources: tuple[SourceSpec, ...] = Field((), description="What to read. Sources on the command line replace it.")
    out: str | None = Field(None, description="The folder or URI to write to. `--out` replaces it.")
    blocks: Blocks = Blocks()
    observe: Observe = Observe()
    judge: Judge = Judge()
    shard: Shard = Shard()
    convert: Convert = Convert()
    instruct: Instruct = Instruct()
    voices: Voices = Voices()
    run: Run = Run()
