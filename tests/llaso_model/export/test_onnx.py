"""A model as ONNX gives the tokens that the model gives, whatever is answered together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from llaso_data.errors import LLaSOError
from llaso_model.cli import main
from llaso_model.engine.backends import BACKENDS
from llaso_model.engine.engine import Engine, Limits, answers_of
from llaso_model.engine.requests import Request, Sampling
from llaso_model.train.build import save_model
from tests.llaso_model.engine.test_engine import CONVERSATIONS, Alone, conversation, differs, model_of
from tests.support.training_fixtures import made_model, small_tokenizer


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Path]:
    """A small model, its processor, and the folder of its graphs."""
    model, processor = model_of(small_tokenizer(), "splice")
    folder = tmp_path_factory.mktemp("onnx")
    save_model(folder / "model", model, processor)
    done = CliRunner().invoke(main, ["export", str(folder / "model"), "--out", str(folder / "graphs")])
    assert done.exit_code == 0, done.output
    return model, processor, folder / "graphs"


@pytest.mark.parametrize("slots", [1, 3])
def test_rows_have_the_tokens_of_generate(exported, slots):
    model, processor, folder = exported
    engine = Engine(BACKENDS["onnx"].open(str(folder), "MODEL", None), Limits(slots=slots))
    numbers = range(len(CONVERSATIONS))
    counts = [2 + number % 3 * 3 for number in numbers]  # so that rows leave and enter at other steps
    requests = [
        Request(conversation(processor, number), Sampling(max_new_tokens=count))
        for number, count in zip(numbers, counts, strict=True)
    ]
    alone = Alone(model, processor)
    answers = answers_of(engine.run(requests))
    assert (
        sum(
            differs(answer.tokens, alone(number, count))
            for number, count, answer in zip(numbers, counts, answers, strict=True)
        )
        <= 1
    )


def test_what_cannot_be_exported_is_refused_by_name(tmp_path):
    model = made_model(tmp_path, "cross_attention")
    done = CliRunner().invoke(main, ["export", str(model), "--out", str(tmp_path / "graphs")])
    assert isinstance(done.exception, LLaSOError) or "cross_attention" in done.output
    assert "cross_attention" in f"{done.output}{done.exception}" and not (tmp_path / "graphs").exists()
    with pytest.raises(LLaSOError, match=r"encoder\.onnx.*llaso-model export"):
        BACKENDS["onnx"].open(str(model), "MODEL", None)


def test_precision_of_graphs_is_theirs(exported):
    with pytest.raises(LLaSOError, match="fp32, not bf16"):
        BACKENDS["onnx"].open(str(exported[2]), "MODEL", "bf16")
    assert torch.is_grad_enabled()
