"""Reading the sources once: rows wait on the disk, what they can feed is counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.formats.rows.head import only_first
from llaso_data.instruct.compose import Asking
from llaso_data.instruct.row import InstructRow
from llaso_data.io import interrupts
from llaso_data.pipeline.convert.problems import Problems
from llaso_data.pipeline.instruct import tasks
from llaso_data.pipeline.instruct.candidates import Scan
from llaso_data.pipeline.instruct.progress import Progress
from llaso_data.pipeline.instruct.row_store import RowStore
from llaso_data.pipeline.instruct.rows import DUPLICATE, rows_of
from llaso_data.pipeline.instruct.speech import languages_spoken
from llaso_data.pipeline.seen_ids import SeenIds
from llaso_data.recipe import HoldOut, Recipe
from llaso_data.records import Failure

_BATCH = 1000


@dataclass(slots=True)
class Reading:
    """The rows, and what is said of the sources; ``of_source`` how many were read of each."""

    rows: RowStore
    scan: Scan
    read: int = 0
    problems: Problems = field(default_factory=Problems)
    notes: Counter[str] = field(default_factory=Counter)
    of_source: dict[str, int] = field(default_factory=dict)

    def told(self, kept: int) -> dict[str, Any]:
        """What the summary says of it: ``kept`` rows can be asked of."""
        return {
            "rows": self.read,
            "rows_kept": kept,
            "problems": dict(self.problems.counts),
            "examples": self.problems.examples,
            "notes": dict(sorted(self.notes.items())),
        }


def asking_of(recipe: Recipe) -> Asking:
    """How rows are asked, as a recipe says it.

    Raises:
        LLaSOError: What the engines of the recipe need is not installed.
    """
    instruct = recipe.instruct
    voiced: frozenset[str] = frozenset()
    if recipe.voices.engines:
        try:
            voiced = languages_spoken(recipe.voices, instruct.hold_out.voices)
        except LLaSOError as error:
            raise LLaSOError(f"{error}; or build without voices: --set 'voices.engines={{}}'") from error
    return Asking(
        seed=instruct.seed,
        modalities=instruct.modalities,
        languages=instruct.languages,
        voiced=tuple(sorted(voiced)),
        example_share=instruct.example_share,
        carrier_share=instruct.carrier_share,
        estimated=instruct.estimated,
    )


def read_rows(
    recipe: Recipe,
    own: str,
    names: tuple[str, ...],
    asking: Asking,
    rows: RowStore,
    progress: Progress,
    first: int | None = None,
) -> Reading:
    """Read all sources once: rows go to the store, what they can feed to the scan.

    Args:
        recipe: The sources, and what is held out.
        own: The user's tasks.
        names: Of the tasks.
        asking: How rows are asked.
        rows: Takes the rows.
        progress: Is told.
        first: How many rows of each source are read; None: all.
    """
    instruct = recipe.instruct
    renderers = tasks.renderers_of(own, names, instruct.hold_out.templates)
    with_texts = bool(instruct.split) and instruct.by in ("text", "speaker_and_text")
    # A test set asks for what is held out.
    kept_out = instruct.hold_out if instruct.eval is None else HoldOut()
    reading = Reading(rows, Scan(renderers, asking, kept_out, with_texts))
    seen = SeenIds()
    batch: list[InstructRow] = []

    def keep() -> None:
        for row, repeated in zip(batch, seen.add([row.id for row in batch]), strict=True):
            if repeated:
                reading.problems.add(Failure(DUPLICATE, f"{row.where or row.id}: the same row as an earlier one"))
                continue
            rows.add(row)
            reading.scan.add(row)
        batch.clear()
        progress.rows(reading.read, len(reading.problems))

    for spec in recipe.sources:
        before = reading.read
        with only_first(first):
            for one in islice(rows_of(spec, tasks.tasks_of(own), reading.notes), first):
                reading.read += 1
                if isinstance(one, Failure):
                    reading.problems.add(one)
                    continue
                batch.append(one)
                if len(batch) == _BATCH:
                    interrupts.check()
                    keep()
        reading.of_source[spec.path] = reading.of_source.get(spec.path, 0) + reading.read - before
    keep()
    return reading
