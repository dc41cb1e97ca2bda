"""Rows whose fields are not what they should be: refused with file and row, or undefined and said; never a number."""

from __future__ import annotations

import json
import math
import os
import tarfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llaso_data.errors import LLaSOError
from llaso_data.io import sealed
from llaso_data.io.journal import Journal
from llaso_data.text import surrogates
from llaso_model.evaluate import score, store
from llaso_model.evaluate.datasets import fields, files, layouts, tasks
from llaso_model.evaluate.rate import ratings
from llaso_model.evaluate.report import scores_page
from tests.support.browser import Browser, browser  # noqa: F401 (a fixture)
from tests.support.evaluation import TASKS

ROW = {"set": "ASR", "reference": "hello world", "answer": "hello there", "system": "s"}
NAN, INF = math.nan, math.inf
HALF = "a\ud800b"
NO_TEXT = [NAN, INF, -INF, True, False, 5, 2.5, 10**400, [], ["a"], {}, {"a": 1}]
NO_NAME = [NAN, INF, True, 2.5, 10**400, [], {}]
WRONG: dict[str, list[Any]] = {
    "reference": [None, *NO_TEXT],
    "answer": NO_TEXT,
    "prompt": NO_TEXT,
    "set": [*NO_TEXT, "no such set"],
    "task": ["no such set"],
    "language": NO_TEXT,
    "modality": NO_TEXT,
    "id": NO_NAME,
    "system": [*NO_NAME, "two\nlines", "\x1b[31mred"],
    "speaker": NO_NAME,
    "expected": [*NO_TEXT, "reject"],
    "confidence": [NAN, INF, True, [], {}, "", "high", "nan", 10**400],
    "audio": [NAN, True, 5, {"path": "a.wav"}, [None], [5], [["a.wav"]]],
    "tags": [NAN, True, 5, {"snr": 5}, [None], [5]],
    "groups": [NAN, True, 5, "female", ["female"], {"age": NAN}, {"age": []}, {"age": True}, {"age": {}}],
    "seed": [NAN, True, 2.5, "0", 2**70],
    "span_s": [NAN, True, 5, "0", [NAN], [None], ["a"]],
}


def written(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path) -> layouts.ScoringInput:
    return layouts.read_predictions([str(path)], TASKS)


def good(count: int = 3, **more: Any) -> list[dict[str, Any]]:
    return [{**ROW, "id": f"q{number}", **more} for number in range(count)]


def scored(tmp_path: Path, rows: list[Any]) -> dict[str, Any]:
    said = score.score([str(written(tmp_path / "mine.jsonl", rows))], str(tmp_path / "out"), workers=1)
    text = (tmp_path / "out" / "scores.json").read_bytes().decode("utf-8")
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in scores.json"))
    return said


@pytest.mark.parametrize("key", WRONG)
def test_a_field_of_another_type_is_refused_with_file_and_row(tmp_path: Path, key: str) -> None:
    for value in WRONG[key]:
        bare = {name: one for name, one in ROW.items() if (key, name) != ("task", "set")}
        path = written(tmp_path / "mine.jsonl", [*good(2), {**bare, "id": "x", key: value}])
        with pytest.raises(LLaSOError, match=rf"{path}: row 3(, in a list)?: ") as raised:
            read(path)
        assert ("set" if key == "task" else "system" if key == "system" else key) in str(raised.value)


@pytest.mark.parametrize("key", [key for key in WRONG if key not in ("confidence", "seed", "span_s", "expected")])
def test_half_a_surrogate_pair_is_refused_everywhere_but_in_an_answer(tmp_path: Path, key: str) -> None:
    value = {"groups": {"age": HALF}, "tags": [HALF]}.get(key, HALF)
    path = written(tmp_path / "mine.jsonl", [*good(2), {**ROW, "id": "x", key: value}])
    if key == "answer":
        assert read(path).predictions[2].answer == "a\ufffdb"
    elif key != "task":  # a set is named, so that the task says nothing
        with pytest.raises(LLaSOError, match=r"row 3.*half of a surrogate pair"):
            read(path)


def test_an_answer_with_half_a_pair_costs_no_other_and_is_said(tmp_path: Path) -> None:
    rows = [*good(), {**ROW, "id": "x", "answer": HALF}, {**ROW, "id": "y", "answer": None}]
    rows.append({**ROW, "id": "z", "answer": "\U0001f600"})  # a whole pair
    said = scored(tmp_path, rows)
    assert said["rows"] == 6 and said["remarks"] == [
        "s: 1 answers had half of a surrogate pair, which is no character; U+FFFD replaces it",
        "s: 1 answers are null and count as empty",
    ]
    answers = [row.prediction.answer for row in store.read(str(tmp_path / "out" / "rows.parquet"))]
    assert answers[3:] == ["a\ufffdb", "", "\U0001f600"]
    html, _ = scores_page.report([str(tmp_path / "out")])
    assert "half of a surrogate pair" in Path(html).read_text(encoding="utf-8")


def test_numbers_stand_for_their_text_where_a_set_is_of_numbers(tmp_path: Path) -> None:
    ages, velocities = "vocalsound_age_prediction", "velocity_classification"
    rows = [
        {"set": ages, "id": "a", "reference": 45, "answer": 40.0},
        {"set": ages, "id": "b", "reference": 45.5, "answer": "I guess 45"},
        {"set": ages, "id": "c", "reference": "45", "answer": 1e-7},
        {"set": velocities, "id": "d", "reference": 100, "answer": 100},
    ]
    said = scored(tmp_path, rows)
    maes = {one["name"]: one["metrics"]["mine"] for one in said["sets"]}
    assert maes[ages]["mae"]["value"] == pytest.approx((5 + 0.5 + 35) / 3, abs=1e-4)
    assert maes[velocities]["accuracy"]["value"] == 1.0
    for value in (None, NAN, INF, True, [45], {}, "unknown", 10**400):
        with pytest.raises(LLaSOError, match=r"row 1.*reference"):
            scored(tmp_path, [{**rows[0], "reference": value}])
    with pytest.raises(LLaSOError, match=r"row 1.*reference '100\.5' is no label"):
        scored(tmp_path, [{**rows[3], "reference": 100.5}])


@pytest.mark.parametrize("set_, title", [("ASR", "WER"), ("phoneme_recognition", "PER"), ("dolly_input_1", "ROUGE-L")])
def test_without_any_reference_a_score_is_undefined_and_said(
    tmp_path: Path,
    set_: str,
    title: str,
    browser: Browser,  # noqa: F811
) -> None:
    empty = [{**row, "set": set_, "reference": "", "system": system} for system in "st" for row in good()]
    said = scored(tmp_path, empty)
    note = f"{set_}: its {title} is undefined, because no reference has anything to measure an answer against"
    assert said["notes"][0].startswith(note) and said["tasks"] == [] and said["overall"]["common"] == {}
    assert "0.0" not in json.dumps(said["tasks"])
    opened = browser.open(Path(scores_page.report([str(tmp_path / "out")])[0]))
    text = opened.page.inner_text("main")
    assert note in text and not opened.errors
    assert not any(word in text for word in ("NaN", "nan ", "undefined 0", "None", "Infinity"))
    # Beside a set that has a score the overall one is that set's.
    gender = [
        {"set": "vctk_gender_classification", "system": system, "id": f"g{n}", "reference": "male", "answer": "male"}
        for system in "st"
        for n in range(3)
    ]
    said = scored(tmp_path, [*empty, *gender])
    assert {system: one["value"] for system, one in said["overall"]["common"].items()} == {"s": 1.0, "t": 1.0}
    scores_page.report([str(tmp_path / "out")])


def test_references_without_words_are_no_zeros_among_others(tmp_path: Path) -> None:
    rows = [*good(2, set="dolly_input_1", answer="hello world"), *good(1, set="dolly_input_1", reference="...")]
    rows[2]["id"] = "x"
    said = scored(tmp_path, rows)
    (one,) = said["sets"]
    assert one["metrics"]["s"]["rouge_l"]["value"] == 1.0 and one["metrics"]["s"]["rouge_l"]["rows"] == 2
    assert "dolly_input_1: 1 references have no words; the answers to them are not measured" in said["notes"]
    # Silence is something to transcribe: words that are said to it are errors.
    said = scored(tmp_path, [*good(1, answer="hello world"), {**ROW, "id": "x", "reference": "", "answer": "boo"}])
    assert said["sets"][0]["metrics"]["s"]["wer"]["value"] == 0.5


def test_groups_of_any_spelling_and_tags_of_no_level_do_not_stop_a_report(tmp_path: Path) -> None:
    ages = ["²", "9" * 5000, "24", "-3", "NaN", "twenties"]
    rows = [
        {**ROW, "id": f"q{n}-{age[:3]}", "groups": {"age": age, "gender": None, "accent": ""}, "tags": tags}
        for n in range(20)
        for age, tags in zip(ages, (["snr:loud"], ["snr:nan"], "snr:5", [], ["snr:"], None), strict=True)
    ]
    said = scored(tmp_path, rows)
    assert {one["tag"] for one in said["tags"]} == {"snr:loud", "snr:nan", "snr:5", "snr:"}
    (slices,) = [one for one in said["sets"][0]["slices"] if one["group"] == "age"] or [{"values": {}}]
    assert not {"none", "nan", ""} & {value for value in slices["values"] if value != "nan"}
    html, _ = scores_page.report([str(tmp_path / "out")])
    assert '"snr_db":5.0' in Path(html).read_text() and 'snr_db":NaN' not in Path(html).read_text()


@pytest.mark.parametrize(
    "data, why",
    [
        (b"", "it is empty"),
        (b" \n\n", "it is empty"),
        (b"[]", "no declared set|it is empty"),
        (json.dumps(ROW).encode("utf-16"), r"mine\.jsonl:1: not UTF-8 .*it looks like UTF-16; save the file as UTF-8"),
        (json.dumps(ROW).encode() + '\n{"a": "é"}'.encode("latin-1"), r"mine\.jsonl:2: not UTF-8"),
        (json.dumps(ROW).encode() + b"\n" + json.dumps(ROW).encode()[:-9], r"mine\.jsonl:2: not JSON"),
        (json.dumps(ROW).encode() + b"\n[5]", r"mine\.jsonl: row 2 is int, not an object"),
        (json.dumps(ROW).encode() + b"\n7", r"mine\.jsonl: row 2 is int, not an object"),
        (json.dumps(ROW).encode() + b'\n"text"', r"mine\.jsonl: row 2 is str, not an object"),
        (b"[" * 100_000, "nested too deeply"),
        (
            json.dumps(ROW).encode() + b'\n{"conversations": []}',
            r"mine\.jsonl: row 2: its file's name says no declared set",
        ),
        (json.dumps({**ROW, "id": 1}).encode() * 2, r"mine\.jsonl: row 2: s answers 1 of ASR twice"),
    ],
)
def test_files_that_are_none_are_said(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(data)
    with pytest.raises(LLaSOError, match=why):
        read(path)


def test_tars_of_any_packing_are_read_and_damaged_ones_said(tmp_path: Path) -> None:
    written(tmp_path / "mine.jsonl", good(400))
    for ending in ("", ".gz", ".bz2", ".xz"):
        path = tmp_path / f"all.tar{ending}"
        with tarfile.open(path, f"w:{ending[1:]}") as archive:
            archive.add(tmp_path / "mine.jsonl", "a.jsonl")
            archive.add(tmp_path / "mine.jsonl", "b/ASR.jsonl")
            link = tarfile.TarInfo("gone.jsonl")
            link.type, link.linkname = tarfile.SYMTYPE, "nowhere"
            archive.addfile(link)
        found = files.parse_source(str(path))
        assert [file.name for file in found.files()] == ["a.jsonl", "b/ASR.jsonl"]
        assert len(found.skipped) == 1 and "gone.jsonl" in found.skipped[0]
        whole = path.read_bytes()
        cut = whole[: len(whole) - (len(whole) // 3 if ending else 512 * 30)]
        for data in (
            b"",
            b"a,b\n1,2\n",
            cut,
            whole[:100] + bytes(60) + whole[160:],
        ):
            path.write_bytes(data)
            with pytest.raises(LLaSOError, match=rf"{path}: "):
                list(files.parse_source(str(path)).files())


@pytest.mark.parametrize(
    "change, why",
    [
        ({"voice": 5}, "voice is the number 5"),
        ({"voice": [{"path": "a.wav"}]}, "in a list: voice is an object"),
        ({"conversations": None}, "needs a human and a gpt turn"),
        ({"conversations": [5, "x"]}, "needs a human and a gpt turn"),
        ({"answer": ["female"]}, "answer is a list"),
        ({"metadata": {"gender": ["f"]}}, "gender is a list"),
        ({"metadata": {"age": NAN}}, "age is NaN"),
        ({"speaker_id": {}}, "speaker_id is an object"),
    ],
)
def test_published_rows_are_checked_too(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    turns = [{"from": "human", "value": "Which?<audio>"}, {"from": "gpt", "value": "Female."}]
    row = {"voice": ["a.wav"], "conversations": turns, "answer": "female", "metadata": {"age": 24}}
    path = tmp_path / "accentdb_AI_classification_test.json"
    path.write_text(json.dumps([row, {**row, **change}]))
    with pytest.raises(LLaSOError, match=rf"{path}: row 2.*{why}"):
        read(path)
    for value in (None, NAN, ["Female."], {}, HALF):
        path.write_text(json.dumps([{**row, "conversations": [turns[0], {"from": "gpt", "value": value}]}]))
        with pytest.raises(LLaSOError, match=rf"{path}: row 1: conversations, turn 2: value"):
            read(path)


def test_published_judgements_are_checked_and_those_of_no_row_are_said(tmp_path: Path) -> None:
    folder = tmp_path / "System" / "gpt_result"
    folder.mkdir(parents=True)
    written(tmp_path / "System" / "dolly_input_1_test.jsonl", good(2, set="dolly_input_1"))
    for wrong in ({"index": True}, {"index": "0"}, {"index": None}, {"evaluation": 4}, {"evaluation": None}):
        path = written(folder / "dolly_input_1_test.jsonl", [{"index": 0, "evaluation": "Score: 4", **wrong}])
        with pytest.raises(LLaSOError, match=rf"{path}: row 1: (index|evaluation) is"):
            read(tmp_path / "System")
    written(folder / "dolly_input_1_test.jsonl", [{"index": 7, "evaluation": "Score: 4"}])
    assert read(tmp_path / "System").skipped == ["1 judgements of dolly_input_1 by System: of no row"]


def test_ratings_of_other_types_are_refused_with_file_and_entry(tmp_path: Path) -> None:
    with ratings.open_log(str(tmp_path), "Eva") as log:
        ratings.record_rating(log, "a", "one", {"accuracy": 3})
    (path,) = tmp_path.glob("ratings/*/ratings.json")
    whole = json.loads(path.read_text())
    for key, value in [
        ("item", None),
        ("item", ["a"]),
        ("system", None),
        ("system", 5),
        ("at", None),
        ("system", HALF),
    ]:
        path.write_text(json.dumps({**whole, "ratings": [{**whole["ratings"][0], key: value}]}))
        with pytest.raises(LLaSOError, match=rf"ratings\.json is not a rater's ratings \(entry 1: {key} is"):
            ratings.results([str(tmp_path)])


def test_a_judges_words_are_kept_as_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "said.jsonl"
    with Journal(str(path)).writing() as add:
        add({"said": "Score: 4 \ud800 日本"})
        add({"said": "日本"})
    path.read_bytes().decode("utf-8")
    assert "日本".encode() in path.read_bytes()
    assert [line["said"] for line in Journal(str(path)).lines] == ["Score: 4 \ud800 日本", "日本"]


def test_tables_of_rows_are_checked_and_those_of_earlier_versions_are_read(tmp_path: Path) -> None:
    scored(tmp_path, good())
    path = tmp_path / "out" / "rows.parquet"
    with sealed.read_parquet(str(path)) as file:
        table = pq.read_table(file)
    before = store.read(str(path))
    sealed.write_parquet(str(path), table.drop_columns(["span_s", "noise", "seed"]))
    assert store.read(str(path)) == before
    for column, values in (("badness", ["a", "b", "c"]), ("answer", [None, "a", "b"]), ("tags", ["a", "b", "c"])):
        sealed.write_parquet(str(path), table.set_column(table.column_names.index(column), column, [values]))
        with pytest.raises(LLaSOError, match=rf"rows\.parquet: not rows of llaso-model score \({column} is"):
            store.read(str(path))


def test_limits_of_ones_own_tasks_are_numbers_in_order(tmp_path: Path) -> None:
    text = "tasks: {t: {title: T, short: T, group: speaker}}\nsets: {s: {task: t, kind: number, range: [%s]}}\n"
    for limits in (".nan, 5", "0, .inf", "5, 5", "5, 0"):
        (tmp_path / "tasks.yaml").write_text(text % limits)
        with pytest.raises(LLaSOError, match="the lowest possible before the highest"):
            tasks.load(str(tmp_path / "tasks.yaml"))
    (tmp_path / "tasks.yaml").write_text(
        "tasks: {t: {title: T, short: T, group: speaker}}\nlabels: {l: {}}\n"
        "sets: {s: {task: t, kind: label, labels: l}}\n"
    )
    with pytest.raises(LLaSOError, match="no label; name each"):
        tasks.load(str(tmp_path / "tasks.yaml"))


@pytest.mark.skipif(os.name != "posix", reason="names of files are bytes")
def test_names_that_are_not_utf_8_can_be_written(tmp_path: Path) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/sys\xff")
    os.mkdir(folder)
    Path(folder, "mine.jsonl").write_text(json.dumps({name: ROW[name] for name in ("set", "reference", "answer")}))
    said = score.score([folder], str(tmp_path / "out"), workers=1)
    assert said["systems"] == ["sys\\udcff"]


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists))
def test_what_is_taken_for_text_can_be_written_and_says_no_nan(value: Any) -> None:
    found = fields.as_text(value)
    if found is not None:
        surrogates.replace_lone_surrogates(found).encode("utf-8")
        assert isinstance(value, str) or (math.isfinite(value) and not isinstance(value, bool))
        assert isinstance(value, str) or float(found) == value
