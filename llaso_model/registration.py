"""Makes Hugging Face's Auto classes know LLaSO."""

from __future__ import annotations


def register() -> None:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoProcessor

    from llaso_model.configuration import LLaSOConfig, ResNetEncoderConfig
    from llaso_model.modeling.llaso import LLaSOForConditionalGeneration
    from llaso_model.processing import LLaSOProcessor

    AutoConfig.register("llaso", LLaSOConfig, exist_ok=True)
    AutoConfig.register("llaso_resnet", ResNetEncoderConfig, exist_ok=True)
    AutoModelForCausalLM.register(LLaSOConfig, LLaSOForConditionalGeneration, exist_ok=True)
    AutoProcessor.register(LLaSOConfig, LLaSOProcessor, exist_ok=True)
