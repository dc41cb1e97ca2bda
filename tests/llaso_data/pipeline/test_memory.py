"""What a run holds does not grow with what it has done."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY

BENCH = REPOSITORY / "bench" / "memory.py"


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "minutes"), [("local", 60), ("ray", 120)])
def test_memory_stays_flat(tiny_en: Path, engine: str, minutes: int) -> None:
    """Driver, listeners, loaders and decoding processes, from 20 minutes of audio to an hour that each has heard."""
    command = [sys.executable, str(BENCH), "--engines", engine, "--minutes", str(minutes), "--clips", "8"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "flat" in done.stdout  # somebody was judged
    print(f"\n{done.stdout}")
