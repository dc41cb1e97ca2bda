"""What is written of it: ``shard`` and ``convert``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from llaso_data.recipe.part import Part


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
