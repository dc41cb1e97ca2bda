"""The commands of evaluation: ``llaso-model evaluate``, ``score``, ``report``, ``rate``."""

from __future__ import annotations

from typing import Any

import click

from llaso_data.errors import LLaSOError
from llaso_data.extras import require


@click.command()
@click.argument("model", metavar="[MODEL]", required=False)
@click.option("--model-path", metavar="MODEL", help="The model, said the other way.")
@click.option(
    "--data", "--eval-data-dir", "data", metavar="DATA", required=True, help="Shards, a folder, a file, a URI."
)
@click.option("--out", "--output-dir", "out", metavar="DIR", required=True, help="Folder of the run; it goes on there.")
@click.option("--task", multiple=True, metavar="all|NAME", help="A task or set; may be repeated.  [default: all]")
@click.option("--budget", default="120s", show_default=True, help="Of a batch: 120s, 15000f, 8000t.")
@click.option("--batch-size", type=click.IntRange(1), help="Samples of a batch, in place of a budget.")
@click.option("--max-new-tokens", type=click.IntRange(1), default=256, show_default=True, help="Longest answer.")
@click.option("--num-beams", type=click.IntRange(1), default=1, show_default=True)
@click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16"]), help="Default: bf16 on a GPU, else fp32.")
@click.option("--noise-sweep", metavar="LOW:HIGH:STEP", help="Once more at each ratio of speech to noise, in dB.")
@click.option(
    "--noise", default="speech", show_default=True, metavar="speech|white|pink|FILE|DIR", help="Of the sweep."
)
@click.option("--variants", is_flag=True, help="Once more at other speeds, in rooms, in a telephone's band.")
@click.option("--system", metavar="NAME", help="The system's name; default: the model's.")
@click.option("--language", metavar="xx", help="Of a folder that does not say it.")
@click.option("--audio", metavar="DIR", help="Folder that a published file's paths are relative to.")
@click.option("--tasks", metavar="FILE", help="A file of tasks; default: LLaSO's own.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of noise and rooms, and of the bootstrap.")
@click.option("--launcher", type=click.Choice(["none", "ray"]), default="none", help="torchrun needs none.")
@click.option("--num-workers", type=int, default=1, help="Processes of --launcher ray; one per GPU.")
@click.option("--address", metavar="ADDRESS", help="A Ray cluster to join.")
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
    """Ask a model all questions of evaluation data, and score its answers.

    DATA are shards, transcribed speech as `llaso-data` reads it, or LLaSO-Eval's published JSON. The same command goes
    on where a killed one stopped. Several processes: torchrun --nproc-per-node 8 -m llaso_model.cli evaluate …, or
    --launcher ray. Exit code 1: some samples could not be asked, and are named.
    """
    from llaso_data.stream.loader import placed
    from llaso_model.evaluate import score as scoring
    from llaso_model.evaluate.predict import predict
    from llaso_model.evaluate.report.table import print_scores

    require("scoring", "jiwer", "sacrebleu")  # better missed now than after hours of answers
    if (model is None) == (model_path is None):
        raise LLaSOError("name the model once, as MODEL or as --model-path")
    said = predict.Evaluation(
        model=model or str(model_path),
        task=tuple(name for name in task if name != "all"),
        budget=budget if batch_size is None else str(batch_size),
        **options,
    )
    if launcher == "ray":
        predict.on_ray(said, out, num_workers, address)
    else:
        predict.predict(said, out, _say)
    if placed(None, None)[0]:
        return  # rank 0 puts the parts of all together
    predictions, skipped = predict.join(out, _say)
    print_scores(scoring.score([predictions], out, said.tasks, said.seed, say=_say, skipped=skipped), out)
    if skipped:
        click.get_current_context().exit(1)


def _say(line: str) -> None:
    click.echo(line, err=True)


@click.command()
@click.argument("predictions", nargs=-1, required=True, metavar="[NAME=]PREDICTIONS...")
@click.option("--out", required=True, metavar="DIR", help="Folder for scores.json and rows.parquet.")
@click.option("--tasks", "tasks_path", metavar="FILE", help="A file of tasks; default: LLaSO's own.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the bootstrap and the tests.")
@click.option("--workers", type=int, help="Processes; default: one for each CPU.")
@click.option(
    "--judge", "judge_at", metavar="URL|MODEL", help="Rates open answers: an OpenAI-compatible URL, or a model."
)
@click.option("--judge-model", metavar="NAME", help="The model's name at the URL.")
@click.option(
    "--judge-requests",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="Requests under way at once.",
)
@click.option("--votes", type=click.IntRange(1), default=1, show_default=True, help="Judgements of each open answer.")
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
    """Score existing predictions; no model is needed.

    PREDICTIONS are JSON or JSON lines: a file, a folder of one system, a folder of such folders, or a tar of them.
    Read are LLaSO's own lines and the layouts in which LLaSO-Eval outputs are published. NAME= names the system.
    """
    from llaso_model.evaluate import score as scoring
    from llaso_model.evaluate.llm_judge.judges import judge_of
    from llaso_model.evaluate.report.table import print_scores

    judge = None if judge_at is None else judge_of(judge_at, judge_model, votes, judge_requests)
    said = scoring.score(predictions, out, tasks_path, seed, workers, judge, votes, _say)
    print_scores(said, out)


@click.command()
@click.argument("folders", nargs=-1, required=True, metavar="DIR...")
@click.option("--out", metavar="DIR", help="Where to write; default: the first DIR.")
@click.option("--title", metavar="TEXT", help="The page's heading.")
@click.option("--audio", "audio_root", metavar="DIR", help="Folder that the rows' audio paths are relative to.")
@click.option("--samples", "each", type=click.IntRange(0, 50), default=6, show_default=True, help="Worst rows of each.")
@click.option("--tasks", "tasks_path", metavar="FILE", help="A file of tasks; default: LLaSO's own.")
def report(
    folders: tuple[str, ...],
    out: str | None,
    title: str | None,
    audio_root: str | None,
    each: int,
    tasks_path: str | None,
) -> None:
    """Make one HTML page, and the same figures as JSON, of scores.

    DIR is a folder that `llaso-model score` wrote; of several the systems are compared with each other. The page
    needs no network; with --audio it carries the sound of its worst rows.
    """
    from llaso_model.evaluate.report.scores_page import report as write

    for path in write(folders, out, title=title, audio_root=audio_root, each=each, tasks_path=tasks_path):
        click.echo(path)


@click.command()
@click.argument("folder", metavar="DIR")
@click.option("--audio", "audio_root", metavar="DIR", help="Folder that the rows' audio paths are relative to.")
@click.option("--noise", metavar="FILE|DIR", help="The recordings that evaluate had as --noise, to be heard again.")
@click.option("--items", type=click.IntRange(1), default=60, show_default=True, help="How many answers are rated.")
@click.option("--set", "sets", multiple=True, metavar="NAME", help="Only answers of this set; may be repeated.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the draw and the order.")
@click.option("--port", type=int, default=0, help="Default: any free one.")
def rate(
    folder: str, audio_root: str | None, noise: str | None, items: int, sets: tuple[str, ...], seed: int, port: int
) -> None:
    """Let people rate answers blindly in the browser.

    DIR is a folder that `llaso-model score` wrote. The page is served on this machine only; ratings stand in
    DIR/ratings, and `llaso-model report DIR` shows them with the raters' agreement.
    """
    from llaso_data.io import storage
    from llaso_model.evaluate import store
    from llaso_model.evaluate.predict.recordings import recordings_of
    from llaso_model.evaluate.rate import ratings as rating
    from llaso_model.evaluate.rate.server import RateServer

    rows = [row for row in store.read(storage.join(folder, "rows.parquet")) if not sets or row.prediction.set in sets]
    if not rows:
        raise LLaSOError(f"{folder} has no answers of {', '.join(sets)}")
    recordings = recordings_of(noise, rows) if noise is not None else None
    with RateServer(folder, rating.draw(rows, items, seed), audio_root, port, recordings) as server:
        click.echo(
            f"{len(server.items)} answers to rate at {server.url}\nCtrl-C ends it; every rating is saved at once."
        )
        server.serve()
