"""Speech embeddings that stand in the text at its audio tokens."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers.activations import ACT2FN

from llaso_model.fusion import FUSIONS, Fusion
from llaso_model.masks import valid_positions

if TYPE_CHECKING:
    from llaso_model.configuration import LLaSOConfig
    from llaso_model.fusion.cross_attention import EncodedAudio


class Splice(nn.Module):
    """``stack`` states at a time through an MLP: embeddings that stand in the text at its audio tokens."""

    def __init__(self, config: LLaSOConfig) -> None:
        super().__init__()
        self.stack = config.stack
        inner = config.projector_size or config.hidden_size
        self.projector = nn.Sequential(
            nn.Linear(config.stack * config.audio_config.hidden_size, inner),
            ACT2FN[config.projector_act],
            nn.Linear(inner, config.hidden_size),
        )

    def forward(self, states_BSW: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The embeddings of all clips, one after the other: (sum of their tokens, width of the language model)."""
        states_BSW = states_BSW[:, : int(lengths.max())]
        batch, count, width = states_BSW.shape
        states_BSW = states_BSW * valid_positions(lengths, count)[..., None].to(states_BSW.dtype)
        stacked = nn.functional.pad(states_BSW, (0, 0, 0, -count % self.stack)).reshape(batch, -1, self.stack * width)
        own = valid_positions(self.counts(lengths), stacked.shape[1])
        found: torch.Tensor = self.projector(stacked[own])
        return found

    def counts(self, lengths: torch.Tensor) -> torch.Tensor:
        """How many embeddings windows of so many states give."""
        return -(-lengths // self.stack)

    def merge_embeddings(
        self, embeds_BTW: torch.Tensor, is_audio_BT: torch.Tensor, speech: torch.Tensor | None
    ) -> torch.Tensor:
        """What enters the language model.

        Args:
            embeds_BTW: Embeddings of the text.
            is_audio_BT: True at its audio tokens.
            speech: What :meth:`forward` gave for all windows (N, W); None for text alone.

        Raises:
            ValueError: There are not as many audio tokens as embeddings of speech.
        """
        if speech is None:
            return embeds_BTW
        if int(is_audio_BT.sum()) != len(speech):
            raise ValueError(f"{int(is_audio_BT.sum())} audio tokens in the text, but {len(speech)} of speech")
        return embeds_BTW.masked_scatter(is_audio_BT[..., None], speech.to(embeds_BTW.dtype))

    def attach(self, language_model: Any) -> None:
        """To be called whenever the model gets another language model: a fusion may have a part in its layers."""

    def encode_audio(
        self,
        speech: torch.Tensor,
        state_counts: torch.Tensor,
        audio_rows: torch.Tensor | None,
        is_audio_BT: torch.Tensor,
        text_BT: torch.Tensor | None,
        is_answer_BT: torch.Tensor | None,
    ) -> EncodedAudio | None:
        """The speech beside the text, where the language model's layers read it there; None where they do not.

        Args:
            speech: What :meth:`forward` gave for all windows (N, W).
            state_counts: How many states the encoder gave for each window (A,).
            audio_rows: Whose each window is (A,).
            is_audio_BT: True at the text's audio tokens.
            text_BT: False at padding; None: there is none.
            said_BT: What assistants say, which speech before it must not hear; None: nothing.

        Raises:
            ValueError: The windows and the audio tokens do not belong together.
        """
        return None

    def encode_audio_in_generate(
        self,
        speech_BSW: torch.Tensor,
        positions_BS: torch.Tensor,
        inputs_embeds: torch.Tensor,
        attention_mask: torch.Tensor | None,
        is_answer_BT: torch.Tensor | None,
        past: Any,
    ) -> EncodedAudio | None:
        """The same within ``generate``, which has read the speech already; see :meth:`heard`."""
        return None

    def attending_to(self, encoded: EncodedAudio | None) -> AbstractContextManager[None]:
        """While the context lasts, the language model's layers read this speech."""
        return nullcontext()

    def end_generation(self) -> None:
        """Forgets what is kept from one forward of ``generate`` to the next."""


FUSIONS.register("splice", Fusion(Splice))
