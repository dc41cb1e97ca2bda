"""All sections together."""

from __future__ import annotations

from pydantic import Field

from llaso_data.recipe.instruct import Instruct
from llaso_data.recipe.judge import Judge
from llaso_data.recipe.observe import Observe
from llaso_data.recipe.part import Part
from llaso_data.recipe.run import Run
from llaso_data.recipe.sources import Blocks, SourceSpec
from llaso_data.recipe.voices import Voices
from llaso_data.recipe.writing import Convert, Shard


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
