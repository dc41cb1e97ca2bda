"""The plugin by which vLLM serves LLaSO models of the fusion ``splice``: vLLM finds it by its entry point.

``vllm serve MODEL`` and ``vllm.LLM(MODEL)`` then know the model; ``docs/answer.md`` says how to install both. This
module imports without vLLM; the model's class is in :mod:`llaso_model.vllm_model`.
"""

from __future__ import annotations

from typing import Any

ARCHITECTURE = "LLaSOForConditionalGeneration"


def register() -> None:
    """Makes the model known to Hugging Face's Auto classes and to vLLM. vLLM calls it in each of its processes."""
    from vllm import ModelRegistry
    from vllm.model_executor.models.config import MODELS_CONFIG_MAP, VerifyAndUpdateConfig

    from llaso_model.registration import register as register_auto_classes

    register_auto_classes()
    ModelRegistry.register_model(ARCHITECTURE, "llaso_model.vllm_model:LLaSOForVLLM")
    own = {"verify_and_update_model_config": staticmethod(adapt_settings)}
    MODELS_CONFIG_MAP[ARCHITECTURE] = type("LLaSOSettings", (VerifyAndUpdateConfig,), own)


def adapt_settings(model_config: Any) -> None:
    """Has audio stand in a chat where its part stands, not before all text. vLLM calls it before it loads the model.

    Args:
        model_config: vLLM's.

    Raises:
        ValueError: As :func:`check_fusion`.
    """
    check_fusion(model_config.hf_config)
    model_config.multimodal_config.interleave_mm_strings = True


def check_fusion(config: Any) -> None:
    """Refuses a model that vLLM cannot serve.

    Args:
        config: The model's configuration.

    Raises:
        ValueError: Its fusion is not ``splice``.
    """
    if config.fusion != "splice":
        raise ValueError(
            f"vLLM serves LLaSO models of the fusion splice, and this one has {config.fusion}: its language model's "
            "layers attend to speech in between, and vLLM's own layers have no place for that. "
            "`llaso-model serve` and `llaso-model generate` answer with this model"
        )
