"""Reconstruction: log-mel frames of clips from the hidden states of their texts alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from llaso_model.modeling.speech_decoder import CONFIG_FILE, WEIGHTS_FILE, SpeechDecoder, SpeechDecoderConfig
from llaso_model.train.collate import ReconstructionTargets
from llaso_model.train.losses import LOSSES, Loss, LossSums, folder_of

if TYPE_CHECKING:
    from llaso_model.train.collate import TrainBatch
    from llaso_model.train.config import TrainRecipe
    from llaso_model.train.module import TrainingModule

_ONE_WORD = ReconstructionTargets.of([(0, [[0]], [0, 1, 0])])  # a word of one frame


class Reconstruction(Loss):
    """The speech decoder's loss, summed over frames and mels."""

    name = "reconstruction"
    order = 40
    needs = frozenset(("reconstruction",))
    reaches_speech = False
    module_name = "decoder"

    @property
    def files(self) -> tuple[str, ...]:
        """Its weights and its sizes."""
        return WEIGHTS_FILE, CONFIG_FILE

    def module(self, model: Any, recipe: TrainRecipe) -> SpeechDecoder:
        """The speech decoder of the model to start from, else a new one."""
        folder = folder_of(CONFIG_FILE, model.name_or_path)
        if recipe.model.start is not None and (folder / CONFIG_FILE).exists():
            return SpeechDecoder.load(folder)
        mels, sizes = model.config.audio_config.num_mel_bins, recipe.model.speech_decoder.model_dump()
        return SpeechDecoder(SpeechDecoderConfig(model.config.hidden_size, mels, **sizes))

    def save(self, module: nn.Module, folder: Path) -> None:
        """Weights and sizes."""
        assert isinstance(module, SpeechDecoder)
        module.save(folder)

    def restore(self, module: nn.Module, folder: str) -> None:
        """Does nothing: :meth:`module` has read the weights with their sizes."""

    def counts(self, batch: TrainBatch) -> dict[str, float]:
        """Frames times mels."""
        if batch.reconstruction is None:
            return {}
        return {self.name: int(batch.reconstruction.frames.sum()) * batch.inputs["input_features"].shape[1]}

    def sums(
        self, module: TrainingModule, batch: TrainBatch, speech: torch.Tensor | None, targets: Any
    ) -> LossSums | None:
        """See :meth:`Loss.sums`."""
        if batch.reconstruction is None:
            return None
        return LossSums(_loss(module, batch.reconstruction, batch.inputs["input_features"]))

    def idle(self, module: TrainingModule, silence: torch.Tensor) -> torch.Tensor:
        """The loss of a word of one frame."""
        return _loss(module, _ONE_WORD.to(silence.device), silence)


def _loss(module: TrainingModule, reconstruction: ReconstructionTargets, features: torch.Tensor) -> torch.Tensor:
    decoder = module.model.language_model.get_decoder()
    with torch.set_grad_enabled(torch.is_grad_enabled() and any(p.requires_grad for p in decoder.parameters())):
        states = decoder(input_ids=reconstruction.ids, use_cache=False).last_hidden_state
    speech_decoder: Any = module.decoder
    with torch.autocast(states.device.type, enabled=False):
        mels = features[reconstruction.windows].float()
        loss: torch.Tensor = speech_decoder.loss(states.float(), reconstruction.slots, reconstruction.frames, mels)
    return loss


LOSSES.register(Reconstruction.name, Reconstruction())
