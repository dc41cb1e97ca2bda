"""No command replaces or removes what such a command did not write, and it says so before any work."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from llaso_data.cli import main as data
from llaso_data.errors import LLaSOError
from llaso_data.io import outputs, pictures, storage
from llaso_data.pipeline import recipe_file
from llaso_data.pipeline.load_recipe import dump, load
from llaso_data.recipe import Recipe
from llaso_data.stream.shard_cache import FileCache
from llaso_model.cli import main as model

NEMO = '{"audio_filepath": "a.wav", "duration": 1.0, "text": "one"}\n{"audio_filepath": "b.wav", "text": "two"}\n'
MINE = "# mine, by hand\njudge:\n  confidence: {avg_logprob_min: -0.7}  # was too strict\n"


def refused(command: Any, *words: Any) -> str:
    """What a command says that does not begin."""
    result = CliRunner().invoke(command, [str(word) for word in words])
    assert result.exit_code == 2, result.output + repr(result.exception)
    assert "Traceback" not in result.output
    return result.output


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "manifest",
    [NEMO, '{"format": "llaso-shards", "shards": []}', '["a.wav"]', '{"blocks": 3, "verdicts": null}', "", "a: b\n"],
)
def test_build_align_replaces_no_other_manifest(manifest: str, tmp_path: Path) -> None:
    """The model is nowhere: it is not even looked for."""
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    (tmp_path / "manifest.json").write_text(manifest)
    before = tree(tmp_path)
    said = refused(data, "build-align", tmp_path, "--out", tmp_path, "--asr", "/no/model", "--engine", "local")
    assert "manifest.json exists and was not written by `llaso-data build-align`" in said
    assert tree(tmp_path) == before


def test_build_align_replaces_no_recipe_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    (tmp_path / "recipe.yaml").write_text(MINE)
    before = tree(tmp_path)
    words = ("build-align", ".", "--recipe", "recipe.yaml", "--out", ".", "--asr", "/no/model", "--engine", "local")
    assert "recipe.yaml exists and was not written by" in refused(data, *words)
    assert tree(tmp_path) == before


def recipe(**options: Any) -> Recipe:
    return load(None, options={"out": "x", **options})


def as_manifest(of: Recipe) -> dict[str, Any]:
    return {"recipe": of.model_dump(mode="json", exclude={"run", "out"})}


def test_a_recipe_that_ran_is_told_from_one_that_was_edited(tmp_path: Path) -> None:
    """Also of earlier versions, which wrote no mark and lacked some keys; and of runs killed before their manifest."""
    ran, now = recipe(), recipe(**{"judge.audit.items": 9})
    marked, bare = recipe_file.text_of(ran), dump(ran)
    older, known = yaml.safe_load(bare), as_manifest(ran)
    del older["judge"]["audit"]["seed"], known["recipe"]["judge"]["audit"]["seed"]
    lacking = bare.replace("    seed: 0\n", "", 1)
    edited = {"old": "avg_logprob_min: -1.2", "new": "avg_logprob_min: -0.8"}

    def replaced(text: str, manifest: dict[str, Any] | None) -> bool:
        (tmp_path / "recipe.yaml").write_text(text)
        try:
            recipe_file.refuse(str(tmp_path), now, manifest)
        except LLaSOError:
            return False
        return True

    assert yaml.safe_load(lacking) == older and yaml.safe_load(marked) == yaml.safe_load(bare)
    for text, manifest in (
        (marked, as_manifest(ran)),
        (marked, None),
        (bare, as_manifest(ran)),
        (lacking, known),
        (dump(now), None),
        (recipe_file.text_of(now), None),
    ):
        assert replaced(text, manifest)
    for text, manifest in (
        (marked.replace(edited["old"], edited["new"]), as_manifest(ran)),
        (marked + "# a note\n", as_manifest(ran)),
        ("# a note\n" + marked, as_manifest(ran)),
        (bare.replace(edited["old"], edited["new"]), as_manifest(ran)),
        (bare.replace("\n", "  # a note\n", 1), as_manifest(ran)),
        (bare, None),
        ("", as_manifest(ran)),
        (MINE, as_manifest(ran)),
        ("a: [", None),
    ):
        assert not replaced(text, manifest)


OWNED = [
    (data, ("card", "/nowhere", "--out"), "page.html", b"<html>a page of mine</html>"),
    (data, ("words", "/nowhere", "--out"), "words.png", b"\x89PNG of mine"),
    (data, ("plan", "/nowhere", "--figure"), "plan.svg", b"<svg>mine</svg>"),
    (model, ("plot", "/nowhere", "--figure"), "curves.png", b"\x89PNG of mine"),
    (model, ("report", "/nowhere", "--out"), "report.html", b"<html>a page of mine</html>"),
    (model, ("report", "/nowhere", "--out"), "report.json", b'{"mine": 1}'),
    (model, ("score", "/nowhere", "--out"), "scores.json", b'{"mine": 1}'),
    (model, ("score", "/nowhere", "--out"), "rows.parquet", b"PAR1 of mine"),
    *(
        (model, ("score", "/nowhere", "--judge", "/no/model", "--out"), "judgements.jsonl", text)
        for text in (b"my notes", b"[1, 2]", b'{"mine": 1}\n')
    ),
    *(
        (model, ("evaluate", "/nowhere", "--data", "/nowhere", "--out"), name, text)
        for name, text in (
            ("predictions.jsonl", b'{"id": "a", "answer": "b"}\n'),
            ("predictions/part-00000.jsonl", b'{"id": "a", "answer": "b"}\n'),
            ("run.json", b'["mine"]'),
            ("scores.json", b"{}"),
            ("rows.parquet", b""),
        )
    ),
]


@pytest.mark.parametrize(("command", "words", "name", "text"), OWNED, ids=lambda value: getattr(value, "name", None))
def test_what_a_command_would_replace_must_be_its_own(
    command: Any, words: tuple[str, ...], name: str, text: bytes, tmp_path: Path
) -> None:
    """What it reads is nowhere: that is not even looked at."""
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(text)
    single = words[-1] == "--figure" or words[0] in ("card", "words")
    said = refused(command, *words, path if single else tmp_path / "out")
    assert f"{path.name} exists and was not written by `{command.name} {words[0]}`" in said.replace(
        "predictions exists", "part-00000.jsonl exists"
    )
    assert tree(tmp_path) == {f"out/{name}": text}
    path.unlink()
    path.mkdir()
    if single:
        assert "exists and is no file" in refused(command, *words, path)
        path.rmdir()
        path.symlink_to(tmp_path / "gone")
        assert "exists and is no file" in refused(command, *words, path) and path.is_symlink()


@pytest.mark.parametrize("ending", ["png", "svg", "pdf", "eps", "jpg"])
def test_a_picture_replaces_an_earlier_one_of_the_same_command(ending: str, tmp_path: Path) -> None:
    """Matplotlib's own word in a file is not enough: people draw with it, too. A JPEG cannot say who drew it."""
    plot = pictures.pyplot()
    path = tmp_path / f"a.{ending}"
    plot.figure().savefig(path)
    with pytest.raises(LLaSOError, match="was not written by `llaso-data words`"):
        pictures.refuse(str(path), "llaso-data words", "--out")
    path.unlink()
    pictures.refuse(str(path), "llaso-data words", "--out")
    pictures.save(plot.figure(), str(path), "llaso-data words", 50)
    with pytest.raises(LLaSOError, match="was not written by `llaso-model plot`"):
        pictures.refuse(str(path), "llaso-model plot", "--figure")
    if ending == "jpg":
        with pytest.raises(LLaSOError, match="was not written by"):
            pictures.refuse(str(path), "llaso-data words", "--out")
    else:
        pictures.refuse(str(path), "llaso-data words", "--out")
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("name", ["words", "words.md", "words.png.gz"])
def test_a_picture_in_a_format_that_is_none_is_refused_before_it_is_drawn(name: str, tmp_path: Path) -> None:
    assert "must end in .png" in refused(data, "words", "/nowhere", "--out", tmp_path / name)


def test_a_picture_is_drawn_on_a_store() -> None:
    pictures.save(pictures.pyplot().figure(), "memory://pictures/a.png", "llaso-data plan", 50)
    assert storage.read_bytes("memory://pictures/a.png").startswith(b"\x89PNG")
    pictures.refuse("memory://pictures/a.png", "llaso-data plan", "--figure")


@pytest.mark.parametrize(
    "words",
    [
        ("score", "/nowhere", "--judge", "/no/model", "--out"),
        ("train", "--data", "x", "--pretrained-model", "/nowhere", "--out"),
        ("train", "--data", "x", "--pretrained-model", "/nowhere", "--launcher", "ray", "--out"),
        ("merge", "run", "--out"),
        ("demo", "--out"),
    ],
    ids=lambda words: " ".join(words[:1]),
)
@pytest.mark.parametrize("store", ["s3://bucket/run", "memory://run", "simplecache::s3://bucket/run"])
def test_what_needs_a_disk_says_so_and_makes_no_folder_of_that_name(
    words: tuple[str, ...], store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    why = "this address is a chain" if "::" in store else "written to a disk, not to a store"
    assert f"{store}: " in (said := refused(model, *words, store)) and why in said
    with pytest.raises(LLaSOError, match="disk"):
        FileCache(store, 100)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "words",
    [
        *(words for _, words, name, _ in OWNED if name in ("page.html", "report.html", "scores.json", "run.json")),
        ("build-align", "/nowhere", "--engine", "local", "--out"),
        ("shard", "/nowhere", "--out"),
        ("index", "/nowhere", "--out"),
    ],
    ids=lambda words: words[0],
)
def test_a_chain_of_addresses_is_no_folder_here(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = data if words[0] in data.commands else model
    assert "is a chain (`::`)" in refused(command, *words, "simplecache::s3://bucket/out")
    assert os.listdir(tmp_path) == []


def test_a_cache_removes_only_what_it_brought(tmp_path: Path) -> None:
    theirs = {"film.mkv.part": b"half a film", "notes.kept": b"x" * 100, "0" * 31 + ".kept": b"y" * 100}
    for name, text in theirs.items():
        (tmp_path / name).write_bytes(text)
    ours = [tmp_path / ("a" * 32 + ".kept"), tmp_path / ("b" * 32 + ".part")]
    for path in ours:
        path.write_bytes(b"z" * 100)
    FileCache(str(tmp_path), 50)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != ".trim"} == theirs


def test_a_folder_can_be_read_by_others_whatever_wrote_its_files(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with outputs.whole_folder(tmp_path / "model") as part:
            (part / "losses").mkdir()
            for name in ("a", "losses/b"):
                (part / name).write_text("weights")
                (part / name).chmod(0o600)  # as safetensors does
    finally:
        os.umask(before)
    for name in ("a", "losses/b"):
        assert (tmp_path / "model" / name).stat().st_mode & 0o777 == 0o640


def test_a_folder_appears_whole_in_the_place_of_another(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for text in ("one", "two"):
        with outputs.whole_folder(folder) as part:
            (part / "a").write_text(text)
            assert not folder.exists() or (folder / "a").read_text() == "one"
        assert tree(tmp_path) == {"model/a": text.encode()}
    with pytest.raises(RuntimeError), outputs.whole_folder(folder) as part:
        (part / "a").write_text("three")
        raise RuntimeError
    assert tree(tmp_path) == {"model/a": b"two"}
    for name in (".model.1-0123abcd.part", ".model.99999999-0123abcd.part", "model.part", ".model.part"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "b").write_text(name)
    with outputs.whole_folder(folder):
        pass
    left = {
        "model",
        ".model.1-0123abcd.part",
        "model.part",
        ".model.part",
    }  # process 1 lives, the others are no remains
    assert set(os.listdir(tmp_path)) == left


def test_marks_are_looked_for_at_both_ends_only(tmp_path: Path) -> None:
    path = tmp_path / "page"
    for data_, found in ((b"mark" + bytes(1 << 20), True), (bytes(1 << 20) + b"mark", True), (b"", False)):
        path.write_bytes(data_)
        assert outputs.marked("mark")(str(path)) is found
    path.write_text(json.dumps({"format": "a"}))
    assert outputs.json_of("a")(str(path)) and not outputs.json_of("b")(str(path))
