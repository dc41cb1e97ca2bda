"""Small sets of shards of every modality, for the tests of what is published."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from llaso_data import records
from llaso_data.records import GIVEN, Attribute, Message, Provenance, Sample, Source, Speaker, Utterance
from llaso_data.shards import layout, manifest, writer
from llaso_data.shards.index import ShardInfo
from llaso_data.shards.sound_spool import SoundSpool
from tests.conftest import Clip


def utterance(clip: Clip, corpus: str = "prompts", speaker: str = "ann", **source: str) -> Utterance:
    """What a corpus says of a clip."""
    identity = records.utterance_id(corpus, clip.path.name, None, None, None)
    return Utterance(
        id=identity,
        recording=identity,
        source=Source(corpus=corpus, uri=f"s3://speech/{clip.path.name}", **source),
        text=clip.text,
        text_origin=GIVEN,
        language=clip.language,
        speaker=Speaker(id=Attribute(speaker, GIVEN), gender=Attribute("female", GIVEN)),
    )


def modalities(clips: Sequence[Clip], **source: str) -> dict[str, list[Sample]]:
    """Samples by the folder that ``convert --group-by parts`` gives them: a written and a spoken instruction, speech
    alone, two audios, and text; what their JSON says differs from sample to sample."""
    first, second, third = (utterance(clip, speaker=name, **source) for clip, name in zip(clips, "abc", strict=False))
    first = dataclasses.replace(first, text_given=f"[noise] {first.text}")

    def sample(task: str, audios: tuple[Utterance, ...], *asked: str | int, kept: object = None) -> Sample:
        answer = Message.of("assistant", audios[0].text if audios else "An answer.")
        provenance = None if kept is None else Provenance(layout="rows", row=1, kept={"label": kept})
        return Sample(task=task, messages=(Message.of("user", *asked), answer), audios=audios, language="en",
                      provenance=provenance)  # fmt: skip

    return {
        "text": [sample("chat", (), "What is `x`?"), sample("chat", (), "And y?")],
        "1-audio": [
            sample("asr", (first,), "Write it down.", 0, kept="seven"),
            sample("asr", (second,), "Write it down.", 0, kept=7),
            sample("qa", (third,), 0, "A text to the spoken question."),
            sample("speech_chat", (first,), 0),
        ],
        "2-audios": [sample("compare", (first, second), "Which?", 0, 1), sample("spoken_qa", (second, third), 0, 1)],
    }


def write_set(out: Path, samples: Sequence[Sample], clips: Sequence[Clip], per_shard: int = 1000) -> None:
    """A finished set of samples whose audios name clips."""
    paths = {clip.path.name: clip.path for clip in clips}
    pairs: list[tuple[str, ShardInfo]] = []
    plan = records.digest(*(sample.id for sample in samples))
    for number, start in enumerate(range(0, len(samples), per_shard)):
        chosen = samples[start : start + per_shard]
        places = [[(str(paths[one.source.uri.rpartition("/")[2]]), None, None, None, None) for one in sample.audios]
                  for sample in chosen]  # fmt: skip
        name = layout.shard_name(number)
        with SoundSpool("flac", str(out / name)) as spool:
            assert spool.add(chosen, places) == []
            info = writer.write(str(out), name, spool.encoded(), digest=records.digest(name, plan), dataset=plan)
        pairs.append((str(out / layout.sidecar_name(name)), info))
    manifest.finish(str(out), pairs, profile=manifest.LLASO, plan=plan, options=None, source={"convert": plan})
