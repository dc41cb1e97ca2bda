"""Digests of the models that observe: what an observation depends on besides the recording and the recipe."""

from __future__ import annotations

from llaso_data.io import checksums
from llaso_data.io.hub import weights_digest
from llaso_data.recipe import Recipe
from llaso_data.whisper.load import checkpoint_folder


def models_digests(recipe: Recipe) -> list[str]:
    """Digests of the weights of the models that observe. Their names and paths do not count."""
    asr, model = recipe.observe.asr, recipe.observe.language_model
    digests = [weights_digest(checkpoint_folder(asr.model, asr.revision))]
    if model.model is not None:
        from llaso_data.filters.language_model import language_model_digest

        digests.append(language_model_digest(model.model, model.revision))
    if recipe.observe.quality.enabled and recipe.observe.quality.dnsmos:
        from llaso_data.estimate.dnsmos import model_files

        digests += [checksums.sha256(str(file))[0] for file in model_files()]
    if recipe.observe.speakers.enabled:
        from llaso_data.estimate.voice_encoder import weights_file

        digests.append(checksums.sha256(str(weights_file()))[0])
    return digests
