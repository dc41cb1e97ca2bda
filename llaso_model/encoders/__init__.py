"""Speech encoders: log-mel frames of any length to states. Each kind is a module here that registers itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llaso_data.errors import LLaSOError
from llaso_data.registry import Registry

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True, slots=True)
class Encoder:
    """A kind of speech encoder. Its name in the table is the ``model_type`` of its configuration.

    Attributes:
        config_class: Subclass of transformers' PreTrainedConfig with ``num_mel_bins`` and ``hidden_size``, the width
            of the states. Its defaults, or what a recipe says under ``model.config.audio_config``, give a new encoder.
        build: Makes the module of a configuration. Its forward takes log-mel frames (B, mels, T) at 100 frames a
            second, how many of each are valid (B,), and ``tail``, how many frames after those are read with them. It
            returns states (B, S, width) and how many of each are valid (B,). A clip's states must not depend on the
            other clips of its batch.
        states_of: How many states the encoder gives for so many frames; (frames, configuration), ints or tensors.
        features: Makes the feature extractor of a configuration: samples at 16 kHz to log-mel frames.
        blocks: The repeated blocks of the module. Each is compiled, sharded, and placed on one device by itself.
        pretrained: The weights of a checkpoint by their names in the module; (key of the recipe for messages, model
            as the user named it, its local folder, dtype or None: float32). None: trained from scratch only.
    """

    config_class: Any
    build: Callable[[Any], nn.Module]
    states_of: Callable[[Any, Any], Any]
    features: Callable[[Any], Any]
    blocks: Callable[[Any], Iterable[nn.Module]]
    pretrained: Callable[[str, str, str, torch.dtype | None], dict[str, torch.Tensor]] | None = None


ENCODERS: Registry[Encoder] = Registry("encoder", __name__, "llaso.encoders")

PRETRAINED = "whisper"
"""The encoder of a configuration without a ``model_type``."""
FROM_SCRATCH = "llaso_resnet"
"""The encoder of a training recipe that names none."""


def encoder_weights(
    key: str, model: str, folder: str, config: Any, dtype: torch.dtype | None = None
) -> dict[str, torch.Tensor]:
    """The weights of an encoder's checkpoint, by their names in the module of its kind.

    Args:
        key: Key of the recipe, for messages.
        model: The checkpoint as the user named it, for messages.
        folder: Its local folder.
        config: Its configuration.
        dtype: Of the weights; None: float32.

    Raises:
        LLaSOError: The checkpoint is damaged, or of a kind of encoder that has none.
    """
    load = ENCODERS[config.model_type].pretrained
    if load is None:
        raise LLaSOError(f"{key}: {model}: an encoder {config.model_type} is trained from scratch, not loaded")
    return load(key, model, folder, dtype)


def loadable_encoders() -> tuple[str, ...]:
    """The ``model_type`` of every encoder that is loaded from a checkpoint."""
    return tuple(name for name, encoder in ENCODERS.items() if encoder.pretrained is not None)
