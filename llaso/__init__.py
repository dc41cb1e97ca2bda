"""LLaSO: raw speech to training shards, and training shards to a speech-language model.

The data half is ``llaso_data`` (command ``llaso-data``). This package is the façade of the model half:

    from llaso import LLaSOModel, LLaSOProcessor
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llaso_model.modeling.llaso import LLaSOForConditionalGeneration as LLaSOModel
    from llaso_model.processing import LLaSOProcessor

__all__ = ["LLaSOModel", "LLaSOProcessor"]


def __getattr__(name: str) -> object:
    """Both bring torch and transformers, so they are imported when they are asked for."""
    if name not in __all__:
        raise AttributeError(name)
    from llaso_model.modeling.llaso import LLaSOForConditionalGeneration
    from llaso_model.processing import LLaSOProcessor
    from llaso_model.registration import register

    register()
    return LLaSOProcessor if name == "LLaSOProcessor" else LLaSOForConditionalGeneration
