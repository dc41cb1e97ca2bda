"""convert --append: what is new goes into parts of its own, and what was written keeps its bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llaso_data.errors import LLaSOError
from llaso_data.pipeline.convert.run import convert
from llaso_data.shards import reader
from llaso_data.shards.validate import validate
from llaso_data.stream.loader import StreamingLoader
from llaso_data.stream.mixture import Mixture, Source
from tests.conftest import Clip
from tests.support import corpora
from tests.support.conversions import recipe, run


@pytest.fixture
def source(clips: list[Clip], tmp_path: Path) -> Path:
    """Two English clips at one level."""
    return corpora.english(tmp_path / "source", [clip for clip in clips if clip.language == "en"][:2], [1.0])


def grow(source: Path, clips: list[Clip], gain: float) -> None:
    corpora.english(source, [clip for clip in clips if clip.language == "en"][:2], [gain])


def add(out: Path, source: Path, **options: Any) -> Any:
    return convert(recipe(out, source, samples_per_part=1, **options), append=True)


def test_new_samples_get_new_shards_and_old_ones_keep_their_bytes(
    source: Path, clips: list[Clip], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(out, source, samples_per_part=1)
    before = {path.name: path.read_bytes() for path in out.glob("shard-*")}
    first = reader.open_index(str(out)).digest
    grow(source, clips, 0.5)
    summary = add(out, source)
    assert (summary.rows, summary.known, summary.samples) == (4, 2, 2)
    assert summary.hours == pytest.approx(reader.read_manifest(str(out))["hours"] / 2, abs=1e-6)  # of the new ones
    after = {path.name: path.read_bytes() for path in out.glob("shard-*")}
    assert before.items() <= after.items() and len(after) == len(before) + 4
    assert validate(str(out)).problems == () and validate(str(out)).samples == 4
    stated = reader.read_manifest(str(out))
    assert stated["generation"] == 2 and [one["samples"] for one in stated["generations"]] == [2]
    old = reader.open_index(str(out), generation=1)
    assert (old.digest, len(old), len(reader.open_index(str(out)))) == (first, 2, 4)
    with pytest.raises(LLaSOError, match=r"no generation 7; there are 1, 2"):
        reader.open_index(str(out), generation=7)


def test_nothing_new_adds_nothing_and_a_third_generation_follows(
    source: Path, clips: list[Clip], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(out, source, samples_per_part=1)
    before = corpora.files(out, "convert.json")
    assert add(out, source).samples == 0
    assert corpora.files(out, "convert.json") == before
    assert json.loads((out / "convert.json").read_text())["generation"] == 1
    grow(source, clips, 0.5)
    assert add(out, source).samples == 2
    grow(source, clips, 0.7)
    assert add(out, source).samples == 2
    assert validate(str(out)).problems == () and len(reader.open_index(str(out))) == 6


def test_an_append_that_gave_nothing_leaves_the_way_to_another(source: Path, clips: list[Clip], tmp_path: Path) -> None:
    """Also a first conversion: the next try may have other options."""
    out, broken = tmp_path / "out", tmp_path / "broken"
    corpora.copy(clips[0], broken, text=True).write_bytes(b"no sound")
    with pytest.raises(LLaSOError, match=r"nothing was converted: 1 rows were read \(1 unreadable; the first: "):
        run(out, broken)
    run(out, source, samples_per_part=1)
    with pytest.raises(LLaSOError, match="nothing was converted"):
        add(out, broken)
    grow(source, clips, 0.5)
    assert add(out, source).samples == 2
    assert validate(str(out)).problems == () and reader.read_manifest(str(out))["generation"] == 2


def test_an_append_that_was_interrupted_goes_on_to_the_same_bytes(
    source: Path, clips: list[Clip], tmp_path: Path
) -> None:
    for name in ("whole", "again"):
        run(tmp_path / name, source, samples_per_part=1)
    grow(source, clips, 0.5)
    add(tmp_path / "whole", source)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(recipe(tmp_path / "again", source, samples_per_part=1), append=True, progress=stop)
    with pytest.raises(LLaSOError, match="stopped before its end"):
        add(tmp_path / "again", source, seed=3)
    assert len(reader.open_index(str(tmp_path / "again"))) == 2  # the old set is whole all the time
    assert add(tmp_path / "again", source).skipped == 1
    assert corpora.files(tmp_path / "again") == corpora.files(tmp_path / "whole")


def test_what_has_grown_is_neither_replaced_nor_mixed_silently(source: Path, clips: list[Clip], tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(LLaSOError, match="no conversion to add to"):
        add(out, source)
    run(out, source, samples_per_part=1)
    with pytest.raises(LLaSOError, match="holds shards, and --to samples"):
        add(out, source, to="samples")
    grow(source, clips, 0.5)
    add(out, source)
    with pytest.raises(LLaSOError, match="has grown by --append"):
        run(out, source, samples_per_part=1)
    assert run(out, source, samples_per_part=1, overwrite=True).samples == 4
    assert not list(out.glob("index-*")) and "generation" not in reader.read_manifest(str(out))


def test_the_state_of_a_stream_holds_for_its_generation(source: Path, clips: list[Clip], tmp_path: Path) -> None:
    out = tmp_path / "out"
    grow(source, clips, 0.7)
    run(out, source, samples_per_part=1)

    def loader(generation: int | None) -> StreamingLoader:
        mixture = Mixture(sources=(Source(path=str(out), generation=generation),), epochs=1)
        return StreamingLoader(mixture, 1)

    whole = [sample.key for batch in loader(None) for sample in batch.samples]
    began = loader(None)
    first = next(iter(began))
    state = began.state_dict()
    grow(source, clips, 0.5)
    add(out, source)
    with pytest.raises(LLaSOError, match="name the `generation`"):
        loader(None).load_state_dict(state)
    goes_on = loader(1)
    goes_on.load_state_dict(state)
    assert [first.samples[0].key, *(sample.key for batch in goes_on for sample in batch.samples)] == whole
