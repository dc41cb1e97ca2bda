"""The table of layouts: one module adds a layout, and everything that names layouts knows it."""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from llaso_data import audio, formats
from llaso_data.cli import main
from llaso_data.errors import LLaSOError
from llaso_data.formats import LAYOUTS, folder
from llaso_data.formats.registry import in_order
from llaso_data.pipeline.load_recipe import load
from llaso_data.pipeline.reference import recipe_reference, with_layouts
from llaso_data.recipe import SourceSpec
from tests.support.paths import REPOSITORY

OURS = sorted(
    module.name for module in pkgutil.iter_modules(formats.__path__) if not module.ispkg and module.name != "registry"
)

TOY = '''
"""Rhymes: ``rhymes.txt`` with lines ``FILE: TEXT``."""

from functools import partial

from llaso_data.formats import LAYOUTS, Layout
from llaso_data.formats.rows.source_row import RowError, SourceMetadata, file_row, row_or_failure
from llaso_data.io import storage

LIST = "rhymes.txt"


def recognises(tree):
    return f"it has {LIST}" if any(file.path == LIST for file in tree.files) else None


def read(spec, tree):
    lines = storage.read_bytes(tree.uri(LIST)).decode().splitlines()
    files = {file.path: file for file in tree.files}
    for number, line in enumerate(lines, 1):
        where = f"{LIST}:{number}"
        yield row_or_failure(partial(row, line, tree, files, where), tree.root, tree.root, where)


def row(line, tree, files, where):
    name, colon, text = line.partition(": ")
    if not colon:
        raise RowError("a line is `FILE: TEXT`")
    return file_row(tree, files[name], SourceMetadata(text=text, gender="F"), where=where)


LAYOUTS.register("rhymes", Layout(
    name="rhymes", title="rhymes", recognised_by="`rhymes.txt`", unit="a line", container="the folder",
    recognises=recognises, read=read,
))
'''


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus, and its layout in a package that is installed beside ours."""
    monkeypatch.setattr(LAYOUTS, "_entries", dict(LAYOUTS))
    monkeypatch.setattr(LAYOUTS, "_is_loaded", False)  # as in a new process
    site = tmp_path / "site-packages"
    (site / "rhymes-1.0.dist-info").mkdir(parents=True)
    (site / "toy_rhymes.py").write_text(TOY)
    (site / "rhymes-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: rhymes\nVersion: 1.0\n")
    (site / "rhymes-1.0.dist-info" / "entry_points.txt").write_text("[llaso.layouts]\nx = toy_rhymes\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "toy_rhymes", raising=False)
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "a.wav").write_bytes(audio.encode(np.full(800, 50, np.int16), "wav"))
    (corpus / "rhymes.txt").write_text("a.wav: one two\nbuckle my shoe\n")
    return corpus


def test_a_layout_in_one_module_of_another_package_is_recognised_and_read(toy: Path) -> None:
    layout, evidence = formats.recognise(SourceSpec(path=str(toy)))
    assert (layout.name, evidence) == ("rhymes", "it has rhymes.txt")
    good, bad = (item.utterance for item in formats.read(SourceSpec(path=str(toy))))
    assert (good.source.corpus, good.text, good.speaker.gender.value) == ("corpus", "one two", "female")
    assert bad.failure is not None
    assert (bad.failure.reason, bad.failure.detail) == ("bad_row", f"{toy}/rhymes.txt:2: a line is `FILE: TEXT`")
    assert [item.utterance.text for item in formats.read(SourceSpec(path=str(toy), type="folder"))] == [None]


def test_the_command_the_recipe_and_the_documents_know_it(toy: Path, tmp_path: Path) -> None:
    assert "|rhymes|" in CliRunner().invoke(main, ["build-align", "--help"]).output
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"sources:\n- path: {toy}\n  type: rhymes\n")
    assert load(str(recipe)).sources[0].type == "rhymes"
    recipe.write_text(f"sources:\n- path: {toy}\n  type: rhyme\n")
    with pytest.raises(LLaSOError, match=r"recipe.yaml:3: sources.0.type: must be .*'rhymes'.* got 'rhyme'"):
        load(str(recipe))
    assert "`rhymes`" in recipe_reference()
    page = (REPOSITORY / "docs" / "sources.md").read_text(encoding="utf-8")
    assert "| `rhymes` | `rhymes.txt` | a line | the folder |" in with_layouts(page)


def test_a_package_whose_layout_cannot_be_loaded_is_named(toy: Path, tmp_path: Path) -> None:
    (tmp_path / "site-packages" / "toy_rhymes.py").write_text("import nothing_of_that_name")
    with pytest.raises(LLaSOError, match=r"rhymes: its layout toy_rhymes cannot be loaded \(No module named"):
        formats.recognise(SourceSpec(path=str(toy)))


def test_every_module_of_the_package_is_a_layout_of_its_name() -> None:
    assert {"common_voice", "folder", "librispeech", "manifest", "webdataset"} <= set(OURS) <= set(LAYOUTS)
    assert all(LAYOUTS[name].name == name for name in OURS)


def test_the_page_of_sources_lists_the_layouts() -> None:
    page = (REPOSITORY / "docs" / "sources.md").read_text(encoding="utf-8")
    assert page == with_layouts(page), "run: python -m llaso_data.pipeline.reference docs/sources.md docs/convert.md"


def test_a_source_is_compared_with_layouts_in_a_fixed_order() -> None:
    names = list(LAYOUTS)
    for name in names:
        assert all(names.index(name) < names.index(later) for later in LAYOUTS[name].before if later != name)
    assert names[-1] == "folder"
    assert LAYOUTS.choices() == ["auto", *sorted(LAYOUTS)]


def test_a_program_registers_a_layout_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LAYOUTS, "_entries", dict(LAYOUTS))
    LAYOUTS.register("cuts", replace(folder.LAYOUT, name="cuts", before=("manifest", "folder")))
    names = list(LAYOUTS)
    assert names.index("cuts") < names.index("manifest") < names.index("folder")
    with pytest.raises(ValueError, match="there is another layout 'cuts' already"):
        LAYOUTS.register("cuts", replace(folder.LAYOUT, name="cuts", before=()))
    for wrong, message in (
        (replace(folder.LAYOUT, name="auto", before=()), "there is a layout 'auto' already"),
        (replace(folder.LAYOUT, name="espnet", before=("nobody",)), "compared before 'nobody', which is none"),
    ):
        with pytest.raises(LLaSOError, match=message):
            in_order([*LAYOUTS.values(), wrong])
    with pytest.raises(LLaSOError, match="each before the other"):
        in_order([folder.LAYOUT, *(replace(folder.LAYOUT, name=a, before=(b,)) for a, b in ("xy", "yx"))])


@pytest.mark.parametrize(
    ("files", "source", "name", "evidence"),
    [
        (["clips/a.mp3"], "", "common_voice", "de.tsv has the columns client_id and path, and clips is beside it"),
        (["GigaSpeech.json", "audio/a.opus"], "", "gigaspeech", "it has GigaSpeech.json"),
        (["GigaSpeech.json"], "GigaSpeech.json", "gigaspeech", "its name is GigaSpeech.json"),
        (["WenetSpeech.json", "audio/a.opus"], "", "wenetspeech", "it has WenetSpeech.json"),
        (["t/asr_de.tsv", "a.ogg"], "", "voxpopuli", "t/asr_de.tsv has the columns of VoxPopuli"),
        (["dev/stm/a.stm", "dev/sph/a.sph"], "", "tedlium", "it has dev/stm/a.stm and its sph"),
        (["train.csv"], "train.csv", "speechbrain", "it has the columns ID, duration and wav"),
        (["train.json"], "train.json", "speechbrain", "it is a JSON object of objects with wav"),
        (["1/2/1-2.trans.txt"], "", "librispeech", "it has 1/2/1-2.trans.txt"),
        (["txt/p225/p225_001.txt", "wav48/p225/p225_001.wav"], "", "vctk", "it has wav48 and txt"),
        (["TEST/DR2/MABC0/SX1.wrd", "TEST/DR2/MABC0/SX1.wav"], "", "timit", "it has TEST/DR2/MABC0/SX1.wrd"),
        (
            ["a/transcript/aishell_transcript_v0.8.txt", "a/wav/train/S0002/x.wav"],
            *("", "aishell", "it has a/transcript/aishell_transcript_v0.8.txt, and wav beside its folder"),
        ),
        (["x.tar", "y.tar"], "", "webdataset", "it has 2 tars and no audio outside them"),
        (["x.tar"], "x.tar", "webdataset", "its name ends in .tar"),
        ([], "x-{0..3}.tar", "webdataset", "it is a pattern of tars"),
        (["m.jsonl"], "m.jsonl", "manifest", "its name ends in .jsonl"),
        (["m.tsv.gz"], "m.tsv.gz", "manifest", "its name ends in .tsv.gz"),
        (["a.wav"], "a.wav", "folder", "its name ends in .wav"),
        (["x.tar", "a.wav"], "", "folder", "it is a folder, and no other layout"),
    ],
)
def test_it_is_said_why_a_source_has_its_layout(
    tmp_path: Path, files: list[str], source: str, name: str, evidence: str
) -> None:
    for path in files:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    if name == "common_voice":
        (tmp_path / "de.tsv").write_text("client_id\tpath\n")
    heads = {"asr_de.tsv": "session_id|id_|x\n", "train.csv": "ID,duration,wav\n", "train.json": '{"a": {"wav": ""}}'}
    for path in files:
        (tmp_path / path).write_text(heads.get(path.rpartition("/")[2], ""))
    layout, why = formats.recognise(SourceSpec(path=str(tmp_path / source)))
    assert (layout.name, why) == (name, evidence)


def test_a_name_that_is_no_layout_is_refused_with_the_choices(tmp_path: Path) -> None:
    with pytest.raises(LLaSOError, match="there is no layout 'wav'; there are "):
        formats.read(SourceSpec(path=str(tmp_path), type="wav"))
    done = CliRunner().invoke(main, ["build-align", str(tmp_path), "--type", "wav"])
    assert done.exit_code == 2
    assert "'wav' is not one of 'auto', '" in done.output


@pytest.mark.parametrize("with_toy", [True, False])
def test_a_command_that_has_imported_no_layout_names_and_takes_all_of_them(
    toy: Path, with_toy: bool, tmp_path: Path
) -> None:
    """``--help`` reads our names off the files; a layout of another package has the table itself asked."""
    code = "import sys; from llaso_data.cli import main; main(sys.argv[1:], standalone_mode=False)"
    path = [str(tmp_path / "site-packages")] if with_toy else []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*path, str(REPOSITORY)]), "COLUMNS": "200"}
    command = [sys.executable, "-c", code, "build-align", "--help"]
    help_text = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    names = sorted([*OURS, "rhymes"] if with_toy else OURS)
    assert "|".join(["auto", *names]) in "".join(help_text.split())
