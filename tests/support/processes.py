"""Training and evaluation in processes of their own, which begin with torch and transformers imported.

Importing them takes longer than what most of these processes do. So they are forks of a server of ``multiprocessing``
that has imported them; each is a session of its own, as a process of a shell is, and ends as the command does.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import runpy
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

IMPORTED = [
    "llaso_model.cli",
    "llaso_model.evaluate.predict.predict",
    "llaso_model.evaluate.score",
    "llaso_model.train.loop",
    "peft",
    "tests.support.ranks",
    "torch.distributed.fsdp",
    "transformers.models.llama.modeling_llama",
    "transformers.models.whisper.modeling_whisper",
]


class Started:
    """Processes that were started together, one a rank; what they say is in ``said``."""

    def __init__(self, ranks: Sequence[BaseProcess], log: Path) -> None:
        self._ranks, self._log = ranks, log

    @property
    def said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def poll(self) -> int | None:
        """The worst exit code of the ranks that ended, None where all run."""
        codes = [one.exitcode for one in self._ranks if one.exitcode is not None]
        return max(codes, key=abs) if codes else None

    def kill(self) -> None:
        """SIGKILL of all ranks and what they started; returns when the ranks have ended."""
        for one in self._ranks:
            if one.pid is not None:
                with suppress(ProcessLookupError):
                    os.killpg(one.pid, signal.SIGKILL)
        for one in self._ranks:
            one.join()

    def succeed(self, within_s: float = 300) -> None:
        """All ranks end with 0; after a failure or the time given, all are killed."""
        deadline = time.monotonic() + within_s
        try:
            while any(one.exitcode is None for one in self._ranks):
                assert not self.poll(), self.said[-3000:]
                assert time.monotonic() < deadline, f"not done in {within_s} s: {self.said[-3000:]}"
                self._ranks[0].join(0.02)
            assert [one.exitcode for one in self._ranks] == [0] * len(self._ranks), self.said[-3000:]
        finally:
            self.kill()


def start(work: Callable[..., Any], *args: Any, log: Path, ranks: int = 1) -> Started:
    """``work(*args)`` on so many ranks, each told its rank as torchrun tells it. ``work`` must be importable."""
    missing = [name for name in IMPORTED if importlib.util.find_spec(name) is None]
    assert not missing, f"the server would import no {missing}, and say nothing"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    places: list[dict[str, str]] = [{}]
    if ranks > 1:
        common = {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1"}
        common["MASTER_PORT"] = str(free_port())
        places = [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(ranks)]
    log.write_text("", encoding="utf-8")
    here = {"cwd": os.getcwd(), "environment": dict(os.environ), "path": list(sys.path)}
    started = [context.Process(target=_run, args=(work, args, str(log), here, place)) for place in places]
    for one in started:
        one.start()
    return Started(started, log)


def run_module(module: str, words: Sequence[str]) -> None:
    """``python -m module words…``."""
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def llaso_model(*words: Any, log: Path, ranks: int = 1) -> Started:
    """The command ``llaso-model``, on so many ranks."""
    return start(run_module, "llaso_model.cli", [str(word) for word in words], log=log, ranks=ranks)


def _run(work: Callable[..., Any], args: Sequence[Any], log: str, here: dict[str, Any], place: dict[str, str]) -> None:
    import torch

    os.setsid()
    os.chdir(here["cwd"])
    os.environ.update({**here["environment"], **place, "OMP_NUM_THREADS": "1"})
    sys.path[:] = here["path"]
    torch.set_num_threads(1)
    out = os.open(log, os.O_WRONLY | os.O_APPEND)
    for number in (1, 2):
        os.dup2(out, number)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # multiprocessing has its children ignore Ctrl-C
    work(*args)


def free_port() -> int:
    """A port of loopback that nothing listens at now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
