"""What is read, and how it is grouped: ``sources`` and ``blocks``."""

from __future__ import annotations

from pydantic import Field

from llaso_data.recipe.part import Part


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
