"""llaso-data remove: a speaker or a recording leaves a set of shards, and no later command adds it again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from llaso_data.cli import main
from llaso_data.errors import LLaSOError
from llaso_data.pipeline.convert.run import convert
from llaso_data.shards import reader, removal
from llaso_data.shards.removal import Removed, remove
from llaso_data.shards.validate import validate
from tests.conftest import Clip
from tests.support import corpora
from tests.support.conversions import recipe, run


@pytest.fixture
def table(clips: list[Clip], tmp_path: Path) -> Path:
    """Twelve spans of a clip by three speakers, as a manifest."""
    clip = corpora.copy(next(clip for clip in clips if clip.language == "en"), tmp_path / "corpus")
    path = tmp_path / "table.jsonl"
    rows = [
        {"audio": str(clip), "start": 0.05 * n, "end": 0.05 * n + 0.4, "text": f"text {n}", "speaker": "abc"[n % 3]}
        for n in range(12)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def speakers(out: Path) -> list[str]:
    return sorted(sample.audios[0].speaker.id.value for sample, _ in reader.samples(str(out)))


def test_a_speaker_leaves_every_file_and_all_others_stay_as_they_were(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(out, table, samples_per_part=3)
    before = {sample.id: sounds for sample, sounds in reader.samples(str(out))}
    summary = remove(str(out), Removed(speakers=frozenset("bx"), names=frozenset(["mistyped"])))
    assert summary.not_found == ("mistyped", "x")
    assert (summary.removed, summary.samples, summary.tars_scanned) == (4, 8, len(list(out.glob("*.tar"))))
    assert speakers(out) == ["a"] * 4 + ["c"] * 4 and validate(str(out)).problems == ()
    assert {sample.id: sounds for sample, sounds in reader.samples(str(out))}.items() <= before.items()
    for path in out.rglob("*"):
        assert path.is_dir() or b'"value":"b"' not in path.read_bytes(), path
    again = remove(str(out), Removed(speakers=frozenset("b")))
    assert (again.removed, again.samples) == (0, 8)


def test_names_may_be_ids_keys_sounds_or_addresses(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(out, table, samples_per_part=5)
    chosen = list(reader.stored_samples(str(out)))[:3]
    assert all(isinstance(one, reader.StoredSample) for one in chosen)
    names = [chosen[0].key, chosen[1].sample.audios[0].id, chosen[2].sample.audios[0].audio_id]  # type: ignore[union-attr]
    listed = tmp_path / "list.txt"
    listed.write_text("# withdrawn\n" + "\n".join(map(str, names)) + "\n\n", "utf-8")
    done = CliRunner().invoke(main, ["remove", str(out), "--list", str(listed), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["removed"] == 3 and len(reader.open_index(str(out))) == 9


def test_what_was_removed_is_not_added_by_a_later_run(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(out, table, samples_per_part=3)
    remove(str(out), Removed(speakers=frozenset("b")))
    with pytest.raises(LLaSOError, match="samples were removed from"):
        run(out, table, samples_per_part=3)
    extra = json.loads(table.read_text("utf-8").splitlines()[0])
    with table.open("a", encoding="utf-8") as file:
        for number, speaker in enumerate("ab"):
            file.write(
                json.dumps({**extra, "start": 0.7 + number / 10, "end": 1.0 + number / 10, "speaker": speaker}) + "\n"
            )
    grown = convert(recipe(out, table, samples_per_part=3), append=True)
    assert (grown.samples, grown.problems) == (1, {"removed": 5})
    assert speakers(out) == ["a"] * 5 + ["c"] * 4 and validate(str(out)).problems == ()
    assert run(out, table, samples_per_part=3, overwrite=True).problems == {"removed": 5}
    assert speakers(out) == ["a"] * 5 + ["c"] * 4


@pytest.mark.parametrize("step", ["write", "finish", "_delete"])
def test_a_removal_that_was_interrupted_is_finished_by_the_same_command(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    out = tmp_path / "out"
    run(out, table, samples_per_part=3)
    holder = {"write": removal.writer, "finish": removal.manifest, "_delete": removal}[step]
    with monkeypatch.context() as patch:
        patch.setattr(holder, step, lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            remove(str(out), Removed(speakers=frozenset("b")))
    left = reader.open_index(str(out))
    assert len(left) == 8  # no stream that begins now reads them
    remove(str(out), Removed(speakers=frozenset("b")))
    assert speakers(out) == ["a"] * 4 + ["c"] * 4 and validate(str(out)).problems == ()
    run(tmp_path / "fresh", table, samples_per_part=3)
    remove(str(tmp_path / "fresh"), Removed(speakers=frozenset("b")))
    assert corpora.files(out) == corpora.files(tmp_path / "fresh")


def test_nothing_named_nothing_found_and_everything_are_errors(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(out, table)
    files = corpora.files(out)
    for what, why in (
        (Removed(), "name what to remove"),
        (Removed(speakers=frozenset("x")), "nothing was removed"),
        (Removed(speakers=frozenset("abc")), "remove the folder"),
    ):
        with pytest.raises(LLaSOError, match=why):
            remove(str(out), what)
    assert corpora.files(out) == files
