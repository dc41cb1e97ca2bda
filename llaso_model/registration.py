"""Registers LLaSO with the Auto classes of Hugging Face."""

from __future__ import annotations


def register() -> None:
    """Registers the model, and the configurations of the encoders that transformers does not have."""
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForMultimodalLM, AutoProcessor
    from transformers.models.auto.modeling_auto import MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES

    from llaso_model.configuration import LLaSOConfig
    from llaso_model.encoders import ENCODERS
    from llaso_model.modeling.auto import LLaSOBaseModel, LLaSOForMultimodalLM
    from llaso_model.modeling.llaso import LLaSOForConditionalGeneration
    from llaso_model.processing import LLaSOProcessor

    AutoConfig.register("llaso", LLaSOConfig, exist_ok=True)
    for name, encoder in ENCODERS.items():
        if not encoder.config_class.__module__.startswith("transformers."):
            AutoConfig.register(name, encoder.config_class, exist_ok=True)
    AutoModel.register(LLaSOConfig, LLaSOBaseModel, exist_ok=True)
    AutoModelForMultimodalLM.register(LLaSOConfig, LLaSOForMultimodalLM, exist_ok=True)
    MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES["llaso"] = LLaSOForMultimodalLM.__name__  # `transformers serve` asks it
    AutoModelForCausalLM.register(LLaSOConfig, LLaSOForConditionalGeneration, exist_ok=True)
    AutoProcessor.register(LLaSOConfig, LLaSOProcessor, exist_ok=True)
