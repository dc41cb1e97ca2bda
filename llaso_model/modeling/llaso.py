"""The speech-language model: encoder, fusion and language model, with Hugging Face's ways of loading and generating."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from transformers import AutoModelForCausalLM, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from llaso_data.io.hub import pretrained
from llaso_model.configuration import IGNORED, MEL_FRAMES_PER_S, LLaSOConfig, states_of
from llaso_model.encoders import ENCODERS, encoder_weights
from llaso_model.fusion import FUSIONS
from llaso_model.fusion.cross_attention import EncodedAudio


class LLaSOForConditionalGeneration(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """Text and speech in, text out.

    ``input_ids`` have the audio token as often as the processor puts it there. ``generate`` returns new tokens only.
    """

    config_class = LLaSOConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    input_modalities = ("audio", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_attention_backend = True
    _skip_keys_device_placement: ClassVar[list[str]] = ["past_key_values"]

    def __init__(self, config: LLaSOConfig) -> None:
        super().__init__(config)
        self.audio_tower = ENCODERS[config.audio_config.model_type].build(config.audio_config)
        self.aligner = FUSIONS[config.fusion].build(config)
        self.language_model = AutoModelForCausalLM.from_config(config.text_config)
        self.aligner.attach(self.language_model)
        self.post_init()

    @classmethod
    def from_parts(cls, config: LLaSOConfig, encoder: str | None, language_model: str, **kwargs: Any) -> Any:
        """A model with the weights of an encoder and of a causal language model; its fusion is new.

        Where ``config.audio_token_id`` is new to the language model, its vocabulary grows by it.

        Args:
            config: The model's; its ``audio_config`` is the encoder checkpoint's.
            encoder: Folder of the encoder's checkpoint, such as Whisper's; None: as initialised.
            language_model: Folder of the language model's checkpoint.
            **kwargs: As ``from_pretrained`` of the language model takes them.

        Raises:
            LLaSOError: A checkpoint is damaged, or the kind of encoder has none.
        """
        model = cls(config)
        if encoder is not None:
            model.audio_tower.load_state_dict(encoder_weights("model.encoder", encoder, encoder, config.audio_config))
        model.language_model = pretrained(
            AutoModelForCausalLM, "model.language_model", language_model, language_model, **kwargs
        )
        if config.audio_token_id is not None and config.audio_token_id >= model.language_model.config.vocab_size:
            model.language_model.resize_token_embeddings(config.audio_token_id + 1, mean_resizing=False)
        model.aligner.attach(model.language_model)
        config.text_config = model.language_model.config
        model.generation_config = model.language_model.generation_config
        if config.audio_token_id is not None:
            model.generation_config.suppress_tokens = [config.audio_token_id]
        return model

    def get_input_embeddings(self) -> Any:
        """The language model's."""
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: Any) -> None:
        """Replaces the language model's."""
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> Any:
        """The language model's head."""
        return self.language_model.get_output_embeddings()

    def set_output_embeddings(self, value: Any) -> None:
        """Replaces the language model's head."""
        self.language_model.set_output_embeddings(value)

    def resize_token_embeddings(self, new_num_tokens: int | None = None, *args: Any, **kwargs: Any) -> Any:
        """Resizes the language model's embeddings and head to so many tokens; None: no change."""
        embeddings = self.language_model.resize_token_embeddings(new_num_tokens, *args, **kwargs)
        self.config.text_config = self.language_model.config
        return embeddings

    def stop_at(self, tokens: Iterable[int]) -> None:
        """Makes ``generate`` stop at these tokens, and at the language model's own end of text."""
        present = self.generation_config.eos_token_id
        own = [] if present is None else [present] if isinstance(present, int) else list(present)
        stops = list(dict.fromkeys([*own, *tokens]))
        self.generation_config.eos_token_id = stops[0] if len(stops) == 1 else stops or None

    def get_audio_features(
        self,
        input_features: torch.Tensor,
        feature_lengths: torch.Tensor | None = None,
        audio_rows: torch.Tensor | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Speech embeddings of all windows.

        Args:
            input_features: Log-mel frames of A windows (A, mels, T).
            feature_lengths: How many frames of each are valid (A,); None: all.
            audio_rows: Taken, so that all that the processor gives for audio can be given; it changes nothing.
            return_dict: Whether the embeddings come as ``pooler_output``, as of Hugging Face's models.

        Returns:
            Embeddings of all windows, one after the other: (N, width of the language model).
        """
        if feature_lengths is None:
            feature_lengths = torch.full(
                input_features.shape[:1], input_features.shape[2], device=input_features.device
            )
        tail = round(self.config.tail_s * MEL_FRAMES_PER_S)
        embeddings: torch.Tensor = self.aligner(*self.audio_tower(input_features, feature_lengths, tail=tail))
        return BaseModelOutputWithPooling(pooler_output=embeddings) if return_dict else embeddings

    def hidden_states(
        self,
        input_ids: torch.Tensor,
        speech: torch.Tensor | None = None,
        feature_lengths: torch.Tensor | None = None,
        audio_rows: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The language model's last hidden states, for training.

        The language model gets no attention mask, which would cost it the faster attention. So padding must be on the
        right, where causal attention keeps it from all that is trained.

        Args:
            input_ids: Tokens (B, T).
            speech: What :meth:`get_audio_features` returned (N, W); None: there is none.
            feature_lengths: How many frames each window has (A,).
            audio_rows: The row of the batch that each window belongs to (A,).
            attention_mask: False at padding (B, T), for the fusion.
            position_ids: Of packed rows (B, T).
            labels: Other than :data:`IGNORED` where the assistant speaks (B, T).

        Returns:
            States (B, T, W).
        """
        encoded = None
        if speech is not None:
            is_answer = None if labels is None else labels != IGNORED
            encoded = self.encode_audio(speech, input_ids, feature_lengths, audio_rows, attention_mask, is_answer)
        with self.aligner.attending_to(encoded):
            states: torch.Tensor = self.language_model.get_decoder()(
                inputs_embeds=self.merged_embeddings(input_ids, speech),
                position_ids=position_ids,
                use_cache=False,
            ).last_hidden_state
        return states

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        feature_lengths: torch.Tensor | None = None,
        audio_rows: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        speech: torch.Tensor | None = None,
        speech_positions: torch.Tensor | None = None,
        answered: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Logits of every position, and the loss where ``labels`` are given.

        Args:
            input_ids: Tokens (B, T), with audio tokens; or ``inputs_embeds``.
            input_features: Log-mel frames of A windows (A, mels, frames).
            feature_lengths: How many frames of each are valid (A,).
            audio_rows: The row of the batch that each window belongs to (A,); for cross-attention.
            inputs_embeds: Embeddings (B, T, W) in place of ``input_ids``.
            attention_mask: 0 at padding (B, T).
            speech: Speech of each row (B, S, W), from :meth:`generate`, which has encoded it already.
            speech_positions: Positions of its audio tokens (B, S).
            answered: True where the assistant spoke in earlier turns (B, T), which earlier speech does not attend to.
            labels: Tokens to be predicted (B, T), :data:`IGNORED` (-100) where there is no loss.
            **kwargs: Those of the language model.

        Raises:
            ValueError: The audio tokens of the text and the speech do not match, or inputs contradict each other.
        """
        is_answer = answered if labels is None else labels != IGNORED
        encoded = None
        check_inputs(input_ids, inputs_embeds, input_features, feature_lengths)
        if input_ids is not None:
            audio_features = None
            if input_features is not None and feature_lengths is not None:
                audio_features = self.get_audio_features(input_features, feature_lengths)
                encoded = self.encode_audio(
                    audio_features, input_ids, feature_lengths, audio_rows, attention_mask, is_answer
                )
            inputs_embeds = self.merged_embeddings(input_ids, audio_features)
        assert inputs_embeds is not None
        if speech is not None and speech_positions is not None:
            past = kwargs.get("past_key_values")
            encoded = self.aligner.encode_audio_in_generate(
                speech, speech_positions, inputs_embeds, attention_mask, is_answer, past
            )
        with self.aligner.attending_to(encoded):
            return self.language_model(
                inputs_embeds=inputs_embeds, attention_mask=attention_mask, labels=labels, **kwargs
            )

    @torch.no_grad()
    def generate(
        self,
        input_ids: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        feature_lengths: torch.Tensor | None = None,
        audio_rows: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Generates the tokens after a prompt.

        Args:
            input_ids: As :meth:`forward` takes them, as the next three.
            input_features: Log-mel frames.
            feature_lengths: Their valid lengths.
            audio_rows: Their rows.
            **kwargs: Those of Hugging Face's ``generate``, and of :meth:`forward`.

        Returns:
            New tokens only (B, T), or what ``generate`` returns with ``return_dict_in_generate``.

        Raises:
            ValueError: As :meth:`forward`, and for a prompt under the name ``inputs``.
        """
        if kwargs.get("inputs") is not None:
            raise ValueError("name the prompt input_ids, as the processor gives it, not inputs")
        check_inputs(input_ids, kwargs.get("inputs_embeds"), input_features, feature_lengths)
        if input_ids is not None:
            speech = None
            if input_features is not None and feature_lengths is not None:
                speech = self.get_audio_features(input_features, feature_lengths)
                if encoded := self.encode_audio(speech, input_ids, feature_lengths, audio_rows, None, None):
                    kwargs |= {"speech": encoded.speech, "speech_positions": encoded.positions}
            kwargs["inputs_embeds"] = self.merged_embeddings(input_ids, speech)
        try:
            return super().generate(**kwargs)
        finally:
            self.aligner.end_generation()

    def read_prompt(self, inputs: Mapping[str, Any], cache: Any) -> tuple[Any, EncodedAudio | None]:
        """Reads prompts into an empty cache, for an engine that goes on with :meth:`read_tokens`.

        Args:
            inputs: Those of :meth:`forward` that the processor makes, padded on the left; without ``attention_mask``
                there is no padding.
            cache: The language model's.

        Returns:
            What the language model returns, with the logits of the last position, and the speech that its layers
            attended to; None where there is none.
        """
        ids, mask, lengths = inputs["input_ids"], inputs.get("attention_mask"), inputs.get("feature_lengths")
        speech = encoded = None
        if lengths is not None:
            speech = self.get_audio_features(inputs["input_features"], lengths)
            encoded = self.encode_audio(speech, ids, lengths, inputs["audio_rows"], mask, inputs.get("answered"))
        with self.aligner.attending_to(encoded):
            out = self.language_model(
                inputs_embeds=self.merged_embeddings(ids, speech),
                attention_mask=mask,
                position_ids=None if mask is None else (mask.cumsum(dim=1) - 1).clamp(min=0),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        return out, encoded

    def read_tokens(self, tokens: torch.Tensor, speech: Sequence[Any], **kwargs: Any) -> Any:
        """Reads a token of each row, after :meth:`read_prompt`.

        Args:
            tokens: (1, B), each of a row of its own.
            speech: What the fusion keeps of each row's speech (``row_states``).
            **kwargs: ``past_key_values``, and where rows are of unlike length ``position_ids`` and
                ``attention_mask``, as the language model takes them.
        """
        with self.aligner.attending_to(self.aligner.join_rows(speech)):
            embeds = self._text_embeddings(tokens.reshape(-1, 1))
            return self.language_model(inputs_embeds=embeds, use_cache=True, logits_to_keep=1, **kwargs)

    def merged_embeddings(self, input_ids: torch.Tensor, speech: torch.Tensor | None) -> torch.Tensor:
        """The embeddings that enter the language model, with speech where the fusion splices it in.

        Args:
            input_ids: Tokens (B, T).
            speech: What :meth:`get_audio_features` returned (N, W); None: there is none.

        Raises:
            ValueError: The audio tokens of the text and the speech do not match.
        """
        embeds = self._text_embeddings(input_ids)
        token = self.config.audio_token_id
        if speech is None and token is not None and bool((input_ids == token).any()):
            raise ValueError("the text has audio tokens, but there is no speech: give input_features, too")
        return self.aligner.merge_embeddings(embeds, input_ids == token, speech)

    def _text_embeddings(self, input_ids: torch.Tensor) -> torch.Tensor:
        embeds: torch.Tensor = self.get_input_embeddings()(input_ids)
        if torch.is_autocast_enabled(embeds.device.type):  # else sums with them would stay float32
            embeds = embeds.to(torch.get_autocast_dtype(embeds.device.type))
        return embeds

    def encode_audio(
        self,
        speech: torch.Tensor,
        input_ids: torch.Tensor,
        feature_lengths: torch.Tensor | None,
        audio_rows: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        is_answer: torch.Tensor | None,
    ) -> EncodedAudio | None:
        """The speech that the language model's layers attend to; None where the fusion splices it into the text.

        Args:
            speech: What :meth:`get_audio_features` returned (N, W).
            input_ids: Tokens (B, T).
            feature_lengths: How many frames each window has (A,).
            audio_rows: The row of the batch that each window belongs to (A,).
            attention_mask: False at padding (B, T); None: there is none.
            is_answer: True where the assistant speaks (B, T); None: nowhere.
        """
        assert feature_lengths is not None
        counts = states_of(feature_lengths, self.config.audio_config)
        text = None if attention_mask is None else attention_mask.bool()
        return self.aligner.encode_audio(
            speech, counts, audio_rows, input_ids == self.config.audio_token_id, text, is_answer
        )


def check_inputs(
    input_ids: torch.Tensor | None,
    inputs_embeds: torch.Tensor | None,
    input_features: torch.Tensor | None,
    feature_lengths: torch.Tensor | None,
) -> None:
    """Raises ValueError where an input of a forward would be ignored."""
    if (input_ids is None) == (inputs_embeds is None):
        raise ValueError("give input_ids or inputs_embeds, one of them")
    if (input_features is None) != (feature_lengths is None):
        raise ValueError("input_features and feature_lengths belong together; the processor gives both")
    if input_features is None or feature_lengths is None:
        return
    if input_ids is None:
        raise ValueError("inputs_embeds have no places for input_features: give input_ids instead of them")
    if input_features.dim() != 3 or feature_lengths.shape != input_features.shape[:1]:
        raise ValueError(
            f"input_features {tuple(input_features.shape)} are (A, mels, frames), and feature_lengths "
            f"{tuple(feature_lengths.shape)} one number for each of A"
        )
