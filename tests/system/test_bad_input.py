"""Whatever the corpora hold, a run ends with a record or a counted reason for everything in them, and says where."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from llaso_data.cli import main
from llaso_data.io import storage
from llaso_data.pipeline import commit
from llaso_data.records import Utterance
from llaso_data.report.rejections import Rejection
from tests.conftest import Clip
from tests.support import bad_inputs, bad_tables
from tests.support.bad_inputs import Expected, Speech, Torture
from tests.support.corpora import files, observed


@dataclass(frozen=True)
class Tortured:
    """A run over all corpora: where they and its output are, what was to come of each input, the counts."""

    sources: list[str]
    out: Path
    expected: Expectations
    counts: dict[str, int]


Expectations = dict[str, list[Expected]]  # by name of the corpus


def corpora(folder: Path, clips: list[Clip], more: tuple[Torture, ...] = ()) -> tuple[list[str], Expectations]:
    """The paths of all corpora, made below the folder, and what is expected of each."""
    speech = Speech(clips)
    made: dict[str, tuple[str, tuple[Torture, ...]]] = {
        "names": ("", (bad_inputs.names,)),
        "folder": ("", (*bad_inputs.FOLDER, *more)),
        "manifest": ("/manifest.jsonl", (bad_tables.manifest,)),
        "quoted": ("/quoted.csv", (bad_tables.quoted,)),
        "common_voice": ("", (bad_tables.common_voice,)),
        "librispeech": ("", (bad_tables.librispeech,)),
        "tars": ("", (bad_tables.tars,)),
    }
    sources, expected = [], {}
    for name, (file, items) in made.items():
        (folder / name).mkdir()
        expected[name] = [found for item in items for found in item(folder / name, speech)]
        sources.append(f"{folder / name}{file}")
    return sources, expected


def command(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def build(model: Path, out: Path, sources: list[str], *options: str, engine: str = "local") -> Result:
    # One sentence again and again in one window is not what packing is for: each clip is heard alone.
    settings = ("--asr", str(model), "--language", "en", "--device", "cpu", "--set", "observe.asr.pack=false")
    return command("build-align", *sources, "--out", str(out), "--engine", engine, *settings, *options)


def manifest(out: Path) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = storage.read_json(commit.manifest_uri(str(out)))
    return found


@pytest.fixture(scope="module")
def tortured(tiny_en: Path, clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Tortured:
    folder = tmp_path_factory.mktemp("bad input")
    sources, expected = corpora(folder, clips)
    out = folder / "out"
    done = build(tiny_en, out, sources, "--max-failures", "1")
    assert done.exit_code == 0, done.output
    return Tortured(sources, out, expected, manifest(out)["counts"])


def listed(out: Path) -> list[Rejection]:
    return [Rejection(**json.loads(line)) for line in command("rejections", str(out), "--json").output.splitlines()]


def uri(utterance: Utterance) -> str:
    member = utterance.source.member
    return utterance.source.uri + ("" if member is None else f"!{member}")


def differences(tortured: Tortured) -> list[str]:
    """Each input that did not end as expected, and each end that nobody expected."""
    rejected = listed(tortured.out)
    ids = {found.id for found in rejected}
    accepted = [uri(u) for u in observed(tortured.out) if u.id not in ids]
    wrong: list[str] = []
    for name, items in tortured.expected.items():
        root = f"{tortured.out.parent}/{name}"
        for item in items:
            if not item.rules:
                ends = [place for place in accepted if place.startswith(root) and place.endswith(item.place)]
                accepted = [place for place in accepted if place not in ends]
            else:
                ends = [found.id for found in rejected if found.place.startswith(root) and fits(found, item)]
                rejected = [found for found in rejected if found.id not in ends]
            if len(ends) != 1:
                wrong.append(f"{name}: {len(ends)} of {item}")
    wrong += [f"unexpected: {found}" for found in rejected]
    return wrong + [f"unexpectedly accepted: {place}" for place in accepted]


def fits(found: Rejection, item: Expected) -> bool:
    return found.place.endswith(item.place) and found.rule in item.rules and item.detail in (found.detail or "")


def test_everything_ends_as_it_should(tortured: Tortured) -> None:
    """One record per input, accepted or kept out by the rule that fits, and nothing else."""
    assert "\n".join(differences(tortured)) == ""


def test_the_counts_add_up(tortured: Tortured) -> None:
    expected = [item for items in tortured.expected.values() for item in items]
    counts = tortured.counts
    assert counts["inputs"] == len(expected) == len(observed(tortured.out))
    assert counts["accepted"] == sum(not item.rules for item in expected)
    assert counts["duplicates"] == 1
    assert counts["failed"] == sum(any(rule.startswith("failed.") for rule in item.rules) for item in expected)
    assert counts["inputs"] == sum(counts[name] for name in ("accepted", "rejected", "duplicates", "failed"))
    assert sum(manifest(tortured.out)["rules"].values()) == counts["inputs"] - counts["accepted"]


def test_a_failure_names_its_file(tortured: Tortured) -> None:
    folder = str(tortured.out.parent)
    failures = [found for found in listed(tortured.out) if found.verdict == "failed"]
    assert len(failures) == tortured.counts["failed"]
    assert [found for found in failures if folder not in (found.detail or "")] == []


def test_too_many_failures_are_exit_code_1(tortured: Tortured, tiny_en: Path) -> None:
    """What was observed stays observed, so a run with another limit or with fewer sources takes no time."""
    few = build(tiny_en, tortured.out, tortured.sources[:1])
    found = manifest(tortured.out)["counts"]
    assert (few.exit_code, found["failed"], found["inputs"]) == (0, 1, 10)  # 10 % is the default
    share = tortured.counts["failed"] / tortured.counts["inputs"]
    for limit, code in ((None, 1), (share - 0.001, 1), (share, 0)):
        options = () if limit is None else ("--max-failures", str(limit))
        done = build(tiny_en, tortured.out, tortured.sources, *options)
        assert done.exit_code == code, done.output
        assert manifest(tortured.out)["counts"] == tortured.counts  # the output is complete all the same


def test_every_rejection_is_one_harmless_line(tortured: Tortured) -> None:
    """Names hold line ends, tabs, escape sequences and marks that turn the writing around."""
    text = command("rejections", str(tortured.out)).output
    assert len(text.splitlines()) == 1 + tortured.counts["inputs"] - tortured.counts["accepted"]
    assert all(line.count("\t") == 5 for line in text.splitlines())
    assert {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")} == {"\n", "\t"}


def test_what_was_accepted_becomes_valid_shards(tortured: Tortured) -> None:
    shards = str(tortured.out.parent / "shards")
    options = ("--samples-per-shard", "5", "--engine", "local")
    assert command("shard", str(tortured.out), "--out", shards, *options).exit_code == 0
    checked = command("validate", shards)
    assert checked.exit_code == 0 and "no problems" in checked.output
    assert storage.read_json(f"{shards}/manifest.json")["samples"] == tortured.counts["accepted"]


# Slow: what takes long to hear


@pytest.mark.slow
def test_more_of_it_and_with_ray_the_same_records(tiny_en: Path, clips: list[Clip], tmp_path: Path) -> None:
    sources, expected = corpora(tmp_path, clips, bad_inputs.MORE)
    outs = {engine: tmp_path / engine for engine in ("local", "ray")}
    for engine, out in outs.items():
        options = ("--max-failures", "1", "--num-workers", "2", "--set", "blocks.clips=8")
        assert build(tiny_en, out, sources, *options, engine=engine).exit_code == 0
        tortured = Tortured(sources, out, expected, manifest(out)["counts"])
        assert "\n".join(differences(tortured)) == ""
    here, there = (files(out, "recipe.yaml") for out in outs.values())
    assert sorted(here) == sorted(there)
    assert [name for name in there if there[name] != here[name]] == []


@pytest.mark.slow
def test_three_minutes_get_their_given_text(tiny_en: Path, clips: list[Clip], tmp_path: Path) -> None:
    """Each segment gets its own sentence of the transcript; a sentence that nobody says is in no accepted record."""
    folder = tmp_path / "long"
    folder.mkdir()
    said = bad_inputs.long(folder / "three-minutes.wav", Speech(clips), 36, 2.1)
    unsaid = "Colourless green ideas sleep furiously."
    (folder / "three-minutes.txt").write_text(" ".join([*said[:18], unsaid, *said[18:]]))
    out = tmp_path / "out"
    assert build(tiny_en, out, [str(folder)]).exit_code == 0
    counts = manifest(out)["counts"]
    assert counts["recordings"] == 1 and counts["failed"] == 0 and counts["accepted"] >= 18
    ids = {found.id for found in listed(out)}
    accepted = [u for u in observed(out) if u.id not in ids]
    assert {u.text_origin for u in accepted} == {"given"}
    assert not [u.text for u in accepted if "ideas" in (u.text or "")]


@pytest.mark.slow
def test_three_hours(tiny_en: Path, clips: list[Clip], tmp_path: Path) -> None:
    folder = tmp_path / "long"
    folder.mkdir()
    said = bad_inputs.long(folder / "three-hours.wav", Speech(clips), 60, 177.2)
    out = tmp_path / "out"
    assert build(tiny_en, out, [str(folder)]).exit_code == 0
    counts = manifest(out)["counts"]
    assert counts["recordings"] == 1 and counts["failed"] == 0
    assert 0.8 * len(said) <= counts["accepted"] <= counts["inputs"]
    assert max(u.source.end_s or 0 for u in observed(out)) > 10_000
