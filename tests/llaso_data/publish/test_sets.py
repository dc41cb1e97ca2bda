"""Which sets a folder holds, as what they are loaded, and what is no set that can be published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llaso_data.errors import LLaSOError
from llaso_data.publish import sets
from llaso_data.shards import layout, manifest
from tests.conftest import Clip
from tests.support.published_sets import modalities, write_set


def test_shards_of_other_parts_are_configurations_of_their_own_and_mixed_ones_are_refused(
    clips: list[Clip], tmp_path: Path
) -> None:
    groups = modalities(clips)
    write_set(tmp_path / "apart", [*groups["2-audios"], *groups["text"]], clips, per_shard=2)
    (one,) = sets.find(str(tmp_path / "apart")).sets
    assert {config.name: config.paths for config in one.configs} == {
        "2-audios": ("shard-000000.tar",),
        "text": ("shard-000001.tar",),
    }
    write_set(tmp_path / "mixed", [*groups["2-audios"], *groups["text"]], clips)
    with pytest.raises(LLaSOError, match=r"mixes samples of different parts.*--group-by parts"):
        sets.find(str(tmp_path / "mixed"))


def test_folders_of_splits_and_groups_are_splits_of_configurations(clips: list[Clip], tmp_path: Path) -> None:
    groups = modalities(clips)
    for split in ("train", "test"):
        write_set(tmp_path / "sets" / split / "text", groups["text"], clips)
    write_set(tmp_path / "sets" / "train" / "1-audio", groups["1-audio"], clips)
    (tmp_path / "sets" / "convert.json").write_text("{}", "utf-8")
    found = sets.find(str(tmp_path / "sets"))
    named = [(config.name, config.split, config.paths) for one in found.sets for config in one.configs]
    assert named == [
        ("text", "test", ("test/text/shard-*.tar",)),
        ("1-audio", "train", ("train/1-audio/shard-*.tar",)),
        ("text", "train", ("train/text/shard-*.tar",)),
    ]
    assert found.left_out == ("convert.json",)
    (tmp_path / "sets" / "test" / "text").rename(tmp_path / "sets" / "text")
    with pytest.raises(LLaSOError, match="would both be the split train of the configuration text"):
        sets.find(str(tmp_path / "sets"))


def test_what_is_no_set_of_our_shards_is_refused_by_name(clips: list[Clip], tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    write_set(shards, modalities(clips)["text"], clips)
    declared = json.loads((shards / layout.MANIFEST).read_bytes())
    del declared["checksum"]
    for profile, why in ((manifest.IN_PLACE, "indexed in place"), (manifest.FOREIGN, "made elsewhere")):
        (shards / layout.MANIFEST).write_text(json.dumps({**declared, "profile": profile}), "utf-8")
        with pytest.raises(LLaSOError, match=why):
            sets.find(str(shards))
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "convert.json").write_text('{"to": "hf_parquet"}', "utf-8")
    with pytest.raises(LLaSOError, match="holds the layout hf_parquet"):
        sets.find(str(tmp_path / "table"))
    with pytest.raises(LLaSOError, match="no such folder"):
        sets.find(str(tmp_path / "nowhere"))
