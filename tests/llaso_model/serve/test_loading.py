"""What a server loads beside the model, on a machine that is not the one that trained it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llaso_data.errors import LLaSOError
from llaso_model.serve.loading import ModelOptions, load
from tests.support.training_fixtures import small_tokenizer, write_model


def test_a_whisper_that_was_recorded_elsewhere_costs_the_word_times_and_one_that_is_named_has_to_be_there(
    tmp_path: Path,
) -> None:
    write_model(tmp_path / "model", small_tokenizer())
    file = tmp_path / "model" / "config.json"
    gone = str(tmp_path / "gone")
    file.write_text(json.dumps({**json.loads(file.read_text()), "whisper": gone}))
    (tmp_path / "model" / "checksums.json").unlink(missing_ok=True)
    served = load(str(tmp_path / "model"), ModelOptions())
    assert served.aligner is None and gone in served.no_words and "--whisper" in served.no_words
    with pytest.raises(LLaSOError, match="--whisper"):
        load(str(tmp_path / "model"), ModelOptions(whisper=gone))
