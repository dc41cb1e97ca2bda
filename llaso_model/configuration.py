"""The model's configuration: which encoder, which fusion, which language model, and their sizes."""

from __future__ import annotations

from typing import Any, ClassVar

from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

from llaso_model.encoders import ENCODERS, FROM_SCRATCH, PRETRAINED
from llaso_model.fusion import FUSIONS

MEL_HOP = 160  # samples at 16 kHz between two mel frames
MEL_FRAMES_PER_S = 100
IGNORED = -100  # the label of a token that has no loss
TAIL_S = 0.5  # bench/encoder_states.py compares other values


_WHISPER_LARGE_V3 = {
    "model_type": "whisper",
    "num_mel_bins": 128,
    "d_model": 1280,
    "encoder_layers": 32,
    "encoder_attention_heads": 20,
    "encoder_ffn_dim": 5120,
    "decoder_layers": 32,
    "decoder_attention_heads": 20,
    "decoder_ffn_dim": 5120,
    "vocab_size": 51866,
}
_LLAMA_3B = {
    "model_type": "llama",
    "vocab_size": 128_256,
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_hidden_layers": 28,
    "num_attention_heads": 24,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 131_072,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "bos_token_id": 128_000,
    "eos_token_id": [128_001, 128_008, 128_009],
    "rope_parameters": {
        "rope_type": "llama3",
        "rope_theta": 500_000.0,
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
}


class LLaSOConfig(PreTrainedConfig):  # type: ignore[misc]
    """A speech encoder, a fusion and a language model.

    Attributes:
        audio_config: The encoder's configuration. Its ``model_type`` names an entry of :data:`ENCODERS`; a Whisper
            checkpoint's does, and its encoder is used.
        text_config: The configuration of any causal language model.
        fusion: Name in :data:`FUSIONS`. With ``splice`` speech embeddings replace the audio tokens in the text. With
            ``cross_attention`` the text has one audio token for each window of audio, and text and speech attend to
            each other before every ``cross_attention_every``-th layer.
        stack: How many states are concatenated for one speech embedding.
        cross_attention_every: See ``fusion``.
        projector_size: Width of the MLP that projects states; None: the language model's.
        projector_act: Its activation.
        audio_token_id: Of the token that stands for audio in the text.
        max_audio_length: Seconds of a window; longer audio is cut into several.
        tail_s: Seconds of silence after each window, which Whisper's encoder reads and of which no states are kept.
            Whisper was trained on clips that are padded with silence.
        alignment_heads: (layer, head) of the language model's heads whose attention follows the speech, as Whisper's
            configuration has them. None: not known.
        whisper: Folder or hub id of the Whisper that times the words of answers; training records the one that the
            encoder is of. None: there is none.
    """

    model_type = "llaso"
    sub_configs: ClassVar[dict[str, Any]] = {"audio_config": AutoConfig, "text_config": AutoConfig}

    audio_config: Any = None
    text_config: Any = None
    fusion: str = "splice"
    stack: int = 5
    cross_attention_every: int = 4
    projector_size: int | None = None
    projector_act: str = "gelu"
    audio_token_id: int | None = None
    max_audio_length: float = 30.0
    tail_s: float = TAIL_S
    whisper: str | None = None
    alignment_heads: Any = None

    def __post_init__(self, **kwargs: Any) -> None:
        self.audio_config = _encoder_config(self.audio_config)
        self.text_config = _language_model_config(self.text_config)
        for key, problem in (
            ("fusion", FUSIONS.problem(self.fusion)),
            ("audio_config", ENCODERS.problem(self.audio_config.model_type)),
        ):
            if problem is not None:
                raise ValueError(f"{key}: {problem}")
        if self.stack < 1:
            raise ValueError(f"stack: at least one state, not {self.stack}")
        super().__post_init__(**kwargs)

    @classmethod
    def named(cls, name: str) -> LLaSOConfig:
        """The configuration ``mission`` or ``published``, with the sizes of Llama-3.2-3B-Instruct.

        Raises:
            ValueError: For another name.
        """
        if name == "mission":
            encoder = {"model_type": FROM_SCRATCH}
            return cls(audio_config=encoder, text_config=dict(_LLAMA_3B), fusion="cross_attention", stack=1)
        if name == "published":
            return cls(audio_config=dict(_WHISPER_LARGE_V3), text_config=dict(_LLAMA_3B), stack=1)
        raise ValueError(f"there are the configurations mission and published, not {name}")

    @property
    def hidden_size(self) -> int:
        """Width of the language model."""
        return int(self.text_config.hidden_size)


def _encoder_config(config: Any) -> Any:
    """The configuration of an encoder from its values. Raises ValueError where these name no entry of the table."""
    if config is not None and not isinstance(config, dict):
        return config
    values = config or {}
    name = values.get("model_type", PRETRAINED)
    if (problem := ENCODERS.problem(name)) is not None:
        raise ValueError(f"audio_config: {problem}")
    return ENCODERS[name].config_class(**values)


def _language_model_config(config: Any) -> Any:
    if config is not None and not isinstance(config, dict):
        return config
    values = config or {}
    return CONFIG_MAPPING[values.get("model_type", "llama")](**values)


def states_of(frames: Any, config: Any) -> Any:
    """How many states an encoder gives for so many frames.

    Args:
        frames: Log-mel frames, 100 a second; an int or a tensor of them.
        config: Configuration of the encoder.
    """
    return ENCODERS[config.model_type].states_of(frames, config)


def audio_tokens(samples: int, config: LLaSOConfig) -> int:
    """How many audio tokens stand for a window of so many samples at 16 kHz."""
    return int(-(-states_of(max(1, samples // MEL_HOP), config.audio_config) // config.stack))
