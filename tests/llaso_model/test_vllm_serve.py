"""A running vLLM serves the model through our plugin, with the tokens of ``generate``."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from llaso_data import audio
from llaso_data.demo import weights
from llaso_data.errors import LLaSOError
from llaso_model import generation
from llaso_model.cli import main
from llaso_model.engine.backends import BACKENDS
from llaso_model.engine.engine import Engine, Limits
from llaso_model.engine.requests import Request, Sampling
from llaso_model.processing import TRANSCRIBE
from llaso_model.train.build import load_model, save_model
from llaso_model.train.config import ModelPart
from tests.conftest import Clip
from tests.llaso_model.engine.test_engine import differs
from tests.support import vllm_server
from tests.support.vllm_environment import python_of_vllm
from tests.support.vllm_server import VLLMServer

pytestmark = pytest.mark.slow

TOKENS = 12
LIMITS = ("--max-model-len", "1024", "--max-num-seqs", "8")


@pytest.fixture(scope="module")
def python() -> Path:
    """Of an environment with vLLM."""
    try:
        return python_of_vllm()
    except RuntimeError as error:
        pytest.skip(f"vLLM cannot be installed here: {error}")


def made(folder: Path, fusion: str) -> Path:
    """Whisper base's encoder and SmolLM2 with a projection that nobody trained."""
    parts = {"language_model": str(weights.smollm2()), "encoder": str(weights.whisper_base())}
    part = ModelPart.model_validate({**parts, "chat_template": "plain", "config": {"fusion": fusion}})
    save_model(folder, *load_model(part, 0))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("vllm") / "model", "splice")


@pytest.fixture(scope="module")
def loaded(model: Path) -> Any:
    return generation.load(str(model), precision="fp32")


@pytest.fixture(scope="module")
def server(python: Path, model: Path) -> Iterator[VLLMServer]:
    with vllm_server.serving(python, model, model.parent / "vllm.log", *LIMITS) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: VLLMServer) -> Any:
    """OpenAI's own."""
    import openai

    return openai.OpenAI(base_url=server.url, api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory, clips: list[Clip]) -> Path:
    """A folder with recordings of 1.3 s, 4 s and 35 s, which is longer than the model's window."""
    folder = tmp_path_factory.mktemp("recordings")
    english = [audio.decode(str(clip.path))[0] for clip in clips if clip.language == "en"]
    soundfile.write(folder / "a.wav", english[0][:20_800], 16_000)
    pause = np.zeros(16_000, np.int16)
    longest = np.concatenate([part for sound in english * 4 for part in (sound, pause)])
    soundfile.write(folder / "b.flac", longest[-64_000:], 16_000)
    soundfile.write(folder / "long.wav", longest[: 35 * 16_000], 16_000)
    return folder


def alone(loaded: Any, conversation: Any, count: int = TOKENS) -> tuple[list[int], list[float], int]:
    """What ``generate`` gives: tokens, how far apart the two best logits of each were, the tokens of the prompt."""
    inputs = loaded.processor.batch([conversation])
    out = loaded.model.generate(
        **inputs, max_new_tokens=count, do_sample=False, output_scores=True, return_dict_in_generate=True
    )
    best = [scores[0].topk(2).values for scores in out.scores]
    return out.sequences[0].tolist(), [float(a - b) for a, b in best], int(inputs["input_ids"].shape[1])


def text_alone(loaded: Any, conversation: Any, count: int = TOKENS) -> str:
    return str(loaded.processor.decode(alone(loaded, conversation, count)[0], skip_special_tokens=True))


def wav_of(path: Path) -> str:
    """A recording as a part of a chat has it."""
    file = io.BytesIO()
    soundfile.write(file, audio.decode(str(path))[0], 16_000, format="WAV", subtype="PCM_16")
    return base64.b64encode(file.getvalue()).decode()


def generated(*words: Any, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["generate", *map(str, words)])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def test_rows_have_the_tokens_of_generate(server, loaded, recordings, clips: list[Clip]):
    ask = loaded.processor.instruction
    sounds = [*(str(path) for path in sorted(recordings.iterdir())), *(str(clip.path) for clip in clips[:3])]
    conversations = [ask(TRANSCRIBE, [one]) for one in sounds]
    conversations.append(ask("<audio> or <audio>?", sounds[:2]))
    conversations.append(ask("<audio>, <audio> and <audio>: which is longest?", [sounds[0], sounds[2], sounds[4]]))
    conversations.append(ask("Is there no audio?", []))
    engine = Engine(BACKENDS["vllm"].open(server.url, "MODEL", None), Limits(slots=8))
    handles = engine.run(Request(one, Sampling(max_new_tokens=TOKENS)) for one in conversations)
    different = 0
    for conversation, handle in zip(conversations, handles, strict=True):
        tokens, margins, prompt_tokens = alone(loaded, conversation)
        different += differs(handle.result().tokens, (tokens, margins))
        assert handle.result().prompt_tokens == prompt_tokens
    assert different <= 1


def test_a_row_that_is_cancelled_ends_and_the_next_is_answered(server, loaded, recordings):
    backend = BACKENDS["vllm"].open(server.url, "MODEL", None)
    engine = Engine(backend, Limits(slots=4))
    conversation = loaded.processor.instruction(TRANSCRIBE, [str(recordings / "a.wav")])
    running = engine.submit(Request(conversation, Sampling(max_new_tokens=400)))
    while not running.tokens:
        engine.step()
    running.cancel()
    (after,) = engine.run([Request(conversation, Sampling(max_new_tokens=3))])
    assert running.result().finish_reason == "cancelled" and len(running.tokens) < 400
    assert len(after.result().tokens) == 3


def test_openais_client_gets_transcripts(client, loaded, recordings):
    name = client.models.list().data[0].id
    path = recordings / "b.flac"
    wanted = text_alone(loaded, loaded.processor.instruction(TRANSCRIBE, [str(path)])).strip()
    limit = {"max_completion_tokens": TOKENS}

    def asked(**options: Any) -> Any:
        return client.audio.transcriptions.create(file=path, model=name, temperature=0.0, extra_body=limit, **options)

    assert asked().text.strip() == wanted
    pieces = [choice["delta"].get("content") for event in asked(stream=True) for choice in event.choices]
    assert len(pieces) > 2 and "".join(piece or "" for piece in pieces).strip() == wanted
    with open(recordings / "long.wav", "rb") as file:
        longest = client.audio.transcriptions.create(file=file, model=name, temperature=0.0, extra_body=limit)
    assert longest.text.strip() and longest.usage.seconds == 35


def test_what_a_transcript_cannot_have_is_refused_by_name(client, recordings):
    import openai

    name = client.models.list().data[0].id
    with pytest.raises(openai.APIStatusError, match="no text before a transcript"):
        client.audio.transcriptions.create(file=recordings / "a.wav", model=name, prompt="Names: Ann")
    with pytest.raises(openai.APIStatusError, match="a translation as a chat"):
        client.audio.translations.create(file=recordings / "a.wav", model=name)


def test_openais_client_chats_about_several_audios(client, loaded, recordings):
    name = client.models.list().data[0].id
    paths = [recordings / "a.wav", recordings / "b.flac"]
    parts = [{"type": "input_audio", "input_audio": {"data": wav_of(path), "format": "wav"}} for path in paths]
    content = [parts[0], {"type": "text", "text": " or "}, parts[1], {"type": "text", "text": "?"}]
    audios = [{"type": "audio", "audio": str(path)} for path in paths]
    local = [audios[0], content[1], audios[1], content[3]]
    wanted = text_alone(loaded, [{"role": "user", "content": local}])
    asked = {
        "model": name,
        "max_tokens": TOKENS,
        "temperature": 0.0,
        "messages": [{"role": "user", "content": content}],
    }
    whole = client.chat.completions.create(**asked)
    assert whole.choices[0].message.content == wanted
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert "".join(one.choices[0].delta.content or "" for one in chunks if one.choices) == wanted
    assert chunks[-1].usage == whole.usage and whole.usage.completion_tokens == TOKENS


def test_the_command_answers_as_without_vllm(server, model, recordings, tiny_en, tmp_path):
    inputs = [recordings / "a.wav", recordings]
    for options in (
        ["--json"],
        ["--json", "--words", "--whisper", tiny_en, "--language", "en"],
        ["--json", "--no-cut", "--text", "Who <audio> is it?"],
        [],
    ):
        limit = [*options, "--max-new-tokens", TOKENS]
        ours = generated(model, *inputs, *limit, "--precision", "fp32")
        theirs = generated(server.url, *inputs, *limit, "--backend", "vllm")
        assert theirs.stdout == ours.stdout and ours.stdout.count("long.wav") == 1
        assert "not answered" not in theirs.stderr
    generated(server.url, recordings, "--srt", "--max-new-tokens", 4, "--backend", "vllm", "--out", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.srt", "b.srt", "long.srt"]


def test_what_vllm_does_not_do_is_refused_by_name(server, recordings):
    for options, code, reason in (
        (["--repetition-penalty", 1.2], 1, "repetition_penalty 1.2: a vLLM at an address computes it in another way"),
        (["--precision", "bf16"], 2, "start that vLLM with --dtype"),
        (["--max-new-tokens", 5000], 1, "max_tokens=5000 cannot"),
    ):
        result = generated(server.url, recordings / "a.wav", "--backend", "vllm", *options, code=code)
        assert reason in result.stderr


def test_a_server_that_dies_in_the_middle_is_named_and_nobody_waits(python, model, loaded, recordings, tmp_path):
    with vllm_server.serving(python, model, tmp_path / "vllm.log", *LIMITS) as dying:
        engine = Engine(BACKENDS["vllm"].open(dying.url, "MODEL", None), Limits(slots=4))
        engine.start()
        conversation = loaded.processor.instruction(TRANSCRIBE, [str(recordings / "b.flac")])
        handles = [engine.submit(Request(conversation, Sampling(max_new_tokens=800))) for _ in range(6)]
        deadline = time.monotonic() + 120
        while not all(handle.tokens for handle in handles[:4]) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert all(handle.tokens for handle in handles[:4])
        dying.kill()
        for handle in handles:
            with pytest.raises(LLaSOError, match=dying.url):
                handle.result(60)
        closing = threading.Thread(target=engine.close)
        closing.start()
        closing.join(30)
        assert not closing.is_alive() and engine.decoding == 0 and engine.waiting == 0
        gone = generated(dying.url, recordings / "a.wav", "--backend", "vllm", code=2)
        assert f"nothing at {dying.url}" in gone.stderr


def test_another_model_than_ours_is_refused(python, recordings, tmp_path):
    with vllm_server.serving(python, weights.smollm2(), tmp_path / "vllm.log", *LIMITS) as other:
        result = generated(other.url, recordings / "a.wav", "--backend", "vllm", code=2)
    assert "model_type is 'llama', not 'llaso'" in result.stderr


def test_cross_attention_is_refused_with_the_reason(python, tmp_path):
    folder = made(tmp_path / "model", "cross_attention")
    with vllm_server.launched(python, folder, tmp_path / "vllm.log", *LIMITS) as refused:
        assert refused.process.wait(vllm_server.START_S) != 0
    assert "layers attend to speech in between" in refused.log.read_text()
