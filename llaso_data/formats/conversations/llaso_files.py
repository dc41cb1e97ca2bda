"""What the place and the name of one of LLaSO's files say: task, set, split, modality."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from llaso_data.instruct.tasks import Set, Tasks, all_tasks

TEXT_AUDIO, AUDIO_TEXT, PURE_AUDIO = "text_audio", "audio_text", "pure_audio"
MODALITIES = (TEXT_AUDIO, AUDIO_TEXT, PURE_AUDIO)
"""Folders: a text instructs and audio is heard, audio instructs and text is read, audio does both."""
_BY_NAME = (
    (re.compile(r"_input_1(_|$)"), TEXT_AUDIO),
    (re.compile(r"_instruction_0(_|$)"), AUDIO_TEXT),
    (re.compile(r"_end(_|$)"), PURE_AUDIO),
)
SPLITS = {"train": "train", "test": "test", "eval": "test", "validation": "validation", "val": "validation"}
_SPLIT = re.compile(rf"_({'|'.join(SPLITS)}|dev)$")
_STAGE = re.compile(r"_stage\d+$")
_CORRECTED = {"sadnessf": "sadness", "fourties": "forties"}
"""Typos that are the published name of a label."""


@dataclass(frozen=True, slots=True)
class LlasoFile:
    """One file of conversations.

    Attributes:
        task: A task of the registry; None: the name says none.
        declared: The set of the registry that the name means.
        split: ``train``, ``validation`` or ``test``.
        modality: One of :data:`MODALITIES`; None: neither place nor name says it.
        labels: Every form of a label in small letters → the label; empty: answers are no labels.
    """

    task: str | None = None
    declared: Set | None = None
    split: str | None = None
    modality: str | None = None
    labels: dict[str, str] = field(default_factory=dict)

    def label_of(self, answer: str) -> str | None:
        """The label that an answer means, without its typos; None: it is none."""
        return self.labels.get(answer.strip().rstrip(".").strip().casefold())


def llaso_file(path: str) -> LlasoFile:
    """What a path says; of it the file's name and the folders count."""
    *folders, name = path.split("/")
    stem = name.rpartition(".")[0] or name
    split = _SPLIT.search(stem)
    plain = _STAGE.sub("", stem[: split.start()] if split else stem)
    tasks = _tasks()
    set_name = tasks.set_of(plain)
    declared = None if set_name is None else tasks.sets[set_name]
    task = declared.task if declared else (plain if plain in tasks.tasks else None)
    modality = next((folder for folder in reversed(folders) if folder in MODALITIES), None)
    modality = modality or next((kind for pattern, kind in _BY_NAME if pattern.search(plain)), None)
    if modality is None and declared is not None:
        modality = TEXT_AUDIO
    labels = tasks.labels.get(declared.labels or "", {}) if declared and declared.kind == "label" else {}
    return LlasoFile(
        task=task,
        declared=declared,
        split=SPLITS.get(split[1], "validation") if split else None,
        modality=modality,
        labels={
            form.casefold(): _CORRECTED.get(label, label)
            for label, others in labels.items()
            for form in (*others, label, _CORRECTED.get(label, label))
        },
    )


@lru_cache(maxsize=1)
def _tasks() -> Tasks:
    return all_tasks()
