"""Large JSON lists as typed rows: every way of laying a list out, and every way of breaking it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llaso_data.formats.tables import json_blocks as blocks
from llaso_data.formats.tables.json_blocks import json_blocks

pytest.importorskip("msgspec")

Rows = list[tuple[int, Any]]


def row_of(value: dict[str, Any]) -> dict[str, int]:
    if not isinstance(value.get("n"), int):
        raise ValueError("no n")
    return {"n": value["n"]}


def read(path: Path, data: str | bytes, block: int, monkeypatch: pytest.MonkeyPatch | None = None) -> Rows:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    if monkeypatch is not None:
        monkeypatch.setattr(blocks, "BLOCK_BYTES", block)
    found = json_blocks(str(path), dict[str, int], row_of)  # type: ignore[arg-type]
    return [(number, row) for rows in found for number, row in enumerate(rows.rows, rows.first)]


ITEMS = [{"n": number} for number in range(200)]
WHOLE = [(number + 1, item) for number, item in enumerate(ITEMS)]


@pytest.mark.parametrize("block", [64, 333, 1 << 17])
@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ITEMS, indent=2),
        json.dumps(ITEMS, indent=4) + "\n",
        json.dumps(ITEMS, indent="\t"),
        json.dumps(ITEMS, indent=2).replace("\n", "\r\n"),
        "\ufeff" + json.dumps(ITEMS, indent=2),
        "[\n" + ",\n".join(map(json.dumps, ITEMS)) + "\n]\n",
        "[\n" + ",\n".join(f"  {json.dumps(item)}" for item in ITEMS) + "\n]\n",
        json.dumps(ITEMS),
        "\n".join(map(json.dumps, ITEMS)),
    ],
    ids=["two", "four", "tab", "crlf", "mark", "lines", "indented-lines", "one-line", "jsonl"],
)
def test_every_layout_of_a_list_gives_the_same_rows(
    tmp_path: Path, text: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read(tmp_path / "a.json", text, block, monkeypatch) == WHOLE


@pytest.mark.parametrize("block", [64, 1 << 17])
@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (b'{\n    "n": "seven"\n  }', "no n"),
        (b'{\n    "n": 1,,\n  }', "not JSON"),
        (b'{\n    "n": 1\n', "not JSON"),
        (b'{\n    "n\xff": 1\n  }', "no n"),
        (b'{\n    "n": ' + b"9" * 5000 + b"\n  }", "thousands of digits"),
    ],
)
def test_a_broken_row_loses_only_itself(
    tmp_path: Path, broken: bytes, message: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = json.dumps(ITEMS, indent=2).encode().replace(b'{\n    "n": 77\n  }', broken)
    rows = read(tmp_path / "a.json", data, block, monkeypatch)
    assert [row for row in rows if row[0] != 78] == [row for row in WHOLE if row[0] != 78]
    assert message in dict(rows)[78]


def test_fields_that_the_typed_row_does_not_know_are_seen_by_the_other_way(tmp_path: Path) -> None:
    rows = read(tmp_path / "a.json", json.dumps([{"n": 1}, {"n": 2, "more": "text"}], indent=2), 0)
    assert rows == [(1, {"n": 1}), (2, {"n": 2})]


def test_a_list_that_breaks_off_says_so_after_its_whole_rows(tmp_path: Path) -> None:
    text = json.dumps(ITEMS, indent=2)
    *whole, last, end = read(tmp_path / "a.json", text[: text.index('"n": 150')], 0)
    assert whole == WHOLE[:150]
    assert "not JSON" in last[1] and "not closed" in end[1]


def test_a_row_that_is_too_long_is_passed_over_and_never_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "MAX_TEXT_BYTES", 4096)
    items: list[dict[str, Any]] = [*ITEMS[:5], {"n": 5, "text": "x" * 100_000}, *ITEMS[6:]]
    rows = read(tmp_path / "a.json", json.dumps(items, indent=2), 256, monkeypatch)
    assert [row for row in rows if row[0] != 6] == [row for row in WHOLE if row[0] != 6]
    assert "longer than" in dict(rows)[6]
    last = [*ITEMS[:5], {"n": 5, "text": "x" * 100_000}]
    assert "longer than" in read(tmp_path / "a.json", json.dumps(last, indent=2), 256, monkeypatch)[-1][1]


@given(st.lists(st.dictionaries(st.text(max_size=3), st.integers(-5, 5), max_size=3), min_size=1, max_size=20))
def test_what_python_writes_is_read(tmp_path_factory: pytest.TempPathFactory, items: list[dict[str, int]]) -> None:
    path = tmp_path_factory.mktemp("blocks") / "a.json"
    path.write_text(json.dumps(items, indent=2), encoding="utf-8", errors="surrogatepass")
    found = json_blocks(str(path), dict[str, int], lambda row: row)  # type: ignore[arg-type]
    assert [row for rows in found for row in rows.rows] == items
