"""shard --append: records that are new go into shards of their own; the certificate covers what was drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from llaso_data.cli import main
from llaso_data.errors import LLaSOError
from llaso_data.pipeline.convert.run import convert
from llaso_data.pipeline.load_recipe import load
from llaso_data.pipeline.shard import ShardSummary, shard_dataset
from llaso_data.recipe import Run, Shard
from llaso_data.records import Utterance
from llaso_data.shards import reader
from llaso_data.shards.removal import Removed, remove
from llaso_data.shards.validate import validate
from tests.conftest import Clip
from tests.support import corpora
from tests.support.audit_fixtures import recorded, to_audit


@pytest.fixture
def utterances(clips: list[Clip], tmp_path: Path) -> list[Utterance]:
    return recorded([clip for clip in clips if clip.language == "en"][:3], tmp_path / "recordings", (1.0, 0.5))


def align(folder: Path, utterances: list[Utterance]) -> Path:
    to_audit(folder, utterances, 1)
    return folder


def shard(source: Path, out: Path, append: bool = False, audio: Any = "flac") -> ShardSummary:
    spec = Shard(samples_per_shard=2, audio=audio)
    return shard_dataset(str(source), str(out), spec, Run(engine="local"), append=append)


def test_new_records_get_new_shards_and_old_ones_keep_their_bytes(utterances: list[Utterance], tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = shard(align(tmp_path / "one", utterances[:3]), out)
    before = {path.name: path.read_bytes() for path in out.glob("shard-*")}
    both = align(tmp_path / "two", utterances)
    grown = shard(both, out, append=True)
    assert (first.samples, grown.samples) == (3, 6)
    assert before.items() <= {path.name: path.read_bytes() for path in out.glob("shard-*")}.items()
    assert validate(str(out)).problems == ()
    ids = {sample.audios[0].id for sample, _ in reader.samples(str(out))}
    assert ids == {utterance.id for utterance in utterances}
    files = corpora.files(out)
    assert shard(both, out, append=True).digest == grown.digest and corpora.files(out) == files
    with pytest.raises(LLaSOError, match="holds flac, and --audio wav"):
        shard(both, out, append=True, audio="wav")


def test_an_interrupted_append_goes_on_or_makes_room_for_another(utterances: list[Utterance], tmp_path: Path) -> None:
    one, two = align(tmp_path / "one", utterances[:2]), align(tmp_path / "two", utterances)
    shard(one, tmp_path / "whole")
    shard(two, tmp_path / "whole", append=True)
    shard(one, tmp_path / "again")

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    spec = Shard(samples_per_shard=2)
    for source in (align(tmp_path / "other", utterances[:5]), two):
        with pytest.raises(KeyboardInterrupt):
            shard_dataset(str(source), str(tmp_path / "again"), spec, Run(engine="local"), append=True, progress=stop)
    assert len(reader.open_index(str(tmp_path / "again"))) == 2
    shard(two, tmp_path / "again", append=True)
    assert corpora.files(tmp_path / "again") == corpora.files(tmp_path / "whole")


def test_what_was_removed_is_not_sharded_again(utterances: list[Utterance], tmp_path: Path) -> None:
    source, out = align(tmp_path / "one", utterances), tmp_path / "out"
    shard(source, out)
    remove(str(out), Removed(names=frozenset([utterances[0].id])))
    assert shard(source, out, append=True).samples == 5
    assert shard_dataset(str(source), str(out), Shard(), Run(engine="local"), overwrite=True).samples == 5


def test_the_output_of_build_align_is_converted_with_its_texts(utterances: list[Utterance], tmp_path: Path) -> None:
    source = align(tmp_path / "one", utterances)
    options = {"run.engine": "local", "sources": [{"path": str(source)}]}
    summary = convert(load(None, options={**options, "out": str(tmp_path / "out")}))
    assert summary.samples == len(utterances)
    texts = {
        sample.audios[0].id: sample.messages[-1].content[0].text for sample, _ in reader.samples(str(tmp_path / "out"))
    }
    assert texts == {utterance.id: utterance.text for utterance in utterances}


def test_splits_are_sets_of_their_own_and_share_no_recording(clips: list[Clip], tmp_path: Path) -> None:
    english = [clip for clip in clips if clip.language == "en"][:3]
    (tmp_path / "recipe.yaml").write_text("shard: {audio: wav, samples_per_shard: 1}\n", "utf-8")
    for number in range(20):  # a file's name decides on its split, so six files may all be of one
        utterances = recorded(english, tmp_path / f"recordings-{number}", (1.0, 0.5))
        source, out = align(tmp_path / f"align-{number}", utterances), tmp_path / f"out-{number}"
        arguments = ["shard", str(source), "--out", str(out), "--engine", "local", "--split", "train=0.5,test=0.5"]
        done = CliRunner().invoke(main, [*arguments, "--by", "recording", "--recipe", str(tmp_path / "recipe.yaml")])
        assert done.exit_code == 0, done.output
        if all((out / name / "index.arrow").exists() for name in ("train", "test")):
            break
    both = CliRunner().invoke(main, [*arguments, "--overwrite", "--append"])
    assert both.exit_code == 2 and "exclude each other" in both.output
    assert len(list(out.rglob("*.tar"))) == len(utterances)
    assert all(list(sounds) == ["wav"] for _, sounds in reader.samples(str(out / "test")))
    splits = {name: [sample for sample, _ in reader.samples(str(out / name))] for name in ("train", "test")}
    assert {sample.split for sample in splits["test"]} == {"test"}
    texts = {sample.audios[0].id: sample.messages[-1].content[0].text for one in splits.values() for sample in one}
    assert texts == {utterance.id: utterance.text for utterance in utterances}
    assert all(validate(str(out / name)).problems == () for name in splits)
