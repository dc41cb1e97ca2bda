"""An instruction set as `build-instruct` leaves it, written by hand: for tests of what reads one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llaso_data.io import checksums
from llaso_data.records import GIVEN, Message, Provenance, Sample, Source, Utterance, digest
from tests.support.sample_sets import write_samples

SUMMARY: dict[str, Any] = {
    "format": "llaso-build-instruct",
    "format_version": 1,
    "to": "samples",
    "rows": 12,
    "samples": 4,
    "hours": 0.5,
    "tasks": {
        "gender": {"text_audio": {"en": 1, "zh": 1}, "audio": {"en": 1}},
        "text_to_speech": {"text": {"en": 1}},
    },
    "splits": {"test": {"gender": 1}, "train": {"gender": 2, "text_to_speech": 1}},
    "forms": {"command": 3, "question": 1},
    "templates": {},
    "answers": {"gender": {"female": 2, "女性": 1, "male": 1}},
    "refused": {"misheard": 2, "too_long": 1},
    "voices": {"hibari/heart": {"en": {"lines": 20, "rejected": 2, "errors": 3, "words": 200, "seconds": 61.0}}},
    "not_fed": {"age": {"age": 12}},
    "leakage": {
        "sounds": {
            "kinds": ["sound"],
            "looked_up": {"train": 11},
            "leaked": {"train": 1},
            "other_rows": {"eval": 9},
            "counts": {"eval": {"sound": 1}},
            "examples": {"sound": [{"kind": "sound", "where": "a.csv:2", "other": "eval", "other_where": "e.csv:7"}]},
            "not_compared": {"train": {"short_sound": 2}},
        }
    },
    "titles": {"gender": "Speaker gender"},
    "hold_out": {"voices": ["kokoro/af_sky"]},
    "problems": {"missing": 1},
    "examples": {"missing": ["rows.csv:3: a.wav is not there"]},
    "notes": {"columns that are not used: name": 1},
}


def asked(
    task: str, *content: str | int, answer: str | int, audios: Sequence[Path] = (), said: str = "", kept: Any = None
) -> Sample:
    """A sample of a task: what is asked, with the numbers of its audios, and the answer."""
    return Sample(
        task=task,
        messages=(Message.of("user", *content), Message.of("assistant", answer)),
        audios=tuple(heard(path, said) for path in audios),
        language="en",
        provenance=Provenance(layout="manifest", file="rows.csv", row=2, template=f"{task}/en/command/0", kept=kept),
    )


def heard(path: Path, said: str = "") -> Utterance:
    """A recording of which its corpus says a text."""
    name = digest(str(path), said)
    source = Source(corpus="rows", uri=str(path))
    return Utterance(id=name, recording=name, source=source, text=said or None, text_origin=GIVEN)


def write_built(out: Path, splits: Mapping[str, Sequence[Sample]], **changes: Any) -> Path:
    """The set's folders, and what its summary says; ``changes`` replace keys of :data:`SUMMARY`."""
    for name, samples in splits.items():
        write_samples(samples, out / name)
    checksums.write_json(str(out / "build-instruct.json"), {**SUMMARY, **changes})
    return out
