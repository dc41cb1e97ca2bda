"""What Hugging Face's Auto classes give beside the model itself: its body, and the form that their own server asks."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModel, PreTrainedModel

from llaso_model.configuration import LLaSOConfig
from llaso_model.encoders import ENCODERS
from llaso_model.fusion import FUSIONS
from llaso_model.modeling.llaso import LLaSOForConditionalGeneration, check_inputs


class LLaSOBaseModel(PreTrainedModel):  # type: ignore[misc]
    """The model without a head: text and speech in, the last hidden states out. ``AutoModel`` gives it."""

    config_class = LLaSOConfig
    main_input_name = "input_ids"
    input_modalities = ("audio", "text")
    _supports_sdpa = True
    _supports_attention_backend = True
    get_input_embeddings = LLaSOForConditionalGeneration.get_input_embeddings
    set_input_embeddings = LLaSOForConditionalGeneration.set_input_embeddings
    get_audio_features = LLaSOForConditionalGeneration.get_audio_features
    encode_audio = LLaSOForConditionalGeneration.encode_audio
    merged_embeddings = LLaSOForConditionalGeneration.merged_embeddings
    _text_embeddings = LLaSOForConditionalGeneration._text_embeddings

    def __init__(self, config: LLaSOConfig) -> None:
        super().__init__(config)
        self.audio_tower = ENCODERS[config.audio_config.model_type].build(config.audio_config)
        self.aligner = FUSIONS[config.fusion].build(config)
        self.language_model = AutoModel.from_config(config.text_config)
        self.aligner.attach(self.language_model)
        self.post_init()

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> LLaSOBaseModel:
        """The body of a checkpoint of the whole model. Arguments: those of Hugging Face's ``from_pretrained``."""
        whole = LLaSOForConditionalGeneration.from_pretrained(*args, **kwargs)
        with torch.device("meta"):
            body: LLaSOBaseModel = cls(whole.config)
        body.audio_tower, body.aligner = whole.audio_tower, whole.aligner
        body.language_model = whole.language_model.get_decoder()
        body.eval()
        return body

    def get_decoder(self) -> Any:
        """The language model's body."""
        return self.language_model

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        feature_lengths: torch.Tensor | None = None,
        audio_rows: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        answered: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """The last hidden states of every position.

        Args:
            input_ids: As :meth:`LLaSOForConditionalGeneration.forward` takes them, as the others.
            input_features: Log-mel frames.
            feature_lengths: Their valid lengths.
            audio_rows: Their rows.
            inputs_embeds: In place of ``input_ids``.
            attention_mask: 0 at padding (B, T).
            answered: True where the assistant spoke in earlier turns (B, T).
            **kwargs: Those of the language model.

        Raises:
            ValueError: As :meth:`LLaSOForConditionalGeneration.forward`.
        """
        check_inputs(input_ids, inputs_embeds, input_features, feature_lengths)
        encoded = None
        if input_ids is not None:
            speech = None
            if input_features is not None and feature_lengths is not None:
                speech = self.get_audio_features(input_features, feature_lengths)
                encoded = self.encode_audio(speech, input_ids, feature_lengths, audio_rows, attention_mask, answered)
            inputs_embeds = self.merged_embeddings(input_ids, speech)
        with self.aligner.attending_to(encoded):
            return self.language_model(inputs_embeds=inputs_embeds, attention_mask=attention_mask, **kwargs)


class LLaSOForMultimodalLM(LLaSOForConditionalGeneration):
    """The model as ``AutoModelForMultimodalLM`` gives it, which ``transformers serve`` loads.

    ``generate`` returns as many tokens of padding as the prompt has, and then the new tokens: callers there cut off the
    prompt, or decode all without special tokens.
    """

    @torch.no_grad()
    def generate(self, input_ids: torch.Tensor | None = None, *args: Any, **kwargs: Any) -> Any:
        """See :meth:`LLaSOForConditionalGeneration.generate`."""
        out = super().generate(input_ids, *args, **kwargs)
        if input_ids is None:
            return out
        config = self.generation_config
        ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
        padding = torch.full_like(input_ids, ends[0] if config.pad_token_id is None else config.pad_token_id)
        tokens = out if isinstance(out, torch.Tensor) else out.sequences
        padding = padding.repeat_interleave(len(tokens) // len(padding), dim=0).to(tokens.device)
        if isinstance(out, torch.Tensor):
            return torch.cat([padding, tokens], dim=1)
        out.sequences = torch.cat([padding, tokens], dim=1)
        return out
