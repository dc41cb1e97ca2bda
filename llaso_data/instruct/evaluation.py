"""The test set: for what each of its samples is. :mod:`llaso_data.pipeline.instruct.eval_plan` plans it.

Four layers: what a model can do at all (``basic``), each task (``tasks``), what training sets do not have
(``generalisation``), and what makes it hard (``robustness``: noise, accents, instructions that cannot be followed).
Every layer has such instructions in pairs with ones that can be followed, so that neither a model that always refuses
nor one that always answers passes any (:mod:`llaso_model.evaluate.statistics.layers`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from llaso_data.instruct.tasks import LAYERS, Layer
from llaso_data.instruct.tasks.build import Expected
from llaso_data.recipe import HoldOut
from llaso_data.records import ESTIMATED, UNKNOWN, Utterance, digest

PartName = Literal["plain", "unseen", "unseen_template", "noise", "accent", "refused", "followed"]


@dataclass(frozen=True, slots=True)
class Slot:
    """For what a sample is: its layer, None for that of its task, and what of the layer it is."""

    layer: Layer | None
    part: PartName

    @property
    def answerable(self) -> bool | None:
        """Whether a pair's instruction can be followed; None of what is no pair."""
        return {"refused": False, "followed": True}.get(self.part)


SLOTS: tuple[Slot, ...] = (
    Slot(None, "plain"),
    Slot("generalisation", "unseen"),
    Slot("generalisation", "unseen_template"),
    Slot("robustness", "noise"),
    Slot("robustness", "accent"),
    *(Slot(layer, part) for layer in LAYERS for part in ("refused", "followed")),
)
"""All of them. Their places are stored in draws: new ones come last."""


def turn_of(slot: int) -> int:
    """The number that, with the row, decides a sample's draws: both halves of a pair have the same."""
    return slot - 1 if SLOTS[slot].part == "followed" else slot


def unseen_in(audio: Utterance | None, language: str | None, hold_out: HoldOut) -> list[str]:
    """What of a row training sets do not have.

    Args:
        audio: The recording.
        language: Of the row.
        hold_out: What is held out.

    Returns:
        ``unseen_language``, ``unseen_room``, ``unseen_speaker``: those that apply.
    """
    found = []
    if language is not None and {language, language.partition("-")[0]} & {*hold_out.languages}:
        found.append("unseen_language")
    if audio is not None and audio.environment.value in hold_out.environments:
        found.append("unseen_room")
    if audio is not None and audio.speaker.id.value in hold_out.speakers:
        found.append("unseen_speaker")
    return found


def accent_of(audio: Utterance | None) -> str | None:
    """The accent of a recording's speaker; None where the source does not say it."""
    if audio is None or audio.speaker.accent.value == UNKNOWN or audio.speaker.accent.origin == ESTIMATED:
        return None
    return audio.speaker.accent.value


def noise_of(row_id: str, seed: int, levels_db: Sequence[float], noises: Sequence[str]) -> tuple[float, str]:
    """The signal-to-noise ratio in dB and the noise of a row's sample in noise: a function of row and seed."""
    level = int(digest("snr", seed, row_id, length=8), 16) % len(levels_db)
    return levels_db[level], noises[int(digest("noise", seed, row_id, length=8), 16) % len(noises)]


def said_of(
    slot: int,
    layer: Layer,
    expected: Expected,
    unseen: Collection[str] = (),
    accent: str | None = None,
    noise: tuple[float, str] | None = None,
) -> Mapping[str, Any]:
    """What a sample's provenance says, as ``llaso-model evaluate`` reads it.

    Args:
        slot: Its place in :data:`SLOTS`.
        layer: Of its task.
        expected: What is right to do.
        unseen: What of its row and task is unseen.
        accent: Of the speaker.
        noise: Ratio in dB, and the noise.

    Returns:
        ``layer``, ``expected`` and ``tags``: ``unseen_…``, ``snr:5``, ``accent``, ``refusal`` or ``ask_back``.
    """
    what = SLOTS[slot]
    tags = list(unseen) if what.part == "unseen" else []
    if what.part == "unseen_template":
        tags.append("unseen_template")
    told: dict[str, Any] = {"layer": what.layer or layer, "expected": expected, "tags": tags}
    if noise is not None:
        told |= {"snr_db": noise[0], "noise": noise[1]}
        tags.append(f"snr:{noise[0]:g}")
    if accent is not None and what.part == "accent":
        told["accent"] = accent
        tags.append("accent")
    if expected != "answer":
        tags.append(expected)
    return told
