"""The model's configuration: which encoder, which fusion, which language model, and their sizes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

MEL_HOP = 160  # samples at 16 kHz between two mel frames
MEL_FRAMES_PER_S = 100
FUSIONS = ("splice", "cross_attention")
IGNORED = -100  # labels that no loss is taken of
TAIL_S = 0.5  # bench/encoder_states.py shows what it is worth


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


class ResNetEncoderConfig(PreTrainedConfig):  # type: ignore[misc]
    """The convolutional speech encoder, trained from scratch.

    ``widths`` are the channels of each of its ``len(widths)`` blocks; a block whose width differs from the one before
    halves the frames. ``pool`` frames after that become one state.
    """

    model_type = "llaso_resnet"

    num_mel_bins: int = 80
    widths: tuple[int, ...] | list[int] = (256,) * 4 + (512,) * 4 + (768,) * 4
    kernel_size: int = 9
    groups: int = 8
    pool: int = 1
    pool_heads: int = 8
    dropout: float = 0.1

    @property
    def hidden_size(self) -> int:
        """Width of the states."""
        return int(self.widths[-1])


class LLaSOConfig(PreTrainedConfig):  # type: ignore[misc]
    """A speech encoder, how its states reach the language model, and the language model.

    ``audio_config`` is Whisper's (its encoder is used) or a :class:`ResNetEncoderConfig`; ``text_config`` any causal
    language model's. ``stack`` states at a time go through an MLP of two layers. With the ``fusion`` ``splice`` they
    stand in the text where its audio tokens are; with ``cross_attention`` the text has one audio token for each
    window of audio, and text and speech attend to each other before every ``cross_attention_every``-th layer. Audio
    longer than ``max_audio_length`` seconds is read in windows of that. Whisper's encoder hears ``tail_s`` of silence
    after each, of which no states come: it was trained on no other clips.
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

    def __post_init__(self, **kwargs: Any) -> None:
        self.audio_config = _made(self.audio_config, "whisper")
        self.text_config = _made(self.text_config, "llama")
        if self.fusion not in FUSIONS:
            raise ValueError(f"fusion: there are {' and '.join(FUSIONS)}, not {self.fusion}")
        if self.audio_config.model_type not in ("whisper", ResNetEncoderConfig.model_type):
            raise ValueError(f"audio_config: an encoder is whisper or llaso_resnet, not {self.audio_config.model_type}")
        if self.stack < 1:
            raise ValueError(f"stack: at least one state, not {self.stack}")
        super().__post_init__(**kwargs)

    @classmethod
    def named(cls, name: str) -> LLaSOConfig:
        """``mission`` or ``published``, around the shape of Llama-3.2-3B-Instruct; raises ValueError for others."""
        if name == "mission":
            encoder = ResNetEncoderConfig()
            return cls(audio_config=encoder, text_config=dict(_LLAMA_3B), fusion="cross_attention", stack=1)
        if name == "published":
            return cls(audio_config=dict(_WHISPER_LARGE_V3), text_config=dict(_LLAMA_3B), stack=1)
        raise ValueError(f"there are the configurations mission and published, not {name}")

    @property
    def hidden_size(self) -> int:
        """Width of the language model."""
        return int(self.text_config.hidden_size)


def _made(config: Any, model_type: str) -> Any:
    if config is None:
        return CONFIG_MAPPING[model_type]()
    if isinstance(config, dict):
        return CONFIG_MAPPING[config.get("model_type", model_type)](**config)
    return config


def states_of(frames: Any, config: Any) -> Any:
    """How many states an encoder gives for so many mel frames; of ints or of tensors of them."""
    if config.model_type == "whisper":
        return (frames + 1) // 2
    frames = (frames + 1) // 2
    for before, after in pairwise(config.widths):
        frames = (frames + 1) // 2 if before != after else frames
    return -(-frames // config.pool)


def audio_tokens(samples: int, config: LLaSOConfig) -> int:
    """How many places in the text the samples of one window take."""
    return int(-(-states_of(max(1, samples // MEL_HOP), config.audio_config) // config.stack))
