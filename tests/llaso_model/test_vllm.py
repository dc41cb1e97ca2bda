"""vLLM serves the model through our plugin, with the tokens of ``generate``."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from llaso_data.demo import weights
from llaso_data.errors import LLaSOError
from llaso_model.configuration import LLaSOConfig
from llaso_model.engine.backends import BACKENDS
from llaso_model.vllm import check_fusion, register
from tests.conftest import Clip

ROOT = Path(__file__).parents[2]
START_S = 400


def test_the_plugin_imports_without_vllm():
    groups = (ROOT / "pyproject.toml").read_text().split("[project.entry-points.")
    assert any('"vllm.general_plugins"]\nllaso = "llaso_model.vllm:register"' in group for group in groups)
    assert callable(register) and "vllm" not in sys.modules


def test_cross_attention_is_refused_with_the_reason():
    check_fusion(LLaSOConfig())
    with pytest.raises(ValueError, match=r"attend to speech in between.*llaso-model serve"):
        check_fusion(LLaSOConfig(fusion="cross_attention"))


def test_an_address_where_nothing_answers_is_named():
    with pytest.raises(LLaSOError, match=r"MODEL: nothing at http://127\.0\.0\.1:9/v1"):
        BACKENDS["vllm"].open("http://127.0.0.1:9/v1", "MODEL", None)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whisper base's encoder and SmolLM2 with a projection that nobody trained."""
    from llaso_model.train.build import load_model, save_model
    from llaso_model.train.config import ModelPart

    parts = {"language_model": str(weights.smollm2()), "encoder": str(weights.whisper_base())}
    folder = tmp_path_factory.mktemp("vllm") / "model"
    save_model(folder, *load_model(ModelPart.model_validate({**parts, "chat_template": "plain"}), 0))
    return folder


@pytest.fixture(scope="module")
def address(model: Path) -> Iterator[str]:
    """A running vLLM, in an environment of its own."""
    from tests.support.vllm_environment import python_of_vllm

    try:
        python = python_of_vllm()
    except RuntimeError as error:
        pytest.skip(f"vLLM cannot be installed here: {error}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--dtype", "float32", "--enforce-eager", "--max-model-len", "1024", "--max-num-seqs", "8"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
    log = model.parent / "vllm.log"
    with log.open("w") as output:
        served = subprocess.Popen(
            [python.parent / "vllm", "serve", model, "--host", "127.0.0.1", "--port", str(port), *options],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    try:
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + START_S
        while not _answers(f"{url}/health"):
            if served.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"vLLM did not start:\n{log.read_text()[-4000:]}")
            time.sleep(1)
        yield f"{url}/v1"
    finally:
        served.terminate()
        served.wait(60)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


@pytest.mark.slow
def test_rows_of_a_running_vllm_have_the_tokens_of_generate(address, model, clips: list[Clip]):
    from llaso_model import generation
    from llaso_model.engine.engine import Engine, Limits, answers_of
    from llaso_model.engine.requests import Request, Sampling
    from tests.llaso_model.engine.test_engine import differs

    loaded = generation.load(str(model), precision="fp32")
    backend = BACKENDS["vllm"].open(address, "MODEL", None)
    sounds = [str(clip.path) for clip in clips[:4]]
    conversations = [loaded.processor.instruction("Transcribe the speech.", [one]) for one in sounds]
    conversations.append(loaded.processor.instruction("<audio> or <audio>?", sounds[:2]))
    sampling = Sampling(max_new_tokens=12)
    engine = Engine(backend, Limits(slots=4))
    answers = answers_of(engine.run(Request(one, sampling) for one in conversations))
    different = 0
    for conversation, answer in zip(conversations, answers, strict=True):
        inputs = loaded.processor.batch([conversation])
        out = loaded.model.generate(
            **inputs, max_new_tokens=12, do_sample=False, output_scores=True, return_dict_in_generate=True
        )
        best = [scores[0].topk(2).values for scores in out.scores]
        different += differs(answer.tokens, (out.sequences[0].tolist(), [float(a - b) for a, b in best]))
        assert answer.prompt_tokens == inputs["input_ids"].shape[1]
    assert different <= 1
    running = engine.submit(Request(conversations[0], Sampling(max_new_tokens=400)))
    while not running.tokens:
        engine.step()
    running.cancel()
    while engine.step():
        pass
    assert running.result().finish_reason == "cancelled" and len(running.tokens) < 400


@pytest.mark.slow
def test_a_running_vllm_transcribes_for_openais_client(address, model, clips: list[Clip]):
    import openai

    from llaso_model import generation

    client = openai.OpenAI(base_url=address, api_key="none")
    name = client.models.list().data[0].id
    with open(clips[0].path, "rb") as file:
        found = client.audio.transcriptions.create(
            file=file, model=name, temperature=0.0, extra_body={"max_completion_tokens": 12}
        )
    ours = generation.load(str(model), precision="fp32").transcribe([str(clips[0].path)], max_new_tokens=12)
    assert found.text.strip() == ours[0].strip()
