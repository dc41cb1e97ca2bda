"""Instruction data: ``instruct``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from llaso_data.recipe.evaluation import EvalSet, HoldOut, LeakageCheck
from llaso_data.recipe.part import Part


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
