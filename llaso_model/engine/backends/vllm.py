"""The backend of a running vLLM, which serves the model at an address; vLLM batches, and tokens come as it has them."""

from __future__ import annotations

import base64
import io
import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llaso_data.audio import SAMPLE_RATE_HZ
from llaso_data.errors import LLaSOError
from llaso_data.io.hub import checkpoint, loading
from llaso_data.io.openai_client import client_of
from llaso_model.chat_format import Message, audio_of, is_audio
from llaso_model.configuration import LLaSOConfig
from llaso_model.engine.backends import BACKENDS, BackendKind
from llaso_model.engine.requests import Details, Request, Sampling
from llaso_model.engine.sampling import stop_tokens
from llaso_model.processing import LLaSOProcessor
from llaso_model.sounds import InputError, samples

_TIMEOUT_S = 600.0
_WAIT_S = 0.05  # for the next token of any row
_OTHER_PROMPT = (
    "this vLLM writes the conversation in another way than the model was trained with; start it with "
    "--chat-template-content-format string, and with the version of LLaSO that is used here"
)
_NEUTRAL = {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0}


@dataclass(frozen=True, slots=True)
class VLLMPrompt:
    """A conversation in OpenAI's form.

    Attributes:
        messages: As the address takes them.
        sampling: The request's.
        ids: Token ids of the prompt, those that stand for audio among them.
    """

    messages: Sequence[Message]
    sampling: Sampling
    ids: Sequence[int]

    @property
    def tokens(self) -> int:
        """How many they are."""
        return len(self.ids)


@dataclass(slots=True)
class _Row:
    """A request that the address answers.

    Attributes:
        tokens: Those that came and were not taken yet.
        ended: Why no more come; None: more may come.
        stream: The open response; None: not yet.
        is_retired: Nobody waits for the rest.
    """

    tokens: deque[int] = field(default_factory=deque)
    ended: Exception | None = None
    stream: Any = None
    is_retired: bool = False

    def take(self) -> list[int]:
        """The tokens that came."""
        return [self.tokens.popleft() for _ in range(len(self.tokens))]


class VLLMBackend:
    """Rows that a running vLLM decodes.

    Args:
        client: OpenAI's client, for the address, and the headers of its requests.
        name: The model's name there.
        processor: The model's, for prompts' lengths and for text.
        config: The model's configuration.
        generation_config: The model's.
    """

    def __init__(
        self, client: tuple[Any, dict[str, Any]], name: str, processor: Any, config: Any, generation_config: Any
    ) -> None:
        self._client, self._headers = client
        self._name, self.processor, self.config = name, processor, config
        self.stop_tokens = stop_tokens(generation_config)
        self._penalties = {name: getattr(generation_config, name, None) for name in _NEUTRAL}
        self._rows: dict[int, _Row] = {}
        self._came = threading.Event()

    def prepare(self, request: Request) -> VLLMPrompt:
        """See :meth:`Backend.prepare`. Penalties are refused: vLLM's count the prompt, ours do not."""
        if request.begun:
            raise InputError("a vLLM at an address cannot go on with an answer that was begun")
        for name, neutral in _NEUTRAL.items():
            asked = getattr(request.sampling, name)
            if (value := self._penalties[name] if asked is None else asked) not in (None, neutral):
                raise InputError(f"{name} {value}: a vLLM at an address computes it in another way; ask for {neutral}")
        ids = self.processor.prompt_ids(request.conversation)
        messages = [{**message, "content": _content(message["content"])} for message in request.conversation]
        return VLLMPrompt(messages, request.sampling, ids)

    def admit(self, prompts: Mapping[int, VLLMPrompt]) -> None:
        """See :meth:`Backend.admit`. Each prompt is sent in a thread of its own, which then reads the answer."""
        for slot, prompt in prompts.items():
            row = self._rows[slot] = _Row()
            threading.Thread(target=self._read, args=(row, prompt), name="llaso-vllm", daemon=True).start()

    def step(self, slots: Sequence[int]) -> dict[int, list[int]]:
        """See :meth:`Backend.step`. Waits a while for the first token of any row.

        Raises:
            LLaSOError: A row has ended without a token or limit that ends its answer. The engine asks again, for fewer.
        """
        rows = {slot: self._rows[slot] for slot in slots}
        self._came.clear()
        if not any(row.ended or row.tokens for row in rows.values()):
            self._came.wait(_WAIT_S)
        for row in rows.values():
            if row.ended is not None and not row.tokens:  # in this order: what ends a row comes after its tokens
                raise row.ended
        return {slot: row.take() for slot, row in rows.items()}

    def retire(self, slots: Iterable[int]) -> None:
        """See :meth:`Backend.retire`. Closes the connection, upon which vLLM drops a request that is not answered."""
        for slot in slots:
            if (row := self._rows.pop(slot, None)) is not None:
                row.is_retired = True
                if row.stream is not None:
                    row.stream.close()

    def details(self, slot: int, count: int) -> Details:
        """See :meth:`Backend.details`. The address tells nothing of them."""
        return Details()

    def decode(self, tokens: Sequence[int]) -> str:
        """See :meth:`Backend.decode`."""
        text: str = self.processor.decode(list(tokens), skip_special_tokens=True)
        return text

    def _read(self, row: _Row, prompt: VLLMPrompt) -> None:
        try:
            row.stream = self._client.chat.completions.create(
                model=self._name,
                messages=prompt.messages,
                stream=True,
                extra_headers=self._headers,
                **_settings(prompt.sampling),
            )
            for chunk in row.stream:
                if row.is_retired:
                    return
                if (asked := getattr(chunk, "prompt_token_ids", None)) is not None and asked != prompt.ids:
                    raise LLaSOError(_OTHER_PROMPT)
                row.tokens.extend(token for one in chunk.choices for token in getattr(one, "token_ids", None) or ())
                self._came.set()
            row.ended = LLaSOError(f"the address ended an answer of {self._name} before a token or limit did")
        except Exception as error:
            row.ended = LLaSOError(f"{self._client.base_url}: {error}")
        finally:
            self._came.set()
            if row.stream is not None:
                row.stream.close()


def _settings(sampling: Sampling) -> dict[str, Any]:
    """Sampling parameters in the words of vLLM. The engine looks for stop strings itself."""
    settings: dict[str, Any] = {
        "max_tokens": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "extra_body": {"top_k": sampling.top_k or -1, "repetition_penalty": 1.0, "return_token_ids": True},
    }
    return settings if sampling.seed is None else {**settings, "seed": sampling.seed}


def _content(content: Any) -> Any:
    return content if isinstance(content, str) else [_part(part) for part in content]


def _part(part: Message) -> Message:
    """A part of a message in OpenAI's form; audio of any form becomes a WAV file."""
    if not is_audio(part):
        return {"type": "text", "text": part["text"]}
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples(audio_of(part)), SAMPLE_RATE_HZ, format="WAV", subtype="FLOAT")
    data = base64.b64encode(file.getvalue()).decode()
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}


def _open(name: str, key: str, precision: str | None) -> VLLMBackend:
    """The backend of an address.

    Args:
        name: The address, mostly ending in ``/v1``.
        key: What errors call it.
        precision: None: that of the address; others are refused.

    Raises:
        LLaSOError: Nothing answers there, or the model that it serves is not at hand here, for its tokenizer.
    """
    from transformers import GenerationConfig

    from llaso_model.registration import register

    if precision is not None:
        raise LLaSOError(f"precision: {name} has its own; start that vLLM with --dtype")
    register()
    client = client_of(name, None, 1, _TIMEOUT_S, "a vLLM at an address")
    try:
        served = client[0].models.list(extra_headers=client[1]).data[0]
    except Exception as error:
        raise LLaSOError(f"{key}: nothing at {name} that speaks as OpenAI's servers do ({error})") from error
    root = getattr(served, "root", None) or served.id
    folder = checkpoint(key, root, None, kind="llaso")
    with loading(key, folder):
        processor = LLaSOProcessor.from_pretrained(folder)
        config = LLaSOConfig.from_pretrained(folder)
        generation = GenerationConfig.from_pretrained(folder)
    return VLLMBackend(client, served.id, processor, config, generation)


BACKENDS.register("vllm", BackendKind(open=_open))
