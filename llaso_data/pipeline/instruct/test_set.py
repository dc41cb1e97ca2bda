"""How the samples of a test set are asked: the templates, the draws and the tags of each slot."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llaso_data.errors import LLaSOError
from llaso_data.instruct.compose import Asking, Outline, draw_modality, outline, turned
from llaso_data.instruct.evaluation import SLOTS, accent_of, noise_of, said_of, turn_of, unseen_in
from llaso_data.instruct.rendering import Renderer, templates_of
from llaso_data.instruct.row import InstructRow
from llaso_data.instruct.tasks import Layer, Tasks
from llaso_data.instruct.tasks.build import Modality
from llaso_data.pipeline.instruct.tasks import tasks_of
from llaso_data.recipe import HoldOut, Instruct


@dataclass(frozen=True, slots=True)
class TestSet:
    """What jobs need for a test set.

    Attributes:
        hold_out: What training sets do not have.
        snr_db: Ratios in dB that are drawn.
        noises: Noises that are drawn.
        layers: By task, its layer.
        seed: Decides the draws.
    """

    __test__ = False  # no test of pytest's

    hold_out: HoldOut
    snr_db: tuple[float, ...]
    noises: tuple[str, ...]
    layers: dict[str, Layer]
    seed: int

    @classmethod
    def of(cls, settings: Instruct, tasks: Tasks, names: Sequence[str]) -> TestSet:
        """What a recipe says of it. ``names`` are the tasks that are asked."""
        assert settings.eval is not None
        layers = {name: tasks.tasks[name].layer for name in names}
        return cls(settings.hold_out, settings.eval.snr_db, settings.eval.noises, layers, settings.seed)

    def renderer(self, own: str, name: str, slot: int) -> Renderer:
        """The renderer of a task in a slot: with the templates that are held out, or with the others.

        Args:
            own: The user's tasks, as :func:`~.tasks.carried` gives them.
            name: Of the task.
            slot: Place in SLOTS.
        """
        unseen = SLOTS[slot].part == "unseen_template"
        every = SLOTS[slot].part == "unseen" and name in self.hold_out.tasks
        return _renderer(own, name, () if every else self.hold_out.templates, unseen)

    def outlined(
        self, renderer: Renderer, row: InstructRow, allowed: Sequence[Modality], slot: int, asking: Asking
    ) -> Outline:
        """A row as it is asked in a slot.

        Args:
            renderer: Of the task and slot.
            row: The row.
            allowed: The modalities that it allows.
            slot: Place in SLOTS.
            asking: How.

        Raises:
            LLaSOError: The row lacks something.
        """
        what = SLOTS[slot]
        drawn = turned(row, turn_of(slot))
        modality = draw_modality(allowed, renderer.name, drawn, asking)
        made = outline(renderer, drawn, modality, asking, what.answerable)
        if what.answerable is not None:  # the two halves of a pair are two samples
            made = replace(made, row=turned(row, slot))
        unseen = unseen_in(row.audio, made.language, self.hold_out)
        unseen += ["unseen_task"] if renderer.name in self.hold_out.tasks else []
        noise = noise_of(row.id, self.seed, self.snr_db, self.noises) if what.part == "noise" else None
        told = said_of(slot, self.layers[renderer.name], made.instruction.expected, unseen, accent_of(row.audio), noise)
        return replace(made, tags={**made.tags, **told})


@functools.lru_cache(256)
def _renderer(own: str, name: str, held: tuple[str, ...], unseen: bool) -> Renderer:
    """A renderer without the held-out templates, or with them alone. Raises LLaSOError where none is left."""
    tasks = tasks_of(own)
    others = tuple(one.id for one in templates_of(tasks, name) if not one.id.startswith(held)) if unseen else held
    renderer = Renderer(tasks, name, others)
    if not renderer.languages:
        raise LLaSOError(f"task {name}: instruct.hold_out.templates leaves it no template")
    return renderer
