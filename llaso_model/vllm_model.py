"""LLaSO models of the fusion ``splice`` in vLLM: our encoder and projection before vLLM's language model."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import nn
from transformers import BatchFeature
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from vllm.config import SpeechToTextConfig
from vllm.model_executor.models.interfaces import SupportsMultiModal, SupportsTranscription
from vllm.model_executor.models.utils import AutoWeightsLoader, init_vllm_registered_model, maybe_prefix
from vllm.model_executor.models.whisper import ISO639_1_SUPPORTED_LANGS
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.parse import MultiModalDataParser
from vllm.multimodal.processing import (
    BaseDummyInputsBuilder,
    BaseMultiModalProcessor,
    BaseProcessingInfo,
    PromptReplacement,
)

from llaso_data.audio import SAMPLE_RATE_HZ
from llaso_model.configuration import MEL_FRAMES_PER_S, audio_tokens
from llaso_model.encoders import ENCODERS
from llaso_model.fusion import FUSIONS
from llaso_model.processing import AUDIO_TOKEN, TRANSCRIBE, LLaSOProcessor
from llaso_model.vllm import check_fusion

_PARTS = ("audio_tower.", "aligner.", "language_model.")


class _Info(BaseProcessingInfo):  # type: ignore[misc]
    """What vLLM asks before it loads a model."""

    def get_hf_processor(self, **kwargs: object) -> LLaSOProcessor:
        return _processor(self.ctx.model_config.model)

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        check_fusion(self.ctx.model_config.hf_config)
        return {"audio": None}

    def get_data_parser(self) -> MultiModalDataParser:
        return MultiModalDataParser(
            target_sr=SAMPLE_RATE_HZ, target_channels=1, expected_hidden_size=self._get_expected_hidden_size()
        )


class _DummyInputs(BaseDummyInputsBuilder[_Info]):  # type: ignore[misc]
    """The largest inputs, by which vLLM measures memory."""

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        return AUDIO_TOKEN * mm_counts.get("audio", 0)

    def get_dummy_mm_data(self, seq_len: int, mm_counts: Mapping[str, int], mm_options: Mapping[str, Any]) -> Any:
        longest_s = self.info.ctx.model_config.hf_config.max_audio_length
        audios = self._get_dummy_audios(
            length=round(longest_s * SAMPLE_RATE_HZ),
            num_audios=mm_counts.get("audio", 0),
            overrides=mm_options.get("audio"),
        )
        return {"audio": audios}


class _Processor(BaseMultiModalProcessor[_Info]):  # type: ignore[misc]
    """Audio to windows of log-mel frames. A row of vLLM's is an audio, of one window or several."""

    def _call_hf_processor(self, hf_data: Mapping[str, Any], hf_kwargs: Mapping[str, object]) -> BatchFeature:
        audios = [audio[0] if isinstance(audio, tuple) else audio for audio in hf_data["audio"]]
        return self.info.get_hf_processor().process_audio(audios)[0]

    def _get_mm_fields_config(
        self, hf_inputs: BatchFeature, hf_processor_mm_kwargs: Mapping[str, object]
    ) -> dict[str, Any]:
        windows = hf_inputs.get("num_windows", torch.zeros(0, dtype=torch.long))
        by_window = MultiModalFieldConfig.flat_from_sizes("audio", windows)
        by_audio = MultiModalFieldConfig.batched("audio", keep_on_cpu=True)
        return {
            "input_features": by_window,
            "feature_lengths": by_window,
            "num_windows": by_audio,
            "num_audio_tokens": by_audio,
        }

    def _get_prompt_updates(
        self, mm_items: Any, hf_processor_mm_kwargs: Mapping[str, object], out_mm_kwargs: Any
    ) -> Sequence[Any]:
        token = self.info.ctx.model_config.hf_config.audio_token_id

        def tokens(number: int) -> list[int]:
            return [token] * int(out_mm_kwargs["audio"][number].get_data()["num_audio_tokens"])

        return [PromptReplacement(modality="audio", target=[token], replacement=tokens)]


@MULTIMODAL_REGISTRY.register_processor(_Processor, info=_Info, dummy_inputs=_DummyInputs)
class LLaSOForVLLM(nn.Module, SupportsMultiModal, SupportsTranscription):  # type: ignore[misc]
    """Text and speech in, text out. vLLM makes it."""

    supported_languages: ClassVar[Mapping[str, str]] = ISO639_1_SUPPORTED_LANGS
    supports_transcription: ClassVar[Literal[True]] = True

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__()
        self.config = config = vllm_config.model_config.hf_config
        check_fusion(config)
        text = config.text_config
        own: Any = self  # with the methods that vLLM gives it
        own.configure_mm_token_handling(text.vocab_size, [config.audio_token_id])
        with own._mark_tower_model(vllm_config, "audio"):
            self.audio_tower = ENCODERS[config.audio_config.model_type].build(config.audio_config)
            self.aligner = FUSIONS[config.fusion].build(config)
        with own._mark_language_model(vllm_config):
            self.language_model = init_vllm_registered_model(
                vllm_config=vllm_config,
                hf_config=text,
                prefix=maybe_prefix(prefix, "language_model"),
                architectures=text.architectures or [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[text.model_type]],
            )
        self.make_empty_intermediate_tensors = self.language_model.make_empty_intermediate_tensors

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str | None:
        """What stands for an audio in the text of a chat."""
        return AUDIO_TOKEN if modality == "audio" else None

    def embed_multimodal(self, **kwargs: Any) -> list[torch.Tensor]:
        """Embeddings of the audios of a step, each (tokens, width). Each window is encoded at its own length."""
        features = kwargs.get("input_features")
        if features is None:
            return []
        windows = [window for own in features for window in (own if own.dim() == 3 else own[None])]
        lengths = _flat(kwargs["feature_lengths"])
        aligner: Any = self.aligner
        tower: Any = self.audio_tower
        weight = aligner.projector[0].weight
        tail = round(self.config.tail_s * MEL_FRAMES_PER_S)
        found = [
            aligner(*tower(window[None].to(weight), length[None].to(weight.device), tail=tail))
            for window, length in zip(windows, lengths, strict=True)
        ]
        return [torch.cat(own) for own in _grouped(found, _flat(kwargs["num_windows"]).tolist())]

    def forward(
        self,
        input_ids: torch.Tensor | None,
        positions: torch.Tensor,
        intermediate_tensors: Any = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """The language model's hidden states."""
        return self.language_model.model(input_ids, positions, intermediate_tensors, inputs_embeds=inputs_embeds)

    def compute_logits(self, hidden_states: torch.Tensor) -> torch.Tensor | None:
        """Logits; the audio token, which no answer has, gets none."""
        logits: torch.Tensor | None = self.language_model.compute_logits(hidden_states)
        if logits is not None:
            logits[..., self.config.audio_token_id] = float("-inf")
        return logits

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> Any:
        """Loads the model's own weights. Models of earlier versions have others in the same folder, which it skips."""
        own = ((name, weight) for name, weight in weights if name.startswith(_PARTS))
        return AutoWeightsLoader(self).load_weights(own)

    @classmethod
    def get_speech_to_text_config(cls, model_config: Any, task_type: str) -> SpeechToTextConfig:
        """How vLLM cuts audio for transcription: at quiet places, into pieces of at most the model's window."""
        return SpeechToTextConfig(
            max_audio_clip_s=int(model_config.hf_config.max_audio_length), sample_rate=SAMPLE_RATE_HZ
        )

    @classmethod
    def get_generation_prompt(cls, stt_params: Any) -> dict[str, Any]:
        """The prompt of ``/v1/audio/transcriptions`` for one piece of audio.

        Raises:
            ValueError: A translation, a prompt or hotwords, which the model is not asked for in this form.
        """
        if stt_params.task_type != "transcribe":
            raise ValueError("a LLaSO model is asked for a translation as a chat, in the words of its training")
        if stt_params.request_prompt or stt_params.hotwords:
            raise ValueError("prompt and hotwords: a LLaSO model takes no text before a transcript")
        processor = _processor(stt_params.model_config.model)
        conversation = processor.instruction(TRANSCRIBE, [stt_params.audio])
        text = processor.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
        return {"prompt": str(text), "multi_modal_data": {"audio": (stt_params.audio, SAMPLE_RATE_HZ)}}

    @classmethod
    def get_num_audio_tokens(cls, audio_duration_s: float, stt_config: Any, model_config: Any) -> int | None:
        """How many audio tokens stand for so many seconds."""
        return audio_tokens(round(audio_duration_s * SAMPLE_RATE_HZ), model_config.hf_config)


@functools.cache
def _processor(model: str) -> LLaSOProcessor:
    """The processor of a model. It takes a quarter of a second to load, which requests do not wait for."""
    loaded: LLaSOProcessor = LLaSOProcessor.from_pretrained(model)
    return loaded


def _flat(values: Any) -> torch.Tensor:
    """One tensor of numbers, which vLLM gives as a tensor or as several."""
    if isinstance(values, torch.Tensor):
        return values.flatten()
    return torch.cat([torch.as_tensor(value).flatten() for value in values])


def _grouped(found: list[torch.Tensor], counts: Sequence[int]) -> Iterable[list[torch.Tensor]]:
    first = 0
    for count in counts:
        yield found[first : first + count]
        first += count
