"""``vllm serve`` with our plugin, as a side of the part ``load`` of bench/serve.py (``--vllm PYTHON``).

Its transcripts have the limit that ours have, and its rows together are as many. Both servers keep what they have
encoded lately, and the clients send the same few recordings many times, which users do not.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for tests.support.vllm_server
from tests.support import vllm_server

SLOTS = 32
MAX_MODEL_LEN = 2048


@dataclass
class VLLMServing:
    """A running ``vllm serve``."""

    server: vllm_server.VLLMServer

    def client(self, **options: Any) -> Any:
        import openai

        return openai.AsyncOpenAI(base_url=self.server.url, **{"api_key": "none", "max_retries": 0, **options})

    @property
    def pid(self) -> int:
        return self.server.process.pid


@contextmanager
def serving(python: str, model: str, name: str, threads: int, max_new_tokens: int) -> Iterator[VLLMServing]:
    limits = ["--max-num-seqs", str(SLOTS), "--max-model-len", str(MAX_MODEL_LEN), "--served-model-name", name]
    longest = ["--override-generation-config", json.dumps({"max_new_tokens": max_new_tokens})]
    options = [*limits, *longest]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "vllm.log"
        with vllm_server.serving(Path(python), Path(model).resolve(), log, *options, threads=threads) as server:
            yield VLLMServing(server)


def cpu_s_of_all(pid: int) -> float:
    """CPU seconds of a process and of all that it started, those that have ended among them."""
    ticks: dict[int, int] = {}
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            fields = stat.read_text().rpartition(")")[2].split()
            own = int(stat.parent.name)
            ticks[own] = sum(map(int, fields[11:15]))
            children.setdefault(int(fields[1]), []).append(own)
    family = [pid]
    for one in family:
        family += children.get(one, [])
    return sum(ticks.get(one, 0) for one in family) / os.sysconf("SC_CLK_TCK")


def has_text(event: Any) -> bool:
    """Whether an event of a stream brings text: one of OpenAI's, or a chunk of vLLM's, which has another shape."""
    choices: Sequence[Any] = getattr(event, "choices", None) or ()
    if choices:
        return any(choice["delta"].get("content") for choice in choices)
    return str(getattr(event, "type", "")).endswith("delta")
