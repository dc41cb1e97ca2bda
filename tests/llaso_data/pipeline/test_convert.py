"""llaso-data convert: any source becomes shards, samples or another layout, and every row is accounted for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from llaso_data import audio
from llaso_data.cli import main
from llaso_data.errors import LLaSOError
from llaso_data.pipeline.convert.preview import preview
from llaso_data.pipeline.convert.run import convert
from llaso_data.pipeline.load_recipe import load
from llaso_data.shards import reader
from llaso_data.shards.stats import stats
from llaso_data.shards.validate import validate
from llaso_data.stream.loader import StreamingLoader
from llaso_data.stream.mixture import Mixture, Source
from tests.conftest import Clip
from tests.support import corpora
from tests.support.conversions import recipe, run, shards_of
from tests.support.object_stores import BUCKET


@pytest.fixture(scope="module")
def corpus(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three English clips at three levels with their transcripts, and one clip without."""
    folder = tmp_path_factory.mktemp("corpus")
    chosen = [clip for clip in clips if clip.language == "en"][:3]
    corpora.english(folder, chosen)
    corpora.copy(chosen[0], folder, "silent.wav", text=False)
    return folder


def test_a_folder_becomes_valid_shards_and_every_row_is_counted(corpus: Path, tmp_path: Path) -> None:
    summary = run(tmp_path / "out", corpus, samples_per_part=4)
    assert (summary.rows, summary.samples, summary.problems) == (10, 9, {"no_text": 1})
    assert "silent.wav" in summary.examples["no_text"][0]
    report = validate(str(tmp_path / "out"))
    assert report.problems == () and report.samples == 9
    for sample, sounds in shards_of(tmp_path / "out"):
        said = Path(sample.audios[0].source.uri).with_suffix(".txt").read_text(encoding="utf-8").strip()
        assert sample.messages[-1].content[0].text == said
        pcm = audio.decode(sample.audios[0].source.uri)[0]
        assert np.array_equal(audio.decode_bytes(sounds["flac"]), pcm)
        assert sample.audios[0].audio_id == audio.audio_id(pcm)


def test_a_run_that_was_interrupted_goes_on_to_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    run(tmp_path / "whole", corpus, samples_per_part=2)
    seen: list[int] = []

    def stop(result: Any, tally: Any, problems: Any) -> None:
        seen.append(result.number)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(recipe(tmp_path / "again", corpus, samples_per_part=2), progress=stop)
    assert not (tmp_path / "again" / "manifest.json").exists()
    summary = run(tmp_path / "again", corpus, samples_per_part=2)
    assert summary.skipped == 2 and summary.problems == {"no_text": 1}
    assert corpora.files(tmp_path / "again") == corpora.files(tmp_path / "whole")
    assert run(tmp_path / "again", corpus, samples_per_part=2).skipped == summary.parts


def test_a_source_that_shrank_leaves_no_parts_behind(corpus: Path, clips: list[Clip], tmp_path: Path) -> None:
    source = tmp_path / "source"
    corpora.english(source, [clip for clip in clips if clip.language == "en"][:2])
    run(tmp_path / "out", source, samples_per_part=1)
    for path in sorted(source.glob("*-0.5.*")):
        path.unlink()
    summary = run(tmp_path / "out", source, samples_per_part=1)
    run(tmp_path / "fresh", source, samples_per_part=1)
    assert summary.samples == 4
    assert len(list((tmp_path / "out").glob("*.tar"))) == 4
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.tar")} == {
        path.name: path.read_bytes() for path in (tmp_path / "fresh").glob("*.tar")
    }


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_several_workers_and_a_store_give_the_same_bytes(
    corpus: Path, tmp_path: Path, server: str, engine: str
) -> None:
    local = run(tmp_path / "local", corpus, samples_per_part=3)
    out = f"{BUCKET}/{engine}"
    options = {"run.engine": engine, "run.num_workers": 2, "sources": [{"path": str(corpus)}], "out": out}
    convert(load(None, options={**options, "convert.samples_per_part": 3}))
    assert reader.read_manifest(out)["digest"] == local.groups[""]["digest"]
    assert len(list(reader.samples(out))) == 9


def test_samples_of_other_parts_are_written_apart(corpus: Path, tmp_path: Path) -> None:
    one, two, *_ = sorted(corpus.glob("*-1.0.wav"))
    rows = [
        {
            "messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": "Ann."}],
            "audios": [str(path) for path in audios],
        }
        for asked, audios in (("<audio> Who?", [one]), ("<audio><audio> Same?", [one, two]), ("Hi.", []))
    ]
    table = tmp_path / "chat.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    summary = run(tmp_path / "out", table, group_by_parts=True)
    assert {group: stated["samples"] for group, stated in summary.groups.items()} == {
        "text": 1, "1-audio": 1, "2-audios": 1,
    }  # fmt: skip
    assert all(validate(str(tmp_path / "out" / group)).problems == () for group in summary.groups)


def test_the_output_of_others_is_never_touched(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x", encoding="utf-8")
    with pytest.raises(LLaSOError, match=r"did not write, the first is thesis\.tex"):
        run(tmp_path / "mine", corpus, overwrite=True)
    run(tmp_path / "out", corpus, samples_per_part=2)
    (tmp_path / "out" / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(LLaSOError, match="--overwrite"):
        run(tmp_path / "out", corpus, samples_per_part=3)
    run(tmp_path / "out", corpus, samples_per_part=3, overwrite=True)
    assert (tmp_path / "out" / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert len(list((tmp_path / "out").glob("*.tar"))) == 3


def test_a_map_makes_text_and_conversations_of_columns(corpus: Path, tmp_path: Path) -> None:
    clip = sorted(corpus.glob("*.wav"))[0]
    table = tmp_path / "calls.csv"
    table.write_text(
        f"recording,said,mood,who\n{clip},  HELLO There ,happy,ann\n{clip.with_name('gone.wav')},x,sad,bob\n", "utf-8"
    )
    source = {
        "path": str(table),
        "map": {
            "audio": "{recording}", "text": "{said|trim|lower}", "speaker": "{who|upper}",
            "instruction": "How does {who} feel?", "answer": "{mood}", "task": "emotion",
        },
    }  # fmt: skip
    summary = run(tmp_path / "out", source)
    assert (summary.rows, summary.samples, list(summary.problems)) == (2, 1, ["missing"])
    ((sample, _),) = shards_of(tmp_path / "out")
    texts = [[part.text for part in message.content] for message in sample.messages]
    assert texts == [["How does ann feel?", None], ["happy"]] and sample.task == "emotion"
    assert (sample.audios[0].text, sample.audios[0].speaker.id.value) == ("hello there", "ANN")


@pytest.mark.parametrize(
    ("map_", "why"),
    [
        ({"text": "{said|shout}"}, "no filter 'shout'"),
        ({"text": "{said"}, "a brace without its other"),
        ({"txt": "{said}"}, "no target 'txt'"),
    ],
)
def test_a_wrong_map_is_an_error_before_any_work(tmp_path: Path, corpus: Path, map_: dict[str, str], why: str) -> None:
    with pytest.raises(LLaSOError, match=why):
        run(tmp_path / "out", {"path": str(corpus), "map": map_})
    assert not (tmp_path / "out" / "convert.json").exists()


def test_a_map_of_a_field_that_no_row_has_fails_every_row_by_name(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(LLaSOError, match="no field 'label'; the row has path"):
        run(tmp_path / "out", {"path": str(corpus), "map": {"answer": "{label}"}})
    (tmp_path / "m.csv").write_text("audio,said\na.wav,hi\n")
    with pytest.raises(LLaSOError, match=r"no field 'label'; the row has .*, said"):
        run(tmp_path / "out", {"path": str(tmp_path / "m.csv"), "map": {"text": "{label}"}})


def test_a_filter_sees_durations_that_only_decoding_shows(corpus: Path, tmp_path: Path) -> None:
    lengths = {path.name: soundfile.info(str(path)).duration for path in corpus.glob("*-1.0.wav")}
    limit = sorted(lengths.values())[0] + 0.01
    summary = run(tmp_path / "out", corpus, filter=f"duration_s < {limit} and language is None")
    assert summary.filtered == 6 and summary.rows == summary.samples + summary.filtered + 1
    assert {round(sample.duration_s, 3) for sample, _ in shards_of(tmp_path / "out")} == {round(limit - 0.01, 3)}


@pytest.mark.parametrize("text", ["__import__('os').system('x')", "duration_s.real < 1", "f(duration_s) < 1", "1 < 2"])
def test_a_filter_is_never_run_as_code(corpus: Path, tmp_path: Path, text: str) -> None:
    with pytest.raises(LLaSOError, match="filter"):
        run(tmp_path / "out", corpus, filter=text)


def test_splits_do_not_share_speakers_and_new_data_moves_nobody(corpus: Path, tmp_path: Path) -> None:
    clip = sorted(corpus.glob("*-1.0.wav"))[0]
    rows = [
        {"audio": str(clip), "text": str(number), "speaker": f"s{number // 4}", "end": 0.1 + number / 100}
        for number in range(80)
    ]

    def splits(count: int, out: Path) -> dict[str, str]:
        table = tmp_path / f"{count}.jsonl"
        table.write_text("".join(json.dumps(row) + "\n" for row in rows[:count]), "utf-8")
        summary = run(out, {"path": str(table), "corpus": "c"}, split={"train": 0.6, "test": 0.4})
        assert set(summary.groups) == {"train", "test"}
        return {
            sample.audios[0].text or "": group
            for group in summary.groups
            for sample, _ in shards_of(out / group)
            if sample.split == group
        }

    few, all_ = splits(40, tmp_path / "few"), splits(80, tmp_path / "all")
    assert len(few) == 40 and len(all_) == 80 and few.items() <= all_.items()
    assert all(len({all_[str(speaker * 4 + turn)] for turn in range(4)}) == 1 for speaker in range(20))


def test_samples_hold_pointers_alone_and_give_the_same_shards(corpus: Path, tmp_path: Path) -> None:
    direct = run(tmp_path / "direct", corpus)
    run(tmp_path / "samples", corpus, to="samples")
    assert sum(path.stat().st_size for path in (tmp_path / "samples").rglob("*.parquet")) < 40_000
    assert run(tmp_path / "out", tmp_path / "samples").groups[""]["digest"] == direct.groups[""]["digest"]


def test_shards_can_be_filtered_and_written_again_with_the_same_sound(corpus: Path, tmp_path: Path) -> None:
    run(tmp_path / "first", corpus)
    first = {sample.id: sounds for sample, sounds in shards_of(tmp_path / "first")}
    chosen = sorted(first)[0]
    summary = run(tmp_path / "second", tmp_path / "first", filter=f'id == "{chosen}"', audio="keep")
    ((sample, sounds),) = shards_of(tmp_path / "second")
    assert (summary.samples, summary.filtered) == (1, 8)
    assert sample.id == chosen and sounds == first[chosen]
    assert sample.audios[0].source.uri.startswith(str(corpus))  # where it came from first


def test_a_span_beyond_the_end_of_its_file_is_not_pointed_to(corpus: Path, tmp_path: Path) -> None:
    clip = sorted(corpus.glob("*-1.0.wav"))[0]
    rows = [{"audio": str(clip), "text": "hi", "start": start, "end": start + 0.5} for start in (0, 500)]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = run(tmp_path / "out", tmp_path / "m.jsonl", to="nemo")
    assert (summary.samples, summary.problems) == (1, {"span_outside": 1})
    assert summary.examples["span_outside"][0].startswith(f"m.jsonl:2: {clip}: 500.000–500.500 s lies outside its ")


def test_sound_that_is_only_moved_passes_undecoded_and_other_sound_is_decoded(corpus: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    pcm = audio.decode(str(sorted(corpus.glob("*.wav"))[0]))[0]
    for name, samples, rate_hz in (
        ("a.wav", pcm, 16_000),
        ("b.flac", pcm[:9000], 16_000),
        ("c.wav", pcm[:7000], 8_000),
    ):
        soundfile.write(str(source / name), samples, rate_hz, subtype="PCM_16")
        (source / name).with_suffix(".txt").write_text("x", "utf-8")
    run(tmp_path / "out", source, audio="keep")
    assert validate(str(tmp_path / "out")).problems == ()
    stored = {Path(s.audios[0].source.uri).name: (s, sounds) for s, sounds in shards_of(tmp_path / "out")}
    assert list(stored["a.wav"][1].values()) == [(source / "a.wav").read_bytes()]
    assert list(stored["b.flac"][1].values()) == [(source / "b.flac").read_bytes()]
    assert list(stored["c.wav"][1]) == ["flac"] and stored["c.wav"][0].audios[0].source.sampling_rate_hz == 8000


def test_repeated_samples_are_counted_and_written_once(corpus: Path, tmp_path: Path) -> None:
    source = {"path": str(corpus), "corpus": "same"}
    summary = run(tmp_path / "out", source, source, samples_per_part=2)
    assert (summary.rows, summary.samples) == (20, 9)
    assert summary.problems == {"duplicate": 9, "no_text": 2}


def test_what_is_wrong_with_a_row_has_the_place_of_the_row(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(
        f"audio,text,split\n{corpus}/silent.wav,,\nlost.wav,gone,\n{corpus}/hello_world-0.5.wav,hi,later\n"
        f"{corpus}/hello_world-0.7.wav,hi,\n"
    )
    source = {"path": str(tmp_path / "m.csv"), "map": {"split": "{split}"}}
    examples = run(tmp_path / "out", source).examples
    assert examples["no_text"] == [f"m.csv:2: {corpus}/silent.wav: the source says no text of it"]
    assert examples["missing"][0].startswith(f"m.csv:3: {tmp_path}/lost.wav: no such file")
    assert examples["bad_row"][0].startswith("m.csv:4: ") and "'later'" in examples["bad_row"][0]


def test_a_set_of_a_stranger_that_is_replaced_takes_no_file_with_it(corpus: Path, tmp_path: Path) -> None:
    run(tmp_path / "out", corpus, to="nemo", audio="wav")
    (tmp_path / "mine.txt").touch()
    commit = tmp_path / "out" / ".convert" / "part-000000.json"
    stated = json.loads(commit.read_text())
    stated["files"] += ["../mine.txt", str(tmp_path / "mine.txt"), "audio/../../mine.txt"]
    commit.write_text(json.dumps(stated))
    run(tmp_path / "out", corpus, to="nemo", overwrite=True)
    assert (tmp_path / "mine.txt").exists() and not list((tmp_path / "out").rglob("*.wav"))


def test_a_set_that_is_replaced_by_another_layout_leaves_nothing_behind(corpus: Path, tmp_path: Path) -> None:
    for to in ("messages", "hf_parquet", "kaldi", "nemo", "shards"):
        run(tmp_path / "out", corpus, overwrite=True, to=to, text="given")
        run(tmp_path / "fresh" / to, corpus, to=to, text="given")
        made = {name for name in corpora.files(tmp_path / "out") if not name.startswith(".")}
        assert made == {name for name in corpora.files(tmp_path / "fresh" / to) if not name.startswith(".")}


def test_nothing_at_all_is_an_error_that_says_why(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.wav").write_bytes((corpus / "silent.wav").read_bytes())
    with pytest.raises(LLaSOError, match=r"nothing was converted: 1 rows were read \(1 no_text; the first: .*a\.wav"):
        run(tmp_path / "out", tmp_path / "one")


def test_a_preview_reads_the_same_and_writes_nothing(corpus: Path, tmp_path: Path) -> None:
    shown = CliRunner().invoke(main, ["convert", str(corpus), "--dry-run", "--out", str(tmp_path / "out")])
    assert shown.exit_code == 0, shown.output
    assert "folder, because it is a folder" in shown.output and "no_text: " in shown.output
    assert "assistant: " in shown.output and "[audio " in shown.output
    assert "by the first samples: about 10 rows" in shown.output
    checked = preview(recipe("-", corpus), whole=True)
    assert (checked.samples, checked.problems.counts) == (9, {"no_text": 1})
    assert not (tmp_path / "out").exists()


def test_the_command_prints_counts_that_close(corpus: Path, tmp_path: Path) -> None:
    arguments = ["convert", str(corpus), "--out", str(tmp_path / "out"), "--engine", "local", "--limit", "5"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    stated = json.loads((tmp_path / "out" / "convert.json").read_text("utf-8"))
    assert stated["rows"] == stated["samples"] + stated["filtered"] + sum(stated["problems"].values()) == 5


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"to": "folder"}, "is only read"),
        ({"to": "nonsense"}, "is no layout"),
        ({"split": {"dev": 1.0}}, "shares of train"),
        ({"text": "hypotheses"}, "build-align"),
    ],
)
def test_wrong_settings_are_refused_with_the_choices(
    corpus: Path, tmp_path: Path, options: dict[str, Any], why: str
) -> None:
    with pytest.raises(LLaSOError, match=why):
        run(tmp_path / "out", corpus, **options)


@pytest.mark.slow
def test_kill_9_at_any_moment_then_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    run(tmp_path / "whole", corpus, samples_per_part=1)
    program = str(Path(sys.executable).with_name("llaso-data"))
    command = [program, "convert", str(corpus), "--engine", "local",
               "--samples-per-part", "1", "--out", str(tmp_path / "killed")]  # fmt: skip
    for delay_s in np.random.default_rng(1).uniform(0.0, 2.0, 12):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not list((tmp_path / "killed").glob("*.tar")) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(float(delay_s) / 10)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert subprocess.run(command, check=False).returncode == 0
    assert corpora.files(tmp_path / "killed") == corpora.files(tmp_path / "whole")


def test_licences_and_consent_travel_from_the_table_to_index_statistics_and_filters(
    corpus: Path, tmp_path: Path
) -> None:
    paths = sorted(corpus.glob("*-1.0.wav"))
    table = tmp_path / "table.csv"
    licences = ["cc0-1.0", "", "cc0-1.0"]
    lines = [f"{path},{path.stem},{licence}" for path, licence in zip(paths, licences, strict=True)]
    table.write_text("audio,text,license\n" + "\n".join(lines), "utf-8")
    source = {"path": str(table), "license": "cc-by-nc-4.0", "consent": "research"}
    summary = run(tmp_path / "out", source, samples_per_part=1, split={"test": 1.0})
    assert summary.samples == 3
    out = str(tmp_path / "out" / "test")
    assert validate(out).problems == ()
    counted = stats(out)
    assert counted.licenses is not None and counted.consents is not None and counted.splits is not None
    assert {name: row["samples"] for name, row in counted.licenses.items()} == {"cc0-1.0": 2, "cc-by-nc-4.0": 1}
    assert (list(counted.consents), list(counted.splits)) == (["research"], ["test"])
    free = Mixture(sources=(Source(path=out, filter={"license": ("cc0-1.0",)}),))
    assert sum(len(batch) for batch in StreamingLoader(free, 1)) == 2
