"""Leakage among rows of instruction data: what is planted leaves the less protected split, and nothing else does."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from llaso_data import audio, formats
from llaso_data.audio import SAMPLE_RATE_HZ, Pcm
from llaso_data.errors import LLaSOError
from llaso_data.instruct.leakage.find import CLIP, NEAR_WORDS, SAMPLE, SOUND, WORDS
from llaso_data.instruct.row import InstructRow
from llaso_data.pipeline.hearing import HeardCounts, Workplace
from llaso_data.pipeline.instruct import heard_rows as heard_rows_module
from llaso_data.pipeline.instruct.leaks import RowLeaks, find_leaks_of_rows
from llaso_data.pipeline.instruct.row_store import RowStore
from llaso_data.recipe import LeakageCheck, Run, SourceSpec
from llaso_data.records import SPLITS, Source, Utterance
from tests.conftest import Clip
from tests.support.coded_sounds import encoded, resampled

HERE = Run(engine="local")
CUT = SAMPLE_RATE_HZ // 5
TEXT = "please enter the number of your account"

Rows = npt.NDArray[np.bool_]


def wav(folder: Path, name: str, pcm: Pcm, rate_hz: int = SAMPLE_RATE_HZ) -> None:
    soundfile.write(folder / f"{name}.wav", pcm, rate_hz)


def louder(pcm: Pcm, factor: float) -> Pcm:
    return np.clip(factor * pcm.astype(np.int32), -32768, 32767).astype(np.int16)


PLANTED: dict[str, Callable[[Path, Pcm], object]] = {
    "opus": lambda folder, pcm: (folder / "opus.ogg").write_bytes(encoded(pcm, "libopus", 24_000, 48_000, "ogg")),
    "mp3": lambda folder, pcm: (folder / "mp3.mp3").write_bytes(encoded(pcm, "libmp3lame", 32_000, 16_000, "mp3")),
    "cut": lambda folder, pcm: wav(folder, "cut", pcm[CUT:]),
    "louder": lambda folder, pcm: wav(folder, "louder", louder(pcm, 2)),
    "softer": lambda folder, pcm: wav(folder, "softer", louder(pcm, 0.5)),
    "telephone": lambda folder, pcm: wav(folder, "telephone", resampled(pcm, SAMPLE_RATE_HZ, 8_000), 8_000),
    "disc": lambda folder, pcm: wav(folder, "disc", resampled(pcm, SAMPLE_RATE_HZ, 44_100), 44_100),
    "same": lambda folder, pcm: wav(folder, "same", pcm),
}


def text_row(split: str, text: str) -> InstructRow:
    return InstructRow(id=f"{abs(hash(text)):032x}"[:32], labels={"question": text}, language="en", split=split)


@pytest.fixture(scope="module")
def folder(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A test split of 12 clips, a training split of eight that sound like eight of these, and of ten others."""
    root = tmp_path_factory.mktemp("rows")
    for split in SPLITS:
        (root / split).mkdir()
    pcms = [audio.decode(str(clip.path))[0][: 4 * SAMPLE_RATE_HZ] for clip in clips]
    for number in range(12):
        wav(root / "test", f"{number}", pcms[number])
    for number, write in enumerate(PLANTED.values()):
        write(root / "train", pcms[number])
    for number in range(12, 22):
        wav(root / "train", f"{number}", pcms[number])
    for number in range(22, 24):
        wav(root / "validation", f"{number}", pcms[number])
    return root


@pytest.fixture
def rows(folder: Path) -> Iterator[RowStore]:
    """The rows of the folder."""
    with RowStore() as store:
        for row in rows_of(folder):
            store.add(row)
        yield store


def rows_of(folder: Path) -> Iterator[InstructRow]:
    for _, one in formats.corpus_rows(formats.open_source(SourceSpec(path=str(folder), language="en"), Counter())):
        split = Path(one.utterance.source.uri).parent.name
        yield InstructRow(
            id=one.utterance.id, audio=one.utterance, audio_version=one.version, language="en", split=split
        )


def find(rows: RowStore, work: Path, text_counts: Rows | None = None, run: Run = HERE, **check: object) -> RowLeaks:
    splits = np.array([-1 if row.split is None else SPLITS.index(row.split) for row in rows], np.int8)
    counts = np.ones(len(rows), np.bool_) if text_counts is None else text_counts
    return find_leaks_of_rows(rows, splits, counts, LeakageCheck.model_validate(check), Workplace(run, str(work)))


def names(rows: RowStore, leaks: Rows) -> set[str]:
    """Of the rows that leak: their files, or what they ask."""
    leaking = [row for row, leak in zip(rows, leaks, strict=True) if leak]
    return {Path(row.audio.source.uri).stem if row.audio else row.labels["question"] for row in leaking}


def test_all_that_is_planted_is_found_and_nothing_else(rows: RowStore, tmp_path: Path) -> None:
    rows.add(text_row("test", f"{TEXT}."))
    for text in (f"{TEXT.upper()}!", TEXT.replace("account", "card"), "something that nobody asks in any test"):
        rows.add(text_row("train", text))
    found = find(rows, tmp_path)
    assert names(rows, found.leaks) == {*PLANTED, f"{TEXT.upper()}!", TEXT.replace("account", "card")}
    assert found.counts["test"] == {SAMPLE: 0, CLIP: 1, SOUND: 7, WORDS: 1, NEAR_WORDS: 1}
    assert (found.looked_up, found.leaked) == ({"train": 21, "validation": 2}, {"train": 10, "validation": 0})
    assert found.other_rows == {"test": 13, "validation": 2}
    assert Path(found.examples[CLIP][0].where).stem == "same"


def test_texts_count_only_where_the_caller_says_so(tmp_path: Path) -> None:
    with RowStore() as rows:
        for split in ("test", "train"):
            rows.add(text_row(split, "yes"))
        assert find(rows, tmp_path, kinds=[WORDS]).leaked == {"train": 1}
        for counts in ((False, True), (True, False)):
            assert find(rows, tmp_path, np.array(counts), kinds=[WORDS]).leaked == {"train": 0}


def test_the_more_protected_split_keeps_what_splits_share(rows: RowStore, folder: Path, tmp_path: Path) -> None:
    """Sound of validation in train, and of test in validation and in train; then a set that the test split shares."""
    for name, source, parts in (("a", "validation/22.wav", "train"), ("b", "test/0.wav", "validation")):
        (tmp_path / parts).mkdir()
        shutil.copy(folder / source, tmp_path / parts / f"{name}.wav")
    for row in rows_of(tmp_path):
        rows.add(row)
    found = find(rows, tmp_path / "work", kinds=[CLIP])
    assert names(rows, found.leaks) == {"a", "b", "same"}
    assert found.counts == {"test": {CLIP: 2}, "validation": {CLIP: 1}}

    (tmp_path / "against").mkdir()
    shutil.copy(folder / "test/9.wav", tmp_path / "against/other.wav")
    (tmp_path / "against/other.txt").write_text("what it says")
    against = str(tmp_path / "against")
    found = find(rows, tmp_path / "work", kinds=[CLIP], against=[against])
    assert names(rows, found.leaks) == {"a", "b", "same", "9"}
    assert found.counts == {against: {CLIP: 1}, "test": {CLIP: 2}, "validation": {CLIP: 1}}
    assert found.leaked == {"train": 2, "validation": 1, "test": 1}


def test_nothing_is_decoded_where_there_is_nothing_to_compare(rows: RowStore, tmp_path: Path) -> None:
    splits = np.zeros(len(rows), np.int8)
    for check in (LeakageCheck(), LeakageCheck(kinds=(), against=("nowhere",))):
        found = find_leaks_of_rows(rows, splits, splits == 0, check, Workplace(HERE, str(tmp_path / "work")))
        assert not found.leaks.any()
        assert found.to_dict()["counts"] == {}
    assert not (tmp_path / "work").exists()


def test_leaks_are_refused_with_counts_and_the_first(rows: RowStore, tmp_path: Path) -> None:
    with pytest.raises(
        LLaSOError, match=r"8 of train leak.*test: audio 1, sound 7; the first: .*same\.wav \| .*7\.wav"
    ):
        find(rows, tmp_path, found="refuse")


def test_what_cannot_be_heard_is_counted(rows: RowStore, tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train/bad.wav").write_bytes(b"no sound at all")
    wav(tmp_path / "train", "short", np.zeros(SAMPLE_RATE_HZ, np.int16))
    for row in rows_of(tmp_path):
        rows.add(row)
    found = find(rows, tmp_path / "work", kinds=[SOUND])
    assert found.not_compared == {"train": {"short_sound": 1, "unreadable": 1}}
    assert any("bad.wav" in example for example in found.not_compared_examples)


def test_a_killed_run_goes_on_and_hears_the_same(
    rows: RowStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heard_rows_module, "_FILES_OF_A_BLOCK", 4)
    counts: list[HeardCounts] = []

    def hear(work: Path, run: Run = HERE, stop_after: int | None = None) -> dict[str, bytes]:
        def progress(now: HeardCounts) -> None:
            counts.append(now)
            if now.blocks == stop_after:
                raise KeyboardInterrupt

        heard_rows_module.heard_rows(rows, range(len(rows)), Workplace(run, str(work), progress=progress))
        return {path.name: path.read_bytes() for path in (work / "heard").iterdir()}

    with pytest.raises(KeyboardInterrupt):
        hear(tmp_path / "killed", stop_after=2)
    again = hear(tmp_path / "killed")
    assert (counts[-1].skipped, counts[-1].blocks) == (2, len(again))
    assert again == hear(tmp_path / "whole", Run(engine="local", num_workers=2))
    assert len(again) > 3


@pytest.mark.slow
def test_ray_hears_the_same(rows: RowStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heard_rows_module, "_FILES_OF_A_BLOCK", 4)

    def hear(name: str, run: Run) -> dict[str, bytes]:
        heard_rows_module.heard_rows(rows, range(len(rows)), Workplace(run, str(tmp_path / name)))
        return {path.name: path.read_bytes() for path in (tmp_path / name / "heard").iterdir()}

    assert hear("ray", Run(engine="ray", num_workers=2)) == hear("local", HERE)


def test_what_was_heard_is_known_by_row(folder: Path, tmp_path: Path) -> None:
    """Spans of one file, and one of them beside all others."""
    long = np.concatenate([audio.decode(str(folder / "test" / f"{number}.wav"))[0] for number in range(8)])
    wav(tmp_path, "long", long)
    source = Source(corpus="c", uri=str(tmp_path / "long.wav"))
    parts = [replace(source, start_s=float(n), end_s=n + 2.0) for n in range(6)]
    spans = [Utterance(id=f"{n:032x}", recording="", source=part) for n, part in enumerate(parts)]
    with RowStore() as rows:
        for span in spans:
            rows.add(InstructRow(id=span.id, audio=span, second=spans[0]))
        heard = heard_rows_module.heard_rows(rows, range(len(rows)), Workplace(HERE, str(tmp_path / "work")))
        of_rows = {numbers.tobytes(): one for one, numbers in heard.recordings(np.ones(len(rows), np.bool_))}
    assert len(of_rows) == 6
    for n in range(1, 6):
        pcm = long[n * SAMPLE_RATE_HZ : (n + 2) * SAMPLE_RATE_HZ]
        assert of_rows[np.array([n], np.int32).tobytes()].audio_id == audio.audio_id(pcm)
    assert of_rows[np.arange(6, dtype=np.int32).tobytes()].duration_s == 2.0
