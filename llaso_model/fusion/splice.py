"""Splice: speech embeddings replace the audio tokens of the text."""

from __future__ import annotations

from collections.abc import Sequence
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
    """An MLP that projects ``stack`` states at a time to one embedding, which replaces an audio token of the text."""

    def __init__(self, config: LLaSOConfig) -> None:
        super().__init__()
        self.layers: list[int] = []  # numbers of the language model's layers in which text attends to speech
        self.stack = config.stack
        inner = config.projector_size or config.hidden_size
        self.projector = nn.Sequential(
            nn.Linear(config.stack * config.audio_config.hidden_size, inner),
            ACT2FN[config.projector_act],
            nn.Linear(inner, config.hidden_size),
        )

    def forward(self, states_BSW: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Projects encoder states to speech embeddings.

        Args:
            states_BSW: States of B windows.
            lengths: How many states of each are valid (B,).

        Returns:
            Embeddings of all windows, one after the other: (N, width of the language model).
        """
        states_BSW = states_BSW[:, : int(lengths.max())]
        batch, count, width = states_BSW.shape
        states_BSW = states_BSW * valid_positions(lengths, count)[..., None].to(states_BSW.dtype)
        stacked = nn.functional.pad(states_BSW, (0, 0, 0, -count % self.stack)).reshape(batch, -1, self.stack * width)
        is_valid = valid_positions(self.counts(lengths), stacked.shape[1])
        embeddings: torch.Tensor = self.projector(stacked[is_valid])
        return embeddings

    def counts(self, lengths: torch.Tensor) -> torch.Tensor:
        """How many embeddings windows of so many states (A,) give."""
        return -(-lengths // self.stack)

    def merge_embeddings(
        self, embeds_BTW: torch.Tensor, is_audio_BT: torch.Tensor, speech: torch.Tensor | None
    ) -> torch.Tensor:
        """The embeddings that enter the language model.

        Args:
            embeds_BTW: Embeddings of the text.
            is_audio_BT: True at its audio tokens.
            speech: Embeddings of all windows (N, W), as :meth:`forward` returns them; None: there is none.

        Raises:
            ValueError: There are not as many audio tokens as embeddings of speech.
        """
        if speech is None:
            return embeds_BTW
        if int(is_audio_BT.sum()) != len(speech):
            raise ValueError(f"{int(is_audio_BT.sum())} audio tokens in the text, but {len(speech)} of speech")
        return embeds_BTW.masked_scatter(is_audio_BT[..., None], speech.to(embeds_BTW.dtype))

    def attach(self, language_model: Any) -> None:
        """Installs hooks in the layers of a language model. Called whenever the model gets another language model."""

    def encode_audio(
        self,
        speech: torch.Tensor,
        state_counts: torch.Tensor,
        audio_rows: torch.Tensor | None,
        is_audio_BT: torch.Tensor,
        text_BT: torch.Tensor | None,
        is_answer_BT: torch.Tensor | None,
    ) -> EncodedAudio | None:
        """The speech that the language model's layers attend to, beside the text; None: they attend to text only.

        Args:
            speech: Embeddings of all windows (N, W), as :meth:`forward` returns them.
            state_counts: How many states the encoder gave for each window (A,).
            audio_rows: The row of the batch that each window belongs to (A,).
            is_audio_BT: True at the text's audio tokens.
            text_BT: False at padding; None: there is none.
            is_answer_BT: True where the assistant speaks, which earlier speech must not attend to; None: nowhere.

        Raises:
            ValueError: The windows do not match the audio tokens.
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
        """As :meth:`encode_audio` in a forward of ``generate``, for speech that was encoded before the first forward.

        Args:
            speech_BSW: Speech of each row, padded.
            positions_BS: Positions of its audio tokens in the text.
            inputs_embeds: Embeddings of the text of this forward (B, T, W).
            attention_mask: Of the text (B, T); None: there is no padding.
            is_answer_BT: As :meth:`encode_audio` takes it.
            past: The language model's cache; None: there is none.
        """
        return None

    def row_states(self, encoded: EncodedAudio | None, rows: int) -> list[Any]:
        """What each row of a batch of prompts keeps of its speech, for the tokens that follow.

        Args:
            encoded: The speech of the forward that read the prompts.
            rows: How many rows the batch has.

        Returns:
            Something for each row that :meth:`join_rows` takes; None: text attends to no speech.
        """
        return [None] * rows

    def join_rows(self, states: Sequence[Any]) -> Any:
        """The speech of a step in which rows of several prompts are decoded together, for :meth:`attending_to`.

        Args:
            states: Of :meth:`row_states`, for each row of the step.
        """
        return None

    def attending_to(self, encoded: Any) -> AbstractContextManager[None]:
        """While the context lasts, the language model's layers attend to this speech."""
        return nullcontext()

    def end_generation(self) -> None:
        """Drops the state that is kept from one forward of ``generate`` to the next."""


FUSIONS.register("splice", Fusion(Splice))
