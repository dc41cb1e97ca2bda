"""The recipe: what to read, how to observe it, how to judge it, what to write.

A recipe is a YAML file, which pydantic checks against these classes. ``docs/recipe.md`` is made from them.
A block's digest depends on ``observe`` and on what a source says of its records, that of the table of verdicts on
``judge``; neither depends on ``run``. A field that names an entry of a table (``SourceSpec.type``) is a plain ``str``:
``pipeline/load_recipe.py``, which knows the tables, checks it.
"""

from __future__ import annotations

from llaso_data.recipe.evaluation import EvalSet, HoldOut, LayerName, LeakageCheck, RobustShares
from llaso_data.recipe.instruct import Instruct
from llaso_data.recipe.judge import Audit, Confidence, Consistency, Duplicates, Judge
from llaso_data.recipe.observe import Align, Asr, Decode, LanguageModel, Observe, Quality, Segment, Speakers, UserStage
from llaso_data.recipe.part import Part
from llaso_data.recipe.recipe import Recipe
from llaso_data.recipe.run import Run
from llaso_data.recipe.sources import Blocks, SourceSpec
from llaso_data.recipe.voices import Voices
from llaso_data.recipe.writing import Convert, Shard

__all__ = [
    "Align",
    "Asr",
    "Audit",
    "Blocks",
    "Confidence",
    "Consistency",
    "Convert",
    "Decode",
    "Duplicates",
    "EvalSet",
    "HoldOut",
    "Instruct",
    "Judge",
    "LanguageModel",
    "LayerName",
    "LeakageCheck",
    "Observe",
    "Part",
    "Quality",
    "Recipe",
    "RobustShares",
    "Run",
    "Segment",
    "Shard",
    "SourceSpec",
    "Speakers",
    "UserStage",
    "Voices",
]
