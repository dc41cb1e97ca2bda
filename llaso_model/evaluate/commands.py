"""The commands of evaluation: ``llaso-model score``, ``report``, ``rate``."""

from __future__ import annotations

import click


@click.command()
@click.argument("predictions", nargs=-1, required=True, metavar="[NAME=]PREDICTIONS...")
@click.option("--out", required=True, metavar="DIR", help="Folder for scores.json and rows.parquet.")
@click.option("--tasks", "tasks_path", metavar="FILE", help="Another tasks.yaml; default: LLaSO's own.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the bootstrap and the tests.")
@click.option("--workers", type=int, help="Processes; default: one for each CPU.")
@click.option(
    "--judge", "judge_at", metavar="URL|MODEL", help="Rates open answers: an OpenAI-compatible URL, or a model."
)
@click.option("--judge-model", metavar="NAME", help="The model's name at the URL.")
@click.option("--votes", type=click.IntRange(1), default=1, show_default=True, help="Judgements of each open answer.")
def score(
    predictions: tuple[str, ...],
    out: str,
    tasks_path: str | None,
    seed: int,
    workers: int | None,
    judge_at: str | None,
    judge_model: str | None,
    votes: int,
) -> None:
    """Score existing predictions; no model is needed.

    PREDICTIONS are JSON or JSON lines: a file, a folder of one system, a folder of such folders, or a tar of them.
    Read are LLaSO's own lines and the layouts in which LLaSO-Eval outputs are published. NAME= names the system.
    """
    from llaso_model.evaluate import score as scoring
    from llaso_model.evaluate.judge import judge_of
    from llaso_model.evaluate.table import print_scores

    judge = None if judge_at is None else judge_of(judge_at, judge_model, votes)
    said = scoring.score(
        predictions, out, tasks_path, seed, workers, judge, votes, lambda line: click.echo(line, err=True)
    )
    print_scores(said, out)


@click.command()
@click.argument("folders", nargs=-1, required=True, metavar="DIR...")
@click.option("--out", metavar="DIR", help="Where to write; default: the first DIR.")
@click.option("--title", metavar="TEXT", help="The page's heading.")
@click.option("--audio", "audio_root", metavar="DIR", help="Folder that the rows' audio paths are relative to.")
@click.option("--samples", "each", type=click.IntRange(0, 50), default=6, show_default=True, help="Worst rows of each.")
@click.option("--tasks", "tasks_path", metavar="FILE", help="Another tasks.yaml; default: LLaSO's own.")
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
    from llaso_model.evaluate.report import report as write

    for path in write(folders, out, title=title, audio_root=audio_root, each=each, tasks_path=tasks_path):
        click.echo(path)


@click.command()
@click.argument("folder", metavar="DIR")
@click.option("--audio", "audio_root", metavar="DIR", help="Folder that the rows' audio paths are relative to.")
@click.option("--items", type=click.IntRange(1), default=60, show_default=True, help="How many answers are rated.")
@click.option("--set", "sets", multiple=True, metavar="NAME", help="Only answers of this set; may be repeated.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the draw and the order.")
@click.option("--port", type=int, default=0, help="Default: any free one.")
def rate(folder: str, audio_root: str | None, items: int, sets: tuple[str, ...], seed: int, port: int) -> None:
    """Let people rate answers blindly in the browser.

    DIR is a folder that `llaso-model score` wrote. The page is served on this machine only; ratings stand in
    DIR/ratings, and `llaso-model report DIR` shows them with the raters' agreement.
    """
    from llaso_data import storage
    from llaso_data.errors import LLaSOError
    from llaso_model.evaluate import rate as rating
    from llaso_model.evaluate import store
    from llaso_model.evaluate.rate_server import RateServer

    rows = [row for row in store.read(storage.join(folder, "rows.parquet")) if not sets or row.prediction.set in sets]
    if not rows:
        raise LLaSOError(f"{folder} has no answers of {', '.join(sets)}")
    with RateServer(folder, rating.draw(rows, items, seed), audio_root, port) as server:
        click.echo(
            f"{len(server.items)} answers to rate at {server.url}\nCtrl-C ends it; every rating is saved at once."
        )
        server.serve()
