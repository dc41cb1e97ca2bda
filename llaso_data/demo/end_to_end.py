"""``llaso-data demo``: from recordings of real prompts in five languages to shards and a dataset card."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from llaso_data.demo import assets, weights
from llaso_data.demo.conversions import there_and_back
from llaso_data.errors import LLaSOError
from llaso_data.filters.rates import sentence
from llaso_data.io import outputs, storage
from llaso_data.pipeline import commit
from llaso_data.pipeline.commit import observed
from llaso_data.recipe import Recipe
from llaso_data.records import GIVEN
from llaso_data.shards import layout, manifest
from llaso_data.shipped import recipe_path
from llaso_data.text import tokens

TITLE = "Telephone prompts in five languages"
_CLIPS, _FAULTS = 16, 1  # clips of a language, and faults that each is planted with
_JOINED = 8  # utterances, two windows
_BUDGET = "60s"  # of a micro-batch


def run_demo(out: str, *, english: int, others: int, engine: str) -> None:
    """Obtain recordings and weights, build, calibrate, judge again, shard, validate, and write the dataset card.

    The results are printed. Downloads are kept in the cache, results in ``out``: a second run resumes.

    Args:
        out: the folder of the outputs, here or on a store.
        english: how many English prompts.
        others: how many of each other language.
        engine: ray or local.

    Raises:
        LLaSOError: where something cannot be downloaded, or the shards are damaged.
    """
    from llaso_data.pipeline.build_align import build_align
    from llaso_data.pipeline.calibrate import Draw, calibrate
    from llaso_data.pipeline.progress import Progress, ShardProgress, print_shards, print_summary
    from llaso_data.pipeline.shard import shard_dataset
    from llaso_data.pipeline.summary_tables import print_rates
    from llaso_data.report.card import write_card
    from llaso_data.shards.validate import validate

    _print_step("1/9  Recordings and Whisper weights (downloaded once, then from the cache)")
    corpus = assets.demo_corpus(english, others)
    model = weights.whisper_base()
    click.echo(f"     {corpus.origin}: {', '.join(corpus.languages)}\n     Whisper base, multilingual: {model}")
    recipe = _recipe(corpus, str(model), storage.join(out, "align"), engine)
    started = time.monotonic()

    _print_step("2/9  llaso-data build-align")
    with Progress() as progress:
        summary = build_align(recipe, progress)
    print_summary(summary.to_dict())
    errors, words, clips = word_errors(storage.join(out, "align"), "en")
    if words:
        click.echo(f"WER of the hypotheses on {clips} English prompts with transcripts: {errors / words:.4f}")
    if corpus.voices:
        click.echo(_word_times(recipe))

    _print_step(f"3/9  llaso-data calibrate --clips {_CLIPS} --faults {_FAULTS}")
    with Progress() as progress:
        calibration = calibrate(recipe, Draw(_CLIPS, faults=_FAULTS), progress)
    print_rates(calibration)

    _print_step("4/9  llaso-data build-align again, which finds the calibration")
    before, summary = summary.counts["accepted"], build_align(recipe)
    click.echo(f"     {summary.counts['accepted']} accepted, {before} before; nothing was transcribed again")
    click.echo(f"     {sentence(summary.to_dict())}")

    _print_step("5/9  llaso-data shard")
    shards = storage.join(out, "shards")
    with ShardProgress() as shard_progress:
        written = shard_dataset(
            storage.join(out, "align"),
            shards,
            recipe.shard,
            recipe.run,
            overwrite=_is_demo_output(storage.join(out, "align"), shards),
            progress=shard_progress.shard_done,
        )
    print_shards(written.to_dict())

    _print_step("6/9  llaso-data validate")
    report = validate(shards)
    if not report.ok:
        raise LLaSOError(f"{shards}: {len(report.problems)} problems, the first: {report.problems[0]}")
    click.echo(f"     {report.samples} samples in {report.shards} shards: every byte read again, no problem")

    _print_step("7/9  Streamed as training reads them")
    click.echo(f"     {_streamed(shards)}")

    _print_step("8/9  llaso-data convert: a few samples in every layout, and back")
    names = there_and_back(shards, storage.join(out, "converted"))
    click.echo(f"     {', '.join(names)}: the same texts, the same sound bit for bit")

    _print_step("9/9  llaso-data card")
    page = write_card(storage.join(out, "align"), title=TITLE if corpus.voices else None)
    click.echo(f"     {storage.stat(page)['size'] / 1e6:.1f} MB: figures, thresholds to move, examples to hear")
    click.echo(f"\nDone in {time.monotonic() - started:.0f} s. Try next:")
    click.echo(f"  .venv/bin/llaso-data stats {shards}")
    click.echo(f"  .venv/bin/llaso-data build-align YOUR_FOLDER --asr {model} --out my-align")
    click.echo("\nThe dataset card, to look at and to listen to in a browser:")
    click.echo(page)


def _is_demo_output(align: str, shards: str) -> bool:
    """Whether existing shards come from an earlier demo's records, or are unfinished."""
    shards_manifest = outputs.json_at(storage.join(shards, layout.MANIFEST))
    if not manifest.is_manifest(shards_manifest, manifest.LLASO):
        return True  # nothing but what a run of ours left is removed then
    verdicts = (shards_manifest.get("source") or {}).get("verdicts")
    return verdicts is not None and storage.exists(commit.verdicts_uri(align, verdicts))


def word_errors(align: str, language: str) -> tuple[int, int, int]:
    """Compare free decoding with the given transcripts of a language, both normalised.

    Returns:
        The numbers of word errors, of words and of clips.
    """
    from rapidfuzz.distance import Levenshtein

    errors = words = clips = 0
    for utterance in observed(align):
        if utterance.language == language and utterance.text_origin == GIVEN and utterance.text:
            reference = tokens(utterance.text, language)
            errors += Levenshtein.distance(reference, tokens(utterance.hypothesis or "", language))
            words += len(reference)
            clips += 1
    return errors, words, clips


def _word_times(recipe: Recipe) -> str:
    """A sentence on the error of word times where the truth is known; no setting was fitted on these words."""
    from llaso_data.demo.exact import GAP_S, errors_ms, joined_words
    from llaso_data.pipeline.transcription import transcriber
    from llaso_data.whisper.load import load

    settings = recipe.observe
    transcribe = transcriber(load(settings.asr, recipe.run), settings.asr, settings.align)
    errors = errors_ms(transcribe, joined_words(_JOINED))
    return (
        f"Word times on {len(errors)} known edges of recordings joined {GAP_S[0]}-{GAP_S[1]} s apart: "
        f"{errors.mean():.0f} ms off in the mean, {(errors <= 100).mean():.1%} within 100 ms"
    )


def _streamed(shards: str) -> str:
    """Read one epoch with the loader and one worker; a sentence on it."""
    from llaso_data.stream import Mixture, StreamingLoader

    loader = StreamingLoader(Mixture.of(shards), _BUDGET, micro_batches=2, num_workers=1)
    samples = batches = area = sound = 0
    for batch in loader:
        assert batch.audio is not None and batch.lengths is not None
        samples, batches = samples + len(batch), batches + 1
        area, sound = area + batch.audio.numel(), sound + int(batch.lengths.sum())
    state = len(json.dumps(loader.state_dict()))
    return (
        f"{samples} samples in {batches} micro-batches of at most {_BUDGET}, {1 - sound / area:.1%} padding; "
        f"the state to go on from has {state} bytes"
    )


def _recipe(corpus: assets.DemoCorpus, model: str, out: str, engine: str) -> Recipe:
    from llaso_data.pipeline.load_recipe import load

    path = recipe_path("build-align", "demo")
    sources: list[dict[str, Any]] = [spec.model_dump(exclude_none=True) for spec in corpus.sources()]
    return load(path, options={"sources": sources, "out": out, "observe.asr.model": model, "run.engine": engine})


def _print_step(line: str) -> None:
    click.secho(f"\n{line}", bold=True)
