"""Speakers that nobody names are estimated within recordings and across a corpus, and what is said stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from llaso_data.estimate.voice_encoder import SIZE
from llaso_data.pipeline import commit
from llaso_data.pipeline.build_align import build_align
from llaso_data.pipeline.convert.parts import assign_split
from llaso_data.pipeline.label_speakers import label_speakers, labels_of
from llaso_data.pipeline.observe import observing_digest
from llaso_data.pipeline.observe_voices import SCHEMA
from llaso_data.recipe import Convert
from llaso_data.records import ESTIMATED, GIVEN, Attribute, Message, Sample, Source, Speaker, Utterance
from tests.support import conversations
from tests.support.corpora import files, observed, recipe


def voices(*rows: tuple[str, str, int, int], seed: int = 0) -> pa.Table:
    """A row for each (id, recording, speaker within it, true voice)."""
    rng = np.random.default_rng(seed)
    table = []
    for id, recording, speaker, voice in rows:
        vector = np.eye(SIZE)[voice] + 0.02 * rng.standard_normal(SIZE)
        vector /= np.linalg.norm(vector)
        table.append({"id": id, "recording": recording, "corpus": "c", "speaker": speaker, "windows": 9,
                      "vector": vector.astype("<f2").tobytes()})  # fmt: skip
    return pa.Table.from_pylist(table, schema=SCHEMA)


ROWS = [("a1", "a", 0, 3), ("a2", "a", 1, 5), ("a3", "a", 0, 3), ("b1", "b", 0, 5), ("b2", "b", 1, 7)]


def test_recordings_share_speakers_and_their_order_changes_no_name() -> None:
    labels = labels_of(voices(*ROWS), 0.82)
    assert labels["a1"].speaker == labels["a3"].speaker
    assert labels["a2"].speaker == labels["b1"].speaker
    assert len({label.speaker for label in labels.values()}) == 3
    assert all(0.9 < label.confidence <= 1 for label in labels.values())
    backwards = labels_of(voices(*ROWS).take([4, 3, 2, 1, 0]), 0.82)
    assert {id: label.speaker for id, label in backwards.items()} == {id: one.speaker for id, one in labels.items()}
    within = labels_of(voices(*ROWS), 1.5)
    assert within["a2"].speaker != within["b1"].speaker and within["a1"].speaker == within["a3"].speaker


def utterance(id: str, speaker: Speaker | None = None) -> Utterance:
    return Utterance(id=id, recording=id[0], source=Source(corpus="c", uri=id), speaker=speaker or Speaker())


def test_blocks_are_written_with_labels_once_and_what_is_given_stays(tmp_path: Path) -> None:
    out = str(tmp_path)
    given = Speaker(id=Attribute("Ann", GIVEN))
    blocks = {"first": ["a1", "a2", "a3"], "second": ["b1", "b2"], "third": ["z"]}
    for block, ids in blocks.items():
        commit.write_block(out, block, [utterance(id, given if id == "z" else None) for id in ids])
        commit.write_voices(out, block, voices(*(row for row in ROWS if row[0] in ids)))
    names = label_speakers(out, list(blocks), 0.82)
    assert names[2] == "third" and set(names[:2]).isdisjoint(blocks)
    rows = {one.id: one for name in names for one in commit.read_block(out, name)}
    assert rows["a2"].speaker.id == rows["b1"].speaker.id and rows["a2"].speaker.id.origin == ESTIMATED
    assert 0 <= rows["a2"].scores.extra["speaker_confidence"] <= 1 and rows["z"].speaker == given
    before = files(tmp_path)
    assert label_speakers(out, list(blocks), 0.82) == names and files(tmp_path) == before


def test_a_split_takes_an_estimated_speaker_for_one_only_where_it_is_told() -> None:
    def sample(uri: str, origin: str) -> Sample:
        speaker = Speaker(id=Attribute("s1", origin))
        audio = Utterance(id=uri, recording=uri, source=Source(corpus="c", uri=uri), speaker=speaker)
        return Sample(task="asr", audios=(audio,), messages=(Message.of("user", 0), Message.of("assistant", "hi")))

    def splits(origin: str, estimated: bool) -> set[str]:
        settings = Convert(split={"train": 0.5, "test": 0.5}, estimated=estimated)
        return {assign_split(sample(f"{n}.wav", origin), settings) for n in range(40)}

    assert len(splits(GIVEN, False)) == 1 == len(splits(ESTIMATED, True))
    assert len(splits(ESTIMATED, False)) == 2  # recordings, each for itself


def test_only_what_is_enabled_names_blocks_anew_and_the_similarity_never_does(tmp_path: Path) -> None:
    def digest(**options: object) -> str:
        return observing_digest(recipe(tmp_path, tmp_path, **options).observe, ["weights"])

    on = {"observe__speakers__enabled": True}
    assert digest() == digest(observe__speakers__similarity=0.9) != digest(**on)
    assert digest(**on) == digest(**on, observe__speakers__similarity=0.9)


@pytest.mark.slow
def test_a_run_names_the_speakers_of_conversations_the_same_on_both_engines(tiny_en: Path, tmp_path: Path) -> None:
    pytest.importorskip("resemblyzer.hparams", reason="the extra [speakers] is not installed")
    pool = conversations.recorded_voices(20, ("prompts-en", "prompts-it", "prompts-ru"))
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, names in enumerate((("prompts-it", "prompts-ru"), ("prompts-it", "prompts-en"))):
        talk = conversations.make({name: pool[name] for name in names}, 2, 40, seed=number)
        soundfile.write(corpus / f"talk{number}.wav", talk.pcm, 16_000)
    options = {"observe__speakers__enabled": True, "blocks__clips": 1, "judge__audit__items": 0}
    for engine in ("local", "ray"):
        build_align(recipe(tiny_en, tmp_path / engine, corpus, run__engine=engine, run__num_workers=2, **options))
    assert files(tmp_path / "local", "recipe.yaml") == files(tmp_path / "ray", "recipe.yaml")
    rows = observed(tmp_path / "local")
    by_file = [{one.speaker.id.value for one in rows if one.source.uri.endswith(f"talk{n}.wav")} for n in range(2)]
    assert [len(names) for names in by_file] == [2, 2] and len(by_file[0] & by_file[1]) == 1
    assert all(one.speaker.id.origin == ESTIMATED for one in rows)
