"""The speech-language model: encoder, fusion and language model, with Hugging Face's ways of loading and generating."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from transformers import AutoModelForCausalLM, GenerationMixin, PreTrainedModel

from llaso_model.configuration import MEL_FRAMES_PER_S, LLaSOConfig
from llaso_model.modeling.encoder import ResNetEncoder, WhisperStates
from llaso_model.modeling.fusion import Splice


class LLaSOForConditionalGeneration(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """Text and speech in, text out.

    ``input_ids`` hold the audio token as often as the processor says; the speech stands there. ``generate`` gives the
    new tokens only.
    """

    config_class = LLaSOConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    input_modalities = ("audio", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules: ClassVar[list[str]] = ["WhisperEncoderLayer"]
    _skip_keys_device_placement: ClassVar[list[str]] = ["past_key_values"]

    def __init__(self, config: LLaSOConfig) -> None:
        super().__init__(config)
        encoder = WhisperStates if config.audio_config.model_type == "whisper" else ResNetEncoder
        self.audio_tower = encoder(config.audio_config)
        self.aligner = Splice(config)
        self.language_model = AutoModelForCausalLM.from_config(config.text_config)
        self.post_init()

    @classmethod
    def from_parts(cls, config: LLaSOConfig, encoder: str | None, language_model: str, **kwargs: Any) -> Any:
        """A model with the weights of a Whisper checkpoint (None: as initialised) and of a causal language model.

        Where ``config.audio_token_id`` is new to the language model, its vocabulary grows by it.
        """
        model = cls(config)
        if encoder is not None:
            from transformers import WhisperModel

            source = WhisperModel.from_pretrained(encoder).encoder
            model.audio_tower.load_state_dict(source.state_dict())
        model.language_model = AutoModelForCausalLM.from_pretrained(language_model, **kwargs)
        if config.audio_token_id is not None and config.audio_token_id >= model.language_model.config.vocab_size:
            model.language_model.resize_token_embeddings(config.audio_token_id + 1)
        config.text_config = model.language_model.config
        model.generation_config = model.language_model.generation_config
        if config.audio_token_id is not None:
            model.generation_config.suppress_tokens = [config.audio_token_id]
        return model

    def get_input_embeddings(self) -> Any:
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: Any) -> None:
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> Any:
        return self.language_model.get_output_embeddings()

    def get_audio_features(self, input_features: torch.Tensor, feature_lengths: torch.Tensor) -> torch.Tensor:
        """Embeddings of all windows (A, mels, T), one after the other: (audio tokens, width)."""
        tail = round(self.config.tail_s * MEL_FRAMES_PER_S)
        found: torch.Tensor = self.aligner(*self.audio_tower(input_features, feature_lengths, tail=tail))
        return found

    def embed(
        self,
        input_ids: torch.Tensor,
        input_features: torch.Tensor | None = None,
        feature_lengths: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The embeddings of the text with the speech in its places. Raises ValueError where they do not fit."""
        embeds: torch.Tensor = self.get_input_embeddings()(input_ids)
        if input_features is None or feature_lengths is None:
            return embeds
        speech = self.get_audio_features(input_features, feature_lengths).to(embeds.dtype)
        places = input_ids == self.config.audio_token_id
        if int(places.sum()) != len(speech):
            raise ValueError(f"{int(places.sum())} audio tokens in the text, but {len(speech)} of speech")
        return embeds.masked_scatter(places[..., None], speech)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        feature_lengths: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Logits of every position, and the loss where ``labels`` are given (-100: none)."""
        if inputs_embeds is None:
            assert input_ids is not None
            inputs_embeds = self.embed(input_ids, input_features, feature_lengths)
        return self.language_model(inputs_embeds=inputs_embeds, **kwargs)

    @torch.no_grad()
    def generate(
        self,
        input_ids: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        feature_lengths: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """New tokens after the prompt; settings as in Hugging Face's ``generate``."""
        if input_ids is not None and "inputs_embeds" not in kwargs:
            kwargs["inputs_embeds"] = self.embed(input_ids, input_features, feature_lengths)
        return super().generate(**kwargs)
