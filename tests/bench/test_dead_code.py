"""``bench/dead_code.py``: what is printed is dead, and what others call by name is not."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import REPOSITORY

SCRIPT = REPOSITORY / "bench" / "dead_code.py"
ROOM = """
import json

LIMIT = 3
MODES = ("a", "b")

def used(mode):
    "One of :data:`MODES`."
    return Plain().told(LIMIT)

def named_in_a_table(): ...
def documented(): ...
def only_tested(): ...
def recursive(n): return recursive(n - 1)

class Plain:
    def told(self, n): ...
    def untold(self): ...

class Encoder(json.JSONEncoder):
    def default(self, value): ...

class Special(Encoder):
    def iterencode(self, value): ...

TABLE = {"x": "room:named_in_a_table", "y": Special}
"""


def test_dead_names_are_found_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for path, text in {
        "llaso_data/room.py": ROOM,
        "bench/figure.py": "from llaso_data.room import TABLE, used",
        "tests/test_room.py": "from llaso_data.room import only_tested",
        "README.md": "Call `room.documented()`; recursive and untold are only words here.",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    script: dict[str, Any] = runpy.run_path(str(SCRIPT))
    monkeypatch.setitem(script["main"].__globals__, "ROOT", tmp_path)
    with pytest.raises(SystemExit) as ended:
        script["main"]()
    assert ended.value.code == 1
    assert [line.split(": ", 1)[1] for line in capsys.readouterr().out.splitlines()] == [
        "only_tested: only tests use it",
        "recursive: nothing uses it",
        "untold: nothing uses it",
    ]
