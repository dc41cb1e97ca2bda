"""Gated cross-attention between text and speech, in some of the language model's layers.

Before such a layer speech attends to the instruction, then text attends to speech. Each adds the result of its
attention times the tanh of a gate that starts at 0. So an untrained fusion does not change the language model (as in
Flamingo, Alayrac et al. 2022, which has the direction from speech to text only). Text attends to the speech whose audio
token is before it. Speech attends to the text up to the next token of an answer, so that no answer leaks into earlier
positions, also in a conversation of several turns. In generation speech attends to the prompt once, and the updated
speech is kept for the tokens that follow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from llaso_model.fusion import FUSIONS, Fusion
from llaso_model.fusion.splice import Splice

if TYPE_CHECKING:
    from llaso_model.configuration import LLaSOConfig

NO_POSITION = 2**31 - 1


@dataclass(slots=True)
class EncodedAudio:
    """The speech of one forward, or of all forwards of one ``generate``.

    Attributes:
        speech: Embeddings (B, S, W).
        positions: Position of each embedding's audio token in the text (B, S), :data:`NO_POSITION` at padding.
        text: False at padding of the text (B, T).
        text_sees: Which speech each position of the text attends to (B, T, S), or (B, 1, S) for all of it.
        speech_sees: Which text each embedding of speech attends to (B, S, T); None: the prompt was read already.
        layers: The speech after each bridge (B, S, W), by the bridge's number.
    """

    speech: torch.Tensor
    positions: torch.Tensor
    text: torch.Tensor
    text_sees: torch.Tensor
    speech_sees: torch.Tensor | None
    layers: dict[int, torch.Tensor] = field(default_factory=dict)

    @property
    def is_speech(self) -> torch.Tensor:
        """False at padding of the speech (B, S)."""
        return self.positions != NO_POSITION


@dataclass(frozen=True, slots=True)
class RowSpeech:
    """The speech of rows whose prompts were read, as their text attends to it.

    Attributes:
        keys_values: For each bridge, for each row: keys and values (1, heads, S, size); None: the row has no speech.
    """

    keys_values: Sequence[Sequence[tuple[torch.Tensor, torch.Tensor] | None]]


class CrossAttention(Splice):
    """The projector of :class:`Splice`, and a bridge for every ``cross_attention_every``-th layer."""

    def __init__(self, config: LLaSOConfig) -> None:
        super().__init__(config)
        every, count = config.cross_attention_every, config.text_config.num_hidden_layers
        self.layers = [number for number in range(count) if (number + 1) % every == 0] or [count - 1]
        heads = config.text_config.num_attention_heads
        self.bridges = nn.ModuleList(_Bridge(config.hidden_size, heads) for _ in self.layers)
        self._attended: EncodedAudio | RowSpeech | None = None
        self._generated: EncodedAudio | None = None

    def attach(self, language_model: Any) -> None:
        """Installs a hook before each layer of the language model that has a bridge."""
        decoder_layers = language_model.get_decoder().layers
        for order, number in enumerate(self.layers):
            decoder_layers[number].register_forward_pre_hook(_BridgeHook(self, order), with_kwargs=True)

    def merge_embeddings(
        self, embeds_BTW: torch.Tensor, is_audio_BT: torch.Tensor, speech: torch.Tensor | None
    ) -> torch.Tensor:
        """The embeddings of the text, unchanged."""
        return embeds_BTW

    def encode_audio(
        self,
        speech: torch.Tensor,
        state_counts: torch.Tensor,
        audio_rows: torch.Tensor | None,
        is_audio_BT: torch.Tensor,
        text_BT: torch.Tensor | None,
        is_answer_BT: torch.Tensor | None,
    ) -> EncodedAudio:
        """Each row's speech, and which text it attends to. Arguments: see :meth:`Splice.encode_audio`."""
        if audio_rows is None:
            raise ValueError("audio_rows is needed: whose each window of speech is, as the processor gives it")
        padded, positions = self.pad_rows(speech, self.counts(state_counts), audio_rows, is_audio_BT)
        text = torch.ones_like(is_audio_BT) if text_BT is None else text_BT
        return _encode_audio(padded, positions, text, is_answer_BT)

    def encode_audio_in_generate(
        self,
        speech_BSW: torch.Tensor,
        positions_BS: torch.Tensor,
        inputs_embeds: torch.Tensor,
        attention_mask: torch.Tensor | None,
        is_answer_BT: torch.Tensor | None,
        past: Any,
    ) -> EncodedAudio:
        """The first forward of ``generate`` reads the prompt; later ones reuse the speech that it left."""
        if past is not None and past.get_seq_length() and self._generated is not None:
            self._generated.speech_sees, self._generated.text_sees = None, self._generated.is_speech[:, None, :]
            return self._generated
        text = torch.ones(inputs_embeds.shape[:2], dtype=torch.bool, device=inputs_embeds.device)
        if attention_mask is not None and attention_mask.dim() == 2:
            text = attention_mask.bool()
        self._generated = _encode_audio(speech_BSW, positions_BS, text, is_answer_BT)
        return self._generated

    def row_states(self, encoded: EncodedAudio | None, rows: int) -> list[Any]:
        """The keys and values of each row's speech for each bridge; see :meth:`Splice.row_states`."""
        if encoded is None:
            return [None] * rows
        states: list[Any] = []
        for row, count in enumerate(encoded.is_speech.sum(dim=1).tolist()):
            own = [encoded.layers[order][row : row + 1, :count] for order in range(len(self.bridges))]
            states.append([bridge.to_text.keys_values(speech) for bridge, speech in self._with(own)] if count else None)
        return states

    def _with(self, speech: Sequence[torch.Tensor]) -> Iterator[tuple[_Bridge, torch.Tensor]]:
        for bridge, one in zip(self.bridges, speech, strict=True):
            assert isinstance(bridge, _Bridge)
            yield bridge, one

    def join_rows(self, states: Sequence[Any]) -> RowSpeech | None:
        """See :meth:`Splice.join_rows`."""
        if all(state is None for state in states):
            return None
        return RowSpeech([[state and state[order] for state in states] for order in range(len(self.bridges))])

    @contextmanager
    def attending_to(self, encoded: EncodedAudio | RowSpeech | None) -> Iterator[None]:
        """While the context lasts, the language model's layers attend to this speech."""
        before, self._attended = self._attended, encoded
        try:
            yield
        finally:
            self._attended = before

    def end_generation(self) -> None:
        """Drops the speech of the prompt."""
        self._generated = None

    def pad_rows(
        self, speech: torch.Tensor, counts: torch.Tensor, audio_rows: torch.Tensor, is_audio: torch.Tensor
    ) -> Any:
        """Sorts the embeddings of all windows into the rows of the batch.

        Args:
            speech: Embeddings of all windows, one after the other (N, W).
            counts: How many belong to each window (A,).
            audio_rows: The row of each window (A,).
            is_audio: True at the audio tokens of the text (B, T), one for each window.

        Returns:
            Padded speech (B, S, W), and the positions of its audio tokens (B, S).

        Raises:
            ValueError: A row does not have as many audio tokens as windows.
        """
        rows = torch.repeat_interleave(audio_rows, counts)
        sizes = torch.bincount(rows, minlength=len(is_audio))
        if not torch.equal(torch.bincount(audio_rows, minlength=len(is_audio)), is_audio.sum(dim=1)):
            raise ValueError(
                "with cross-attention, each row's text has one audio token for each of its windows of speech"
            )
        order = torch.argsort(audio_rows, stable=True)  # windows in the order of their audio tokens
        token = torch.empty_like(audio_rows)
        token[order] = is_audio.nonzero()[:, 1]
        order = torch.argsort(rows, stable=True)
        column = torch.arange(len(rows), device=rows.device) - torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
        longest = max(1, int(sizes.max()) if len(rows) else 1)
        padded = speech.new_zeros(len(is_audio), longest, speech.shape[1])
        padded = padded.index_put((rows[order], column), speech[order])
        positions = torch.full((len(is_audio), longest), NO_POSITION, device=rows.device)
        positions[rows[order], column] = torch.repeat_interleave(token, counts)[order]
        return padded, positions

    def bridge_text(self, order: int, text_BTW: torch.Tensor) -> torch.Tensor:
        """The hidden states of the text (B, T, W) after the bridge of that number."""
        encoded = self._attended
        if encoded is None:
            return text_BTW
        bridge = self.bridges[order]
        assert isinstance(bridge, _Bridge)
        if isinstance(encoded, RowSpeech):
            return bridge.update_rows(text_BTW, encoded.keys_values[order])
        if encoded.speech_sees is not None:
            speech = encoded.layers[order - 1] if order else encoded.speech
            encoded.layers[order] = bridge.update_speech(speech, text_BTW, encoded.text, encoded.speech_sees)
        bridged: torch.Tensor = bridge.update_text(
            text_BTW, encoded.layers[order], encoded.is_speech, encoded.text_sees
        )
        return bridged


class _BridgeHook:
    """A hook before a layer. It refers to the fusion without registering it as a submodule of the layer."""

    def __init__(self, fusion: CrossAttention, order: int) -> None:
        self._fusion, self._order = fusion, order

    def __call__(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (self._fusion.bridge_text(self._order, args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": self._fusion.bridge_text(self._order, kwargs["hidden_states"])}


class _Bridge(nn.Module):
    """Gated attention in both directions before one layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.to_speech = _Attention(width, heads)
        self.to_text = _Attention(width, heads)
        self.speech_gate = nn.Parameter(torch.zeros(1))
        self.text_gate = nn.Parameter(torch.zeros(1))

    def update_speech(
        self, speech_BSW: torch.Tensor, text_BTW: torch.Tensor, is_text_BT: torch.Tensor, sees_BST: torch.Tensor
    ) -> torch.Tensor:
        attended = self.to_speech(speech_BSW, text_BTW, is_text_BT, sees_BST)
        updated: torch.Tensor = speech_BSW + torch.tanh(self.speech_gate).to(attended.dtype) * attended
        return updated

    def update_text(
        self, text_BTW: torch.Tensor, speech_BSW: torch.Tensor, is_speech_BS: torch.Tensor, sees_BTS: torch.Tensor
    ) -> torch.Tensor:
        return self._gated(text_BTW, self.to_text(text_BTW, speech_BSW, is_speech_BS, sees_BTS))

    def update_rows(
        self, text_BTW: torch.Tensor, keys_values: Sequence[tuple[torch.Tensor, torch.Tensor] | None]
    ) -> torch.Tensor:
        """As :meth:`update_text`, where each row attends to all of its own speech."""
        return self._gated(text_BTW, self.to_text.to_rows(text_BTW, keys_values))

    def _gated(self, text_BTW: torch.Tensor, attended_BTW: torch.Tensor) -> torch.Tensor:
        updated: torch.Tensor = text_BTW + (torch.tanh(self.text_gate) * attended_BTW).to(text_BTW.dtype)
        return updated


class _Attention(nn.Module):
    """Attention of one sequence to another with sinusoidal positions; zero where a position may attend to nothing."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.other_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(
        self, x_BTW: torch.Tensor, other_BSW: torch.Tensor, is_other_BS: torch.Tensor, sees_BTS: torch.Tensor
    ) -> torch.Tensor:
        x_BTW = x_BTW.to(self.query.weight.dtype)
        key, value = self._keys_values(other_BSW, is_other_BS.cumsum(dim=1))
        sees_BT1 = sees_BTS.any(dim=2, keepdim=True)
        attended = nn.functional.scaled_dot_product_attention(
            self._split(self.query(self.norm(x_BTW))),
            key,
            value,
            attn_mask=(sees_BTS | ~sees_BT1)[:, None],  # softmax over nothing would be NaN
        )
        joined = attended.transpose(1, 2).reshape(x_BTW.shape)
        out: torch.Tensor = self.out(joined) * sees_BT1
        return out

    def keys_values(self, other_1SW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values (1, heads, S, size) of the other sequence of one row, for :meth:`to_rows`."""
        return self._keys_values(other_1SW, torch.arange(1, other_1SW.shape[1] + 1, device=other_1SW.device)[None])

    def to_rows(
        self, x_BTW: torch.Tensor, keys_values: Sequence[tuple[torch.Tensor, torch.Tensor] | None]
    ) -> torch.Tensor:
        """Attention of each row to all of its own other sequence; zero where it has none."""
        x_BTW = x_BTW.to(self.query.weight.dtype)
        query = self._split(self.query(self.norm(x_BTW)))
        attended = torch.zeros_like(query)
        for row, own in enumerate(keys_values):
            if own is not None:
                attended[row : row + 1] = nn.functional.scaled_dot_product_attention(query[row : row + 1], *own)
        has_own = torch.tensor([own is not None for own in keys_values], device=x_BTW.device)[:, None, None]
        out: torch.Tensor = self.out(attended.transpose(1, 2).reshape(x_BTW.shape)) * has_own
        return out

    def _keys_values(self, other_BSW: torch.Tensor, position_BS: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        other_BSW = self.other_norm(other_BSW.to(self.query.weight.dtype))
        positioned = other_BSW + _sinusoidal_positions(position_BS, other_BSW.shape[2]).to(other_BSW)
        return self._split(self.key(positioned)), self._split(self.value(other_BSW))

    def _split(self, x_BTW: torch.Tensor) -> torch.Tensor:
        batch, count, _ = x_BTW.shape
        return x_BTW.view(batch, count, self.heads, -1).transpose(1, 2)


def _sinusoidal_positions(position_BS: torch.Tensor, width: int) -> torch.Tensor:
    """Sinusoidal position embeddings (Vaswani et al. 2017, section 3.5): (B, S, width)."""
    steps = torch.arange(0, width, 2, device=position_BS.device)
    rate = torch.exp(-steps / width * math.log(10_000.0))
    angle = position_BS[..., None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)[..., :width]


def _encode_audio(
    speech: torch.Tensor, positions: torch.Tensor, text: torch.Tensor, is_answer: torch.Tensor | None
) -> EncodedAudio:
    """Speech attends to the text up to the first answer after its audio token, or to all text where there is none."""
    is_speech, at = positions != NO_POSITION, torch.arange(text.shape[1], device=text.device)
    speech_sees = text[:, None, :] & is_speech[..., None]
    if is_answer is not None:
        count = text.shape[1]
        following = torch.where(is_answer, at, count).flip(1).cummin(dim=1).values.flip(1)
        speech_sees = speech_sees & (at < following.gather(1, positions.clamp(max=count - 1))[..., None])
    return EncodedAudio(speech, positions, text, positions[:, None, :] <= at[:, None], speech_sees)


FUSIONS.register("cross_attention", Fusion(CrossAttention, token_per_window=True, packs=False, compiles=False))
