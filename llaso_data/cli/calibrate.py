"""The command ``llaso-data calibrate``."""

from __future__ import annotations

from typing import Any

import click

from llaso_data.cli.build import load_recipe, machine_options


@click.command()
@click.argument("align", metavar="ALIGN")
@click.option("--clips", default=500, show_default=True, help="The most clips of a language.")
@click.option("--seed", default=0, show_default=True, help="Another seed draws other clips and faults.")
@click.option(
    "--faults", default=3, show_default=True, help="Faults that each clip is planted with, each in a pair of its own."
)
@click.option(
    "--false-alarms",
    type=click.FloatRange(0, 1),
    help="The share of right clips that fitted thresholds may reject. Default: the recipe's, 0.03.",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="What computes. Default: auto.")
@click.option("--threads", type=int, help="CPU threads of each worker.")
@machine_options
def calibrate(
    align: str,
    clips: int,
    seed: int,
    faults: int,
    false_alarms: float | None,
    device: str | None,
    threads: int | None,
    **machine: Any,
) -> None:
    """Measure what the filters find on your own recordings.

    ALIGN is the output of `llaso-data build-align`. Known faults are planted into its clips, and observed as the corpus
    was. Printed is how many of them the rules reject, and how many right clips, by language and corpus; then thresholds
    that are fitted to half of the texts, and what they do to the other half. The result is in ALIGN/calibration.json,
    and `build-align` judges by it when it runs again. A threshold that you set stays as it is
    (`--set judge.consistency.llr_min=-5`); nothing is transcribed again for that.
    """
    from llaso_data.pipeline import commit
    from llaso_data.pipeline.calibrate import Draw
    from llaso_data.pipeline.calibrate import calibrate as measure
    from llaso_data.pipeline.progress import Progress
    from llaso_data.pipeline.summary_tables import print_calibration

    for option, number in (("--clips", clips), ("--faults", faults)):
        if number < 1:
            raise click.BadParameter("at least 1", param_hint=option)
    options = {"out": align, "run.device": device, "run.threads": threads, "judge.false_alarms": false_alarms}
    recipe = load_recipe(machine, options, commit.manifest(align)["recipe"])
    with Progress() as progress:
        report = measure(recipe, Draw(clips, seed, faults), progress)
    print_calibration(report)
