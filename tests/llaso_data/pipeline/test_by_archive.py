"""A corpus in zips is converted archive by archive: the same samples as unpacked, and every row accounted for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llaso_data.errors import LLaSOError
from llaso_data.pipeline.convert.run import ConvertSummary, convert
from llaso_data.pipeline.load_recipe import load
from llaso_data.shards import reader, removal
from llaso_data.shards.validate import validate
from tests.conftest import Clip
from tests.support import corpora, llaso_corpus
from tests.support.llaso_corpus import NAME, Sounds, voice, write_files, write_tables, write_zips
from tests.support.object_stores import BUCKET


def recipe(out: Path | str, *sources: Path | str | dict[str, str], **options: Any) -> Any:
    given = {key if "." in key else f"convert.{key}": value for key, value in options.items()}
    named = [source if isinstance(source, dict) else {"path": str(source)} for source in sources]
    return load(
        None, options={"run.engine": "local", "sources": named, "out": str(out), "convert.samples_per_part": 4, **given}
    )


def run(
    out: Path | str,
    *sources: Path | str | dict[str, str],
    overwrite: bool = False,
    append: bool = False,
    **options: Any,
) -> ConvertSummary:
    summary = convert(recipe(out, *sources, **options), overwrite=overwrite, append=append)
    stated = summary.samples + summary.known + summary.filtered + sum(summary.problems.values())
    assert summary.rows == stated, summary
    return summary


def ids(out: Path | str) -> list[str]:
    return sorted(sample.id for sample, _ in reader.samples(str(out)))


@pytest.fixture(scope="module")
def said(clips: list[Clip]) -> Sounds:
    return llaso_corpus.sounds([clip for clip in clips if clip.language in ("en", "de", "fr")])


@pytest.fixture(scope="module")
def rows(said: Sounds) -> list[dict[str, Any]]:
    """Beside the tables' own: a row twice, without its sound, without turns, without any audio, with two audios."""
    first, second, *_ = said
    turns = [{"from": "human", "value": "<audio>What?"}, {"from": "gpt", "value": "That."}]
    two = [{"from": "human", "value": "<audio><audio>The same?"}, {"from": "gpt", "value": "No."}]
    none = [{"from": "human", "value": "Hello."}, {"from": "gpt", "value": "Hello."}]
    return [
        {"voice": [voice(first)], "conversations": turns},
        {"voice": [voice(first)], "conversations": turns},
        {"voice": ["set/en\\nobody.wav"], "conversations": turns},
        {"voice": [voice(first)]},
        {"voice": [], "conversations": none},
        {"voice": [voice(first), voice(second)], "conversations": two},
        {"voice": [voice(first), "set/en\\nobody.wav"], "conversations": two},
    ]


@pytest.fixture(scope="module")
def zipped(said: Sounds, rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zipped") / NAME
    write_tables(folder, said, rows)
    write_zips(folder, {**said, "set/en/unused.wav": (b"nothing", "")}, 3)
    return folder


@pytest.fixture(scope="module")
def converted(zipped: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an undisturbed run writes."""
    out = tmp_path_factory.mktemp("converted") / "out"
    summary = run(out, zipped)
    assert summary.problems == {"missing": 2, "bad_row": 1, "duplicate": 1}
    assert summary.archives == {"archives": 3, "members": 7, "unused": 1, "unreadable": {}}
    return out


def test_the_samples_are_those_of_the_unpacked_corpus(
    converted: Path, said: Sounds, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    write_tables(tmp_path / NAME, said, rows)
    write_files(tmp_path / NAME, said)
    unpacked = run(tmp_path / "out", tmp_path / NAME)
    assert validate(str(converted)).problems == ()
    assert ids(converted) == ids(tmp_path / "out")
    stated = json.loads((converted / "convert.json").read_text("utf-8"))
    assert (stated["rows"], stated["problems"]) == (unpacked.rows, unpacked.problems)
    heard = {sample.id: sample for sample, _ in reader.samples(str(tmp_path / "out"))}
    for sample, _ in reader.samples(str(converted)):
        assert [audio.audio_id for audio in sample.audios] == [audio.audio_id for audio in heard[sample.id].audios]
        for audio in sample.audios:
            assert audio.source.uri.endswith(".zip") and audio.source.member in {f"data/{name}" for name in said}


def test_a_run_that_was_interrupted_goes_on_to_the_same_bytes(converted: Path, zipped: Path, tmp_path: Path) -> None:
    def stop(result: Any, tally: Any, problems: Any) -> None:
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            convert(recipe(tmp_path, zipped), progress=stop)
    assert not (tmp_path / "manifest.json").exists()
    assert run(tmp_path, zipped).skipped > 0
    assert corpora.files(tmp_path) == corpora.files(converted)
    again = run(tmp_path, zipped)
    assert again.skipped == again.parts and corpora.files(tmp_path) == corpora.files(converted)
    (tmp_path / "shard-000000.tar").unlink()
    assert run(tmp_path, zipped).skipped == again.parts - 1
    assert corpora.files(tmp_path) == corpora.files(converted)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_workers_and_a_store_give_the_same_bytes(
    converted: Path, zipped: Path, tmp_path: Path, server: str, engine: str
) -> None:
    many = {"run.engine": engine, "run.num_workers": 2}
    run(tmp_path, zipped, **many)
    assert corpora.files(tmp_path) == corpora.files(converted)
    run(f"{BUCKET}/{engine}", zipped, **many)
    assert corpora.files(f"{BUCKET}/{engine}") == corpora.files(converted)


@pytest.mark.slow
def test_zips_on_a_store_are_fetched_whole_and_the_disk_budget_holds(
    converted: Path, zipped: Path, tmp_path: Path, server: str
) -> None:
    source = f"{BUCKET}/{NAME}"
    for path, data in corpora.files(zipped).items():
        corpora.storage.write_bytes(f"{source}/{path}", data)
    largest = max(path.stat().st_size for path in zipped.glob("*.zip"))
    summary = run(tmp_path / "out", source, **{"run.disk_budget": str(4 * largest), "run.num_workers": 2})
    assert ids(tmp_path / "out") == ids(converted)
    assert summary.transfers is not None and 0 < summary.transfers["peak_scratch_bytes"] <= 4 * largest
    with pytest.raises(LLaSOError, match=r"LLaSO-Align-audio.part0.zip has .* the disk budget is"):
        run(tmp_path / "small", source, **{"run.disk_budget": "1KB"})
    assert not (tmp_path / "small" / ".convert").exists()


def test_a_zip_and_a_member_that_are_broken_lose_their_own_rows(said: Sounds, tmp_path: Path) -> None:
    write_tables(tmp_path / NAME, said)
    cut, flipped, _ = write_zips(tmp_path / NAME, said, 3)
    cut.write_bytes(cut.read_bytes()[:-30])
    data = bytearray(flipped.read_bytes())
    data[2000] ^= 1
    flipped.write_bytes(bytes(data))
    summary = run(tmp_path / "out", tmp_path / NAME)
    broken = list(said)[1]
    with_it = 1 + (list(said).index(broken) % 3 == 0)
    assert summary.problems["unreadable"] == 1 + with_it and "its end is missing" in str(summary.archives)
    assert any(f"part1.zip!data/{broken}" in detail for detail in summary.examples["unreadable"])
    assert summary.samples + summary.problems["missing"] == summary.rows - summary.problems["unreadable"]


def test_what_is_new_is_appended_and_what_was_removed_stays_out(
    converted: Path, said: Sounds, rows: Any, tmp_path: Path
) -> None:
    out, corpus = tmp_path / "out", tmp_path / NAME
    few = dict(list(said.items())[:4])
    write_tables(corpus, few)
    write_zips(corpus, few, 2)
    run(out, corpus)
    taken = ids(out)[0]
    gone = next(sample for sample, _ in reader.samples(str(out)) if sample.id == taken)
    removal.remove(str(out), removal.Removed(names=frozenset([gone.audios[0].id])))
    write_tables(corpus, said, rows)
    write_zips(corpus, said, 3)
    second = run(out, corpus, append=True)
    left = {sample.id for sample, _ in reader.samples(str(out))}
    assert second.known > 0 and second.problems["removed"] > 0 and validate(str(out)).problems == ()
    assert left == {
        sample.id
        for sample, _ in reader.samples(str(converted))
        if gone.audios[0].id not in {a.id for a in sample.audios}
    }
    assert run(out, corpus, overwrite=True).known == 0 and set(ids(out)) == left


def test_a_clip_that_has_only_its_name_in_common_is_noted(said: Sounds, tmp_path: Path) -> None:
    (path, sound), *_ = said.items()
    name = path.rpartition("/")[2]
    write_tables(tmp_path / NAME, {f"elsewhere/{name}": sound})
    write_zips(tmp_path / NAME, {path: sound}, 1)
    notes = run(tmp_path / "out", tmp_path / NAME).notes
    assert notes == {f"audio found by its name alone, in another folder: elsewhere/{name} is taken for data/{path}": 3}


def test_several_corpora_in_zips_become_one_set_and_others_are_appended(said: Sounds, tmp_path: Path) -> None:
    names = list(said)
    for corpus, some in (("One", names[:2]), ("Two", names[2:3])):
        write_tables(tmp_path / corpus, {name: said[name] for name in some})
        write_zips(tmp_path / corpus, {name: said[name] for name in some}, 1)
    summary = run(tmp_path / "out", tmp_path / "One", tmp_path / "Two")
    assert (summary.samples, summary.problems) == (7, {}) and validate(str(tmp_path / "out")).problems == ()
    assert {a.source.corpus for sample, _ in reader.samples(str(tmp_path / "out")) for a in sample.audios} == {
        "One", "Two",
    }  # fmt: skip
    write_files(tmp_path / "Three", {names[3]: said[names[3]]})
    with pytest.raises(LLaSOError, match=r"One is converted archive by archive, and .*Three is not: .* with --append"):
        run(tmp_path / "mixed", tmp_path / "One", tmp_path / "Three")


def test_layouts_that_point_name_members_where_they_can_be_read_again(said: Sounds, tmp_path: Path) -> None:
    few = dict(list(said.items())[:1])
    write_tables(tmp_path / NAME, few)
    write_zips(tmp_path / NAME, few, 1)
    for to, written in (("samples", False), ("nemo_conversations", True)):  # NeMo knows members of tars alone
        assert run(tmp_path / to, tmp_path / NAME, to=to).samples == 3
        assert (tmp_path / to / "audio").is_dir() == written
        assert run(tmp_path / f"{to}-back", tmp_path / to).samples == 3
