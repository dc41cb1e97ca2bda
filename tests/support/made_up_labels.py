"""A small table that feeds every task: real recordings with labels that nobody gave them.

Age, emotion and its intensity, pronunciation, intent, entities and style are labels of no recording that can be had
without a hub. Here they are **made up**: they exercise the tasks, and nothing may be learned or concluded from them. Of
real labels `bench/instruct_sets.py` makes corpora.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from llaso_data.instruct.listing import made_up
from llaso_data.instruct.pronunciation import SENTENCE_ASPECTS, WORD_ASPECTS
from llaso_data.instruct.tasks import Tasks
from llaso_data.instruct.tasks.build import AUDIO, SECOND_AUDIO
from tests.conftest import Clip

RECORDINGS = (AUDIO, SECOND_AUDIO, "target_audio")


def write_table(folder: Path, clips: Sequence[Clip], tasks: Tasks, rows: int = 12) -> Path:
    """``manifest.jsonl`` with a column for every field that a task needs, beside the recordings.

    Args:
        folder: Gets the recordings and the table.
        clips: Real recordings with their texts.
        tasks: Whose fields the rows have.
        rows: As many as clips at most. Labels go through their sets by the row's number.
    """
    names = []
    for number, clip in enumerate(clips[:rows]):
        names.append(f"{clip.language}-{clip.path.name}")
        shutil.copyfile(clip.path, folder / names[number])
    lines = []
    for number, (clip, name) in enumerate(zip(clips, names, strict=False)):
        fields = [field for task in tasks.build for field in made_up(tasks, task, number).items()]
        row = dict(sorted(fields, key=lambda field: field[1] != f"({field[0]})"))  # one that is a label comes last
        row |= {"text": clip.text, "language": clip.language, "labels": "made up"}
        others = (name, names[number - 1], names[number - 2])
        row |= dict(zip(RECORDINGS, others, strict=True))
        row["sentence_scores"] = dict.fromkeys(SENTENCE_ASPECTS, number % 11)
        row["word_scores"] = [{"word": word, **dict.fromkeys(WORD_ASPECTS, number % 11)} for word in clip.text.split()]
        row["entities"] = f"[made_up : {clip.text.split()[0]}]"
        lines.append(json.dumps(row, ensure_ascii=False))
    table = folder / "manifest.jsonl"
    table.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return table
