"""Load a model and generate answers. Evaluation, validation during training and the demo all use this.

loaded = load("runs/instruct/model")
loaded.answer([[{"role": "user", "content": [{"type": "audio", "audio": samples}]}]], max_new_tokens=60)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llaso_data.io.hub import checkpoint, loading, pretrained
from llaso_model.chat_format import Message
from llaso_model.processing import LLaSOProcessor

if TYPE_CHECKING:
    import torch

PRECISIONS = ("fp32", "bf16", "fp16")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in evaluation mode on a device, with its processor."""

    model: Any
    processor: LLaSOProcessor

    def answer(self, conversations: Sequence[Sequence[Message]], **settings: Any) -> list[str]:
        """The model's answer to each conversation; see :func:`answers`."""
        return answers(self.model, self.processor, conversations, **settings)

    def transcribe(self, audios: Sequence[Any], **settings: Any) -> list[str]:
        """A transcript of each audio (a path, bytes or samples). ``settings`` are those of ``generate``."""
        return texts_of(self.model, self.processor, self.processor(audio=list(audios)), **settings)

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
        precision: One of :data:`PRECISIONS`; None: bf16 on a GPU, else fp32.
        device: None: this process's GPU, else the CPU.

    Returns:
        The model in evaluation mode. It stops where its chat template ends a turn.

    Raises:
        LLaSOError: There is no such model, or it is damaged or of another kind.
    """
    import torch
    import transformers

    from llaso import LLaSOModel
    from llaso_model.device import own_device

    transformers.utils.logging.disable_progress_bar()
    device = device or own_device()
    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    dtype = dtypes[precision or ("bf16" if device.type == "cuda" else "fp32")]
    folder = checkpoint(key, name, None, kind="llaso")
    model = pretrained(LLaSOModel, key, folder, folder, dtype=dtype).to(device).eval()
    with loading(key, folder):
        processor = LLaSOProcessor.from_pretrained(folder)
    model.stop_at(processor.stop_tokens())  # a model saved by an earlier version may not know them
    return LoadedModel(model, processor)


def answers(
    model: Any, processor: LLaSOProcessor, conversations: Sequence[Sequence[Message]], **settings: Any
) -> list[str]:
    """The model's answer to each conversation, without sampling.

    Args:
        model: On its device, in evaluation mode.
        processor: The model's.
        conversations: Messages whose audio parts hold samples at 16 kHz.
        settings: Those of ``generate``, such as ``max_new_tokens``.

    Returns:
        A text for each conversation, without special tokens.
    """
    return texts_of(model, processor, processor.batch(conversations), **settings)


def texts_of(model: Any, processor: LLaSOProcessor, inputs: Mapping[str, Any], **settings: Any) -> list[str]:
    """The model's answers to inputs that the processor made; ``settings`` are those of ``generate``."""
    out = model.generate(**inputs.to(model.device), do_sample=False, **settings)  # type: ignore[attr-defined]
    texts: list[str] = processor.batch_decode(out, skip_special_tokens=True)
    return texts
