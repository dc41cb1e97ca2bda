"""ModelScope's repositories are listed and fetched as those of the other hub, sums compared."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from llaso_data.cli import main
from llaso_data.errors import LLaSOError
from llaso_data.io import hub_files, modelscope
from llaso_data.io.store_errors import AddressError
from tests.support.fake_modelscope import TOKEN, fake_modelscope

Seen = list[tuple[str, str]]


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    """A hub with two repositories of a card and four files in two folders."""
    monkeypatch.setattr(modelscope, "_PAGE", 4)
    for name in ("speech", "private"):
        folder = tmp_path / "hub" / "me" / name
        for part in ("a", "b"):
            (folder / part).mkdir(parents=True)
            for number in range(2):
                (folder / part / f"{number} x.bin").write_bytes(os.urandom(3000))
        (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n", encoding="utf-8")
    with fake_modelscope(tmp_path / "hub") as requests:
        yield requests


@pytest.mark.parametrize("uri", ["ms://me/speech", "ms://models/me/speech", "ms://me/speech@v1"])
def test_a_repository_is_listed_with_sums(seen: Seen, uri: str) -> None:
    tree = hub_files.tree(uri)
    assert [file.path for file in tree.files] == ["README.md", *(f"{p}/{n} x.bin" for p in "ab" for n in range(2))]
    assert all(file.sha256 for file in tree.files)


def test_a_list_that_is_cut_off_is_read_folder_by_folder(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = hub_files.tree("ms://models/me/speech")
    monkeypatch.setattr(modelscope, "_CUT_AT", 5)
    assert hub_files.tree("ms://models/me/speech") == whole


def test_download_goes_on_and_compares(seen: Seen, tmp_path: Path) -> None:
    (tmp_path / "out" / "a").mkdir(parents=True)
    result = CliRunner().invoke(main, ["download", "ms://me/speech", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0 and "apache-2.0" in result.output, result.output
    for path in (tmp_path / "hub" / "me" / "speech").rglob("*.*"):
        assert (
            tmp_path / "out" / path.relative_to(tmp_path / "hub" / "me" / "speech")
        ).read_bytes() == path.read_bytes()
    tree = hub_files.tree("ms://me/speech")
    (tmp_path / "part").write_bytes((tmp_path / "out" / tree.files[1].path).read_bytes()[:1000])
    hub_files.fetch(tree, tree.files[1], str(tmp_path / "part"))
    assert (tmp_path / "part").read_bytes() == (tmp_path / "out" / tree.files[1].path).read_bytes()


def test_the_token_is_the_hubs_only(seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LLaSOError, match=r"accept the terms at .*/datasets/me/private .*MODELSCOPE_API_TOKEN"):
        hub_files.tree("ms://me/private")
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", TOKEN)
    tree = hub_files.tree("ms://me/private")
    hub_files.fetch(tree, tree.files[1], str(tmp_path / "part"))
    assert {token for path, token in seen if path.startswith("/oss/")} == {""}


@pytest.mark.parametrize("uri", ["ms://me/other", "ms://me/speech@v2", "ms://me", "ms://studios/me/x"])
def test_what_is_not_there_is_said(seen: Seen, uri: str) -> None:
    with pytest.raises(AddressError, match=r"ModelScope"):
        hub_files.tree(uri)
