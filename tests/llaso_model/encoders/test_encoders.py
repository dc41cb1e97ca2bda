"""The tables of encoders and fusions: an entry from outside is trained for a step, saved and loaded by its name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, WhisperFeatureExtractor

from llaso import LLaSOModel, LLaSOProcessor
from llaso_data.demo import weights
from llaso_data.errors import LLaSOError
from llaso_data.io.hub import pretrained
from llaso_data.registry import Registry
from llaso_model.encoders import ENCODERS, Encoder
from llaso_model.fusion import FUSIONS, Fusion
from llaso_model.fusion.splice import Splice
from llaso_model.masks import zero_padding
from llaso_model.train.config import TrainRecipe, load
from llaso_model.train.loop import train
from tests.conftest import Clip, obtained
from tests.support.training_fixtures import small_llama, write_speech


class ToyConfig(PreTrainedConfig):  # type: ignore[misc]
    model_type = "toy_encoder"
    num_mel_bins: int = 80
    hidden_size: int = 24


class ToyEncoder(PreTrainedModel):  # type: ignore[misc]
    """One convolution: a state for each four frames."""

    config_class = ToyConfig

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.layers = nn.ModuleList([nn.Conv1d(config.num_mel_bins, config.hidden_size, 4, stride=4)])
        self.post_init()

    def forward(self, input_features: torch.Tensor, feature_lengths: torch.Tensor, **_: Any) -> Any:
        x_BCT = nn.functional.pad(zero_padding(input_features, feature_lengths), (0, -input_features.shape[2] % 4))
        states_BCS = self.layers[0](x_BCT.to(self.layers[0].weight.dtype))
        return states_BCS.transpose(1, 2), -(-feature_lengths // 4)


class Doubled(Splice):
    """Speech twice as loud."""

    def forward(self, states_BSW: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(states_BSW, lengths)


@pytest.fixture
def entries() -> Iterator[None]:
    ENCODERS.register(
        "toy_encoder",
        Encoder(
            config_class=ToyConfig,
            build=ToyEncoder,
            states_of=lambda frames, config: -(-frames // 4),
            features=lambda config: WhisperFeatureExtractor(feature_size=config.num_mel_bins),
            blocks=lambda module: module.layers,
            pretrained=lambda key, model, folder, dtype: pretrained(ToyEncoder, key, model, folder).state_dict(),
        ),
    )
    FUSIONS.register("doubled", Fusion(Doubled))
    yield
    ENCODERS.unregister("toy_encoder")
    FUSIONS.unregister("doubled")


@pytest.fixture
def language_model(tmp_path: Path) -> Path:
    from transformers import AutoTokenizer, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(obtained(weights.smollm2))
    LlamaForCausalLM(small_llama(tokenizer)).save_pretrained(tmp_path / "llm")
    tokenizer.save_pretrained(tmp_path / "llm")
    return tmp_path / "llm"


def recipe_of(language_model: Path, shards: Path, **model: Any) -> TrainRecipe:
    return TrainRecipe.model_validate(
        {
            "model": {"language_model": str(language_model), "train": ("encoder", "aligner"), **model},
            "data": {"sources": [{"path": str(shards)}], "budget": "12s", "micro_batches": 1, "num_workers": 0},
            "run": {"max_steps": 1, "save": "full", "precision": "fp32", "tensorboard": False},
        }
    )


@pytest.mark.parametrize("is_loaded", [False, True])
def test_an_encoder_and_a_fusion_from_outside_are_trained_saved_and_loaded(
    entries, language_model, clips: list[Clip], tmp_path, is_loaded
):
    write_speech(tmp_path / "shards", clips[:4])
    model: dict[str, Any] = {"config": {"fusion": "doubled", "audio_config": {"model_type": "toy_encoder"}}}
    if is_loaded:
        own = ToyEncoder(ToyConfig(hidden_size=16))
        own.save_pretrained(tmp_path / "toy")
        model = {"config": {"fusion": "doubled"}, "encoder": str(tmp_path / "toy")}
    recipe = recipe_of(language_model, tmp_path / "shards", **model)
    assert train(recipe, str(tmp_path / "run"))["loss"] > 0
    saved = LLaSOModel.from_pretrained(tmp_path / "run" / "model").eval()
    processor = LLaSOProcessor.from_pretrained(tmp_path / "run" / "model")
    assert isinstance(saved.audio_tower, ToyEncoder) and isinstance(saved.aligner, Doubled)
    if is_loaded:  # the step has moved the checkpoint's weights, by the learning rate at most
        moved = (saved.audio_tower.layers[0].weight - own.layers[0].weight).abs().max().item()
        assert 0 < moved <= recipe.optimizer.lr * 1.01
    inputs = processor(audio=[str(clip.path) for clip in clips[:2]])
    assert saved.generate(**inputs, max_new_tokens=2).shape == (2, 2)


def test_a_recipe_that_names_no_entry_is_refused_with_the_choices(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "model:\n  language_model: llm\n  config:\n    fusion: spliced\n    audio_config:\n      model_type: wisper\n"
        "data:\n  sources: [{path: shards}]\n"
    )
    with pytest.raises(LLaSOError) as error:
        load(str(recipe))
    assert str(error.value).splitlines() == [
        f"{recipe}:4: model.config.fusion: there is no fusion 'spliced'; there are cross_attention, splice",
        f"{recipe}:6: model.config.audio_config.model_type: there is no encoder 'wisper'; "
        "there are llaso_resnet, whisper",
    ]


def test_another_package_adds_an_entry_by_an_entry_point(tmp_path, monkeypatch):
    (tmp_path / "their_table.py").write_text(f"from {__name__} import TABLE\nTABLE.register('theirs', 7)\n")
    about = tmp_path / "theirs-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: theirs\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[llaso.tests]\ntheirs = their_table\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert TABLE["theirs"] == 7 and list(TABLE) == ["theirs"]
    with pytest.raises(ValueError, match="another number 'theirs'"):
        TABLE.register("theirs", 8)
    sys.modules.pop("their_table")


TABLE: Registry[int] = Registry("number", group="llaso.tests")
