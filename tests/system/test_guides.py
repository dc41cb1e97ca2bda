"""The guides: every command that they show is run in their order, on real speech."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llaso_data.formats.rows import mapping
from llaso_data.pipeline.convert import filtering
from llaso_data.pipeline.reference import with_layouts
from llaso_data.shards import reader, removal
from tests.conftest import Clip
from tests.support import corpora, pages
from tests.support.audit_fixtures import recorded, to_audit

CONVERT = pages.DOCS / "convert.md"


def english(clips: list[Clip]) -> list[Clip]:
    return [clip for clip in clips if clip.language == "en"]


@pytest.fixture
def sources(clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], None]]:
    """What the page of conversion begins with, in the current folder; and what is made when it is first named."""
    monkeypatch.chdir(tmp_path)
    for clip in english(clips):
        corpora.copy(clip, Path("recordings"))
    corpora.copy(english(clips)[1], Path("recordings"), "noise.wav", text=False)
    for name, clip in zip("abc", english(clips), strict=True):
        corpora.louder(clip.path, Path(f"calls/{name}.wav"), 0.7)

    def more() -> None:
        corpora.english(Path("more"), english(clips)[:1], [0.5])

    def align() -> None:
        to_audit(Path("align"), recorded(english(clips)[:2], Path("spoken").absolute()), 1)

    return {"more": more, "align": align}


def test_the_page_of_conversion_does_what_it_says(sources: dict[str, Callable[[], None]], tmp_path: Path) -> None:
    outputs = pages.follow(CONVERT, sources, home="/data")
    shown = CONVERT.read_text(encoding="utf-8").partition("```\n                   hours")[2].partition("```")[0]
    assert outputs[0].split()[1:] == shown.replace("/data", str(tmp_path)).split()
    assert any("user: " in output and "nothing was written" in output for output in outputs)
    known = {sample.audios[0].speaker.id.value for sample, _ in reader.samples("calls-shards")}
    assert known == {"bob"} and removal.ledger("calls-shards")
    grown = [sample.audios[0].source.uri for sample, _ in reader.samples("shards")]
    assert len(grown) == 3 and not any(uri.endswith("recordings/counting.wav") for uri in grown)
    moods = {sample.messages[-1].content[0].text for sample, _ in reader.samples("moods")}
    assert moods == {"calm", "happy"}


def test_the_page_of_conversion_lists_layouts_fields_and_targets() -> None:
    page = CONVERT.read_text(encoding="utf-8")
    command = "python -m llaso_data.pipeline.reference docs/sources.md docs/convert.md"
    assert page == with_layouts(page), f"run: {command}"
    fields = page.partition("<!-- fields of filters -->\n")[2].partition("\n\n")[0]
    assert fields.replace("`", "").split() == filtering.SCHEMA.names
    for targets in (mapping.METADATA_TARGETS, mapping.SAMPLE_TARGETS, mapping.LOCATION_TARGETS):
        assert " ".join(f"`{target}`" for target in targets) in page
