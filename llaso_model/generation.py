"""Load a model and generate answers. Evaluation, validation during training and the demo all use this.

loaded = load("runs/instruct/model")
loaded.answer([[{"role": "user", "content": [{"type": "audio", "audio": samples}]}]], max_new_tokens=60)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from llaso_model.chat_format import Message
from llaso_model.processing import TRANSCRIBE, LLaSOProcessor

if TYPE_CHECKING:
    import torch

    from llaso_model.engine.backends.flat_reader import FlatModel
    from llaso_model.engine.engine import Engine, Limits


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode on a device, with its processor. Its weights stay as they are."""

    model: Any
    processor: LLaSOProcessor

    def answer(self, conversations: Sequence[Sequence[Message]], **settings: Any) -> list[str]:
        """The model's answer to each conversation; see :func:`answers`."""
        return answers(self.model, self.processor, conversations, flat=self._flat, **settings)

    def transcribe(self, audios: Sequence[Any], **settings: Any) -> list[str]:
        """A transcript of each audio (a path, bytes or samples); for ``settings`` see :func:`answers`."""
        return self.answer([self.processor.instruction(TRANSCRIBE, [one]) for one in audios], **settings)

    def engine(self, limits: Limits | None = None) -> Engine:
        """An engine of its own, for requests that come one by one, stream, or are cancelled."""
        from llaso_model.engine.backends.torch import TorchBackend
        from llaso_model.engine.engine import Engine, Limits

        return Engine(TorchBackend(self.model, self.processor, flat=self._flat), limits or Limits())

    @cached_property
    def _flat(self) -> FlatModel | None:
        """The model's weights as engines read them; they are prepared once for all engines."""
        from llaso_model.engine.backends.flat_reader import flat_model

        return flat_model(self.model)

    def refusal(self, conversation: Sequence[Message]) -> str | None:
        """Why the language model's chat template refuses a conversation, such as for its roles; None: it does not."""
        from jinja2 import TemplateError

        try:
            self.processor.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
        except TemplateError as error:
            return f"the model's chat template refuses it: {error}"
        return None


def load(
    name: str, key: str = "MODEL", precision: str | None = None, device: torch.device | None = None
) -> LoadedModel:
    """Loads a LLaSO model for generation.

    Args:
        name: A folder, or an id on the hub.
        key: What errors call it, such as the option that named it.
        precision: ``fp32``, ``bf16`` or ``fp16``; None: bf16 on a GPU, else fp32.
        device: None: this process's GPU, else the CPU.

    Returns:
        The model in evaluation mode. It stops where its chat template ends a turn.

    Raises:
        LLaSOError: There is no such model, or it is damaged or of another kind.
    """
    from llaso_model.engine.backends.torch import load as load_parts

    return LoadedModel(*load_parts(name, key, precision, device))


def answers(
    model: Any,
    processor: LLaSOProcessor,
    conversations: Sequence[Sequence[Message]],
    flat: FlatModel | None = None,
    **settings: Any,
) -> list[str]:
    """The model's answer to each conversation.

    Without beams, an engine answers them in a running batch.

    Args:
        model: On its device, in evaluation mode.
        processor: The model's.
        conversations: Messages whose audio parts hold audio in any form that the processor takes.
        flat: What :func:`flat_model` made of the model; None: its own forward is used, as while it is trained.
        settings: Sampling parameters (:class:`Sampling`), or those of ``generate``.

    Returns:
        A text for each conversation, without special tokens.

    Raises:
        InputError: A conversation, its audio or a setting cannot be used.
    """
    from llaso_model.engine.backends.torch import TorchBackend
    from llaso_model.engine.engine import Engine, answers_of
    from llaso_model.engine.requests import Request, sampling_of
    from llaso_model.engine.sampling import unknown_values

    sampling = sampling_of(settings)
    if sampling is None or unknown_values(model.generation_config):
        return _padded_answers(model, processor, conversations, settings)
    engine = Engine(TorchBackend(model, processor, flat=flat))
    return [answer.text for answer in answers_of(engine.run(Request(one, sampling) for one in conversations))]


def _padded_answers(
    model: Any, processor: LLaSOProcessor, conversations: Sequence[Sequence[Message]], settings: Mapping[str, Any]
) -> list[str]:
    """The answers of ``generate`` to a padded batch, which has beams and takes part in the collectives of shards."""
    inputs = processor.batch(conversations).to(model.device)
    out = model.generate(**inputs, **{"do_sample": False, **settings})
    texts: list[str] = processor.batch_decode(out, skip_special_tokens=True)
    return texts
