"""The commands of evaluation: ``llaso-model evaluate``, ``score``, ``report``, ``rate``."""

from __future__ import annotations

from typing import Any

import click

from llaso_data.errors import LLaSOError
from llaso_data.extras import require
from llaso_model.launcher_options import launcher_options


@click.command()
@click.argument("model", metavar="[MODEL]", required=False)
@click.option("--model-path", metavar="MODEL", help="Another way to give MODEL.")
@click.option("--data", "--eval-data-dir", "data", metavar="SOURCE", required=True, help="Evaluation data.")
@click.option(
    "--out", "--output-dir", "out", metavar="FOLDER", required=True, help="Folder of the run. A stopped run continues."
)
@click.option("--task", multiple=True, metavar="NAME", help="A task or a set, or all. May be repeated.  [default: all]")
@click.option(
    "--budget",
    metavar="BUDGET",
    default="120s",
    show_default=True,
    help="Size of a batch: 120s of audio, 15000f frames, 8000t tokens.",
)
@click.option("--batch-size", type=click.IntRange(1), help="Number of samples in a batch, in place of a budget.")
@click.option(
    "--max-new-tokens", type=click.IntRange(1), default=256, show_default=True, help="Length of the longest answer."
)
@click.option("--num-beams", type=click.IntRange(1), default=1, show_default=True, help="Beams of the search.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    help="Precision of the model. Default: bf16 on a GPU, else fp32.",
)
@click.option("--noise-sweep", metavar="LOW:HIGH:STEP", help="Ask once more at each ratio of speech to noise, in dB.")
@click.option(
    "--noise",
    default="speech",
    show_default=True,
    metavar="NOISE",
    help="Noise of the sweep: speech, white, pink, or recordings (a file or a folder).",
)
@click.option(
    "--variants", is_flag=True, help="Ask once more at other speeds, in rooms, and in the band of a telephone."
)
@click.option("--system", metavar="NAME", help="Name of the system. Default: that of the model.")
@click.option("--language", metavar="CODE", help="Language of a folder that names none.")
@click.option("--audio", metavar="FOLDER", help="Folder that the paths in a published file are relative to.")
@click.option("--tasks", metavar="FILE", help="A file of tasks, beside those of LLaSO.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of noise, rooms and the bootstrap.")
@launcher_options
def evaluate(
    model: str | None,
    model_path: str | None,
    out: str,
    task: tuple[str, ...],
    budget: str,
    batch_size: int | None,
    launcher: str,
    num_workers: int,
    address: str | None,
    **options: Any,
) -> None:
    """Ask a model evaluation data, and score its answers.

    SOURCE is a folder of shards, transcribed speech as `llaso-data` reads it, or the published JSON of LLaSO-Eval.
    The same command goes on where a killed one stopped. Several processes are started with
    torchrun --nproc-per-node 8 -m llaso_model.cli evaluate, or with --launcher ray. The exit code is 1 where samples
    could not be asked. They are named.
    """
    from llaso_data.stream.loader import placed
    from llaso_model.evaluate import score as scoring
    from llaso_model.evaluate.predict import predict
    from llaso_model.evaluate.report.table import print_scores

    require("scoring", "jiwer", "sacrebleu")  # better missed now than after hours of answers
    if (model is None) == (model_path is None):
        raise LLaSOError("name the model once, as MODEL or as --model-path")
    settings = predict.Evaluation(
        model=model or str(model_path),
        task=tuple(name for name in task if name != "all"),
        budget=budget if batch_size is None else str(batch_size),
        **options,
    )
    if launcher == "ray":
        predict.predict_on_ray(settings, out, num_workers, address)
    else:
        predict.predict(settings, out, _print_progress)
    if placed(None, None)[0]:
        return  # rank 0 puts the parts of all together
    predictions, skipped = predict.join_parts(out, _print_progress)
    print_scores(
        scoring.score([predictions], out, settings.tasks, settings.seed, on_progress=_print_progress, skipped=skipped),
        out,
    )
    if skipped:
        click.get_current_context().exit(1)


def _print_progress(line: str) -> None:
    click.echo(line, err=True)


@click.command()
@click.argument("predictions", nargs=-1, required=True, metavar="[NAME=]PREDICTIONS...")
@click.option("--out", required=True, metavar="URI", help="Folder for scores.json and rows.parquet.")
@click.option("--tasks", "tasks_path", metavar="FILE", help="A file of tasks, beside those of LLaSO.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the bootstrap and the tests.")
@click.option("--workers", type=int, help="Number of processes. Default: one for each CPU.")
@click.option(
    "--judge", "judge_at", metavar="JUDGE", help="What rates open answers: an OpenAI-compatible URL, or a model."
)
@click.option("--judge-model", metavar="NAME", help="Name of the model at the URL.")
@click.option(
    "--judge-requests",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="Number of requests under way at once.",
)
@click.option(
    "--votes", type=click.IntRange(1), default=1, show_default=True, help="Number of judgements of each open answer."
)
def score(
    predictions: tuple[str, ...],
    out: str,
    tasks_path: str | None,
    seed: int,
    workers: int | None,
    judge_at: str | None,
    judge_model: str | None,
    judge_requests: int,
    votes: int,
) -> None:
    """Score existing predictions. No model is needed.

    PREDICTIONS is a file of JSON or JSON lines, a folder of them, a folder of such folders, or a tar. A folder of files
    is one system. LLaSO's own lines are read, and the layouts in which outputs of LLaSO-Eval are published. NAME=
    names the system.
    """
    from llaso_model.evaluate import score as scoring
    from llaso_model.evaluate.llm_judge.judges import open_judge
    from llaso_model.evaluate.report.table import print_scores

    judge = None if judge_at is None else open_judge(judge_at, judge_model, votes, judge_requests)
    scores = scoring.score(predictions, out, tasks_path, seed, workers, judge, votes, _print_progress)
    print_scores(scores, out)


@click.command()
@click.argument("folders", nargs=-1, required=True, metavar="SCORES...")
@click.option("--out", metavar="URI", help="Folder to write to. Default: the first of SCORES.")
@click.option("--title", metavar="TEXT", help="Heading of the page.")
@click.option(
    "--audio", "audio_root", metavar="FOLDER", help="Folder that the audio paths of the rows are relative to."
)
@click.option(
    "--samples",
    "examples",
    type=click.IntRange(0, 50),
    default=6,
    show_default=True,
    help="Worst rows shown of each set and system.",
)
@click.option("--tasks", "tasks_path", metavar="FILE", help="A file of tasks, beside those of LLaSO.")
def report(
    folders: tuple[str, ...],
    out: str | None,
    title: str | None,
    audio_root: str | None,
    examples: int,
    tasks_path: str | None,
) -> None:
    """Make one HTML page, and JSON, of scores.

    SCORES is a folder that `llaso-model score` wrote. The systems of several are compared with each other. The page
    needs no network. With --audio it carries the sound of its worst rows.
    """
    from llaso_model.evaluate.report.scores_page import report as write

    for path in write(folders, out, title=title, audio_root=audio_root, examples=examples, tasks_path=tasks_path):
        click.echo(path)


@click.command()
@click.argument("folder", metavar="SCORES")
@click.option(
    "--audio", "audio_root", metavar="FOLDER", help="Folder that the audio paths of the rows are relative to."
)
@click.option("--noise", metavar="NOISE", help="Recordings that `evaluate` had as --noise, to be heard again.")
@click.option(
    "--items", type=click.IntRange(1), default=60, show_default=True, help="Number of answers that are rated."
)
@click.option("--set", "sets", multiple=True, metavar="NAME", help="Only answers of this set. May be repeated.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the draw and the order.")
@click.option("--port", type=int, default=0, help="Port of the page. Default: a free one.")
def rate(
    folder: str, audio_root: str | None, noise: str | None, items: int, sets: tuple[str, ...], seed: int, port: int
) -> None:
    """Let people rate answers blindly in the browser.

    SCORES is a folder that `llaso-model score` wrote. The page is served on this machine only. Ratings are kept in
    SCORES/ratings, and `llaso-model report SCORES` shows them with the agreement of the raters.
    """
    from llaso_data.io import storage
    from llaso_model.evaluate import store
    from llaso_model.evaluate.predict.recordings import load_recordings
    from llaso_model.evaluate.rate import ratings as rating
    from llaso_model.evaluate.rate.server import RateServer

    rows = [row for row in store.read(storage.join(folder, "rows.parquet")) if not sets or row.prediction.set in sets]
    if not rows:
        raise LLaSOError(f"{folder} has no answers of {', '.join(sets)}")
    recordings = load_recordings(noise, rows) if noise is not None else None
    with RateServer(folder, rating.draw_items(rows, items, seed), audio_root, port, recordings) as server:
        click.echo(
            f"{len(server.items)} answers to rate at {server.url}\nCtrl-C ends it; every rating is saved at once."
        )
        server.serve()
