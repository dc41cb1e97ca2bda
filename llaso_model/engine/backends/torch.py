"""The backend that computes with torch, on this machine: any LLaSO model, both fusions."""

from __future__ import annotations

import os
from typing import Any

import torch

from llaso_data.io.hub import checkpoint, loading, pretrained
from llaso_model.engine.backends import BACKENDS, BackendKind
from llaso_model.engine.backends.flat_reader import FlatModel, FlatReader, flat_model
from llaso_model.engine.backends.local import LocalBackend, Reader
from llaso_model.engine.backends.padded_reader import PaddedReader
from llaso_model.processing import LLaSOProcessor

_HUGE_PAGES = "THP_MEM_ALLOC_ENABLE", "1"
"""Has PyTorch ask for huge pages where a tensor has 2 MiB or more (Linux): caches grow with far fewer page faults.
It is read once, at the first such tensor."""
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchBackend(LocalBackend):
    """Rows of a model on its device.

    On CPUs, models of plain layers are read without any padding (:class:`FlatReader`). Else each prompt is
    read by itself, on a GPU together with others of like length, and rows are decoded together where the language model
    attends to all that came before (no sliding windows, no recurrent states), else one by one (:class:`PaddedReader`).

    Args:
        model: In evaluation mode.
        processor: The model's.
        padding: How much more a padded batch of prompts may cost than they do; None: as the device says.
        flat: What :func:`flat_model` made of the model; None: it is read with padding.
    """

    def __init__(
        self, model: Any, processor: LLaSOProcessor, padding: float | None = None, flat: FlatModel | None = None
    ) -> None:
        reader: Reader = PaddedReader(model, padding) if flat is None else FlatReader(model, flat)
        super().__init__(reader, processor, model.config, model.generation_config, model.device)
        self.model = model


def load(name: str, key: str, precision: str | None, device: torch.device | None = None) -> tuple[Any, LLaSOProcessor]:
    """Loads a LLaSO model for generation, with its processor; see :func:`llaso_model.generation.load`."""
    import transformers

    from llaso_model.device import own_device
    from llaso_model.modeling.llaso import LLaSOForConditionalGeneration
    from llaso_model.registration import register

    register()
    os.environ.setdefault(*_HUGE_PAGES)
    transformers.utils.logging.disable_progress_bar()
    device = device or own_device()
    dtype = _DTYPES[precision or ("bf16" if device.type == "cuda" else "fp32")]
    folder = checkpoint(key, name, None, kind="llaso")
    model = pretrained(LLaSOForConditionalGeneration, key, folder, folder, dtype=dtype).to(device).eval()
    with loading(key, folder):
        processor = LLaSOProcessor.from_pretrained(folder)
    model.stop_at(processor.stop_tokens())  # a model saved by an earlier version may not know them
    return model, processor


def _open(name: str, key: str, precision: str | None) -> TorchBackend:
    model, processor = load(name, key, precision)
    return TorchBackend(model, processor, flat=flat_model(model))


BACKENDS.register("torch", BackendKind(open=_open))
