"""The encoder in OpenVINO as part of a process that hears signals."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from llaso_data.whisper.openvino import MEL_FRAMES, write_graph

MEL_BINS = 80
FIRST_AND_LAST = "first, second = encoder(), encoder(); encode(first); encode(second); del first; del second"
BY_A_THREAD = """
made = [encoder()]
thread = threading.Thread(target=lambda: encode(made.pop()))
thread.start()
thread.join()
"""
HEARS = """
import signal, sys, threading
import numpy as np
from pathlib import Path
from llaso_data.whisper.openvino import OpenVINOEncoder

def encoder():
    return OpenVINOEncoder(Path(sys.argv[1]), bfloat16=False, threads=1)

def encode(one):
    one(np.zeros((1, {bins}, {frames}), np.float32))

heard = []
signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
{order}
signal.raise_signal(signal.SIGTERM)
print(len(heard))
"""


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small encoder with random weights."""
    config = WhisperConfig(num_mel_bins=MEL_BINS, d_model=64, encoder_layers=1, encoder_attention_heads=2)
    path = tmp_path_factory.mktemp("graph") / "encoder.xml"
    write_graph(WhisperEncoder(config).eval(), path)
    return path


@pytest.mark.parametrize("order", [FIRST_AND_LAST, BY_A_THREAD], ids=["one after the other", "by a thread"])
def test_a_process_hears_signals_when_its_encoders_have_gone(order: str, graph: Path) -> None:
    code = HEARS.format(bins=MEL_BINS, frames=MEL_FRAMES, order=order)
    done = subprocess.run([sys.executable, "-c", code, str(graph)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr[-2000:]
