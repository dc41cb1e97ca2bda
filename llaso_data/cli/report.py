"""The commands that report on a run: ``llaso-data card``, ``audit``, ``rejections`` and ``words``."""

from __future__ import annotations

import os
import sys
from typing import Any

import click


@click.command()
@click.argument("align", metavar="ALIGN")
@click.option("--out", "page", metavar="FILE", help="Page to write. Default: card.html in ALIGN.")
@click.option(
    "--examples",
    default=10,
    show_default=True,
    help="Examples to hear, of the accepted and of each rejecting rule; of instruction data, of each task.",
)
@click.option("--title", metavar="TEXT", help="Heading of the page. Default: the name of the folder ALIGN.")
def card(align: str, page: str | None, examples: int, title: str | None) -> None:
    """Write the dataset card: one HTML page.

    It has figures, and examples to hear. ALIGN is the output of `llaso-data build-align` or `build-instruct`.
    """
    from llaso_data.report.card import write_card

    click.echo(f"written to {write_card(align, page, examples=examples, title=title)}")


@click.command()
@click.argument("align", metavar="ALIGN")
@click.option("--auditor", metavar="NAME", help="Who listens. Default: the page asks.")
@click.option("--language", "languages", multiple=True, metavar="CODE", help="Only this language. May be repeated.")
@click.option(
    "--host",
    metavar="HOST",
    default="127.0.0.1",
    show_default=True,
    help="Address of the page. 0.0.0.0 is open to all.",
)
@click.option("--port", default=0, help="Port of the page. Default: a free one.")
@click.option("--open/--no-open", "show", default=True, help="Open the page in a browser. Default: open.")
@click.option("--title", metavar="TEXT", help="Heading of the page. Default: the name of the folder ALIGN.")
@click.option(
    "--status",
    is_flag=True,
    help="Print how far the audit is, and write the certificate of one that is done. No page is served.",
)
@click.option(
    "--export", "target", metavar="FILE", help="Write the sample as CSV, with its sounds beside it. No page is served."
)
@click.option(
    "--import", "filled", metavar="FILE", help="Take the answers of --auditor from such a CSV. No page is served."
)
def audit(
    align: str,
    auditor: str | None,
    languages: tuple[str, ...],
    host: str,
    port: int,
    show: bool,
    title: str | None,
    status: bool,
    target: str | None,
    filled: str | None,
) -> None:
    """Listen to the drawn sample, and certify its error rate.

    ALIGN is the output of `llaso-data build-align`. A page is served on this machine until Ctrl-C. Every answer is
    saved at once, and the same command goes on.
    """
    from llaso_data.report import audit_sheet
    from llaso_data.report.audit import describe, load_sample, update_certificate
    from llaso_data.shards import certificate

    if sum((status, target is not None, filled is not None)) > 1:
        raise click.UsageError("--status, --export and --import exclude each other")
    if filled is not None and auditor is None:
        raise click.UsageError("--import needs --auditor NAME: whose answers are they?")
    drawn = load_sample(align)
    if target is not None:
        click.echo(audit_sheet.write(drawn, target, auditor, languages))
        return
    certificate.refuse(drawn.align, "llaso-data audit")
    if filled is not None:
        click.echo(audit_sheet.read(drawn, filled, auditor or ""))
    if status or filled is not None:
        for line in describe(update_certificate(drawn)):
            click.echo(line)
        return
    _serve_audit(drawn, show, auditor=auditor, languages=languages, host=host, port=port, title=title)


def _serve_audit(drawn: Any, show: bool, **options: Any) -> None:
    import webbrowser

    from llaso_data.report.audit import describe
    from llaso_data.report.audit_server import AuditServer

    with AuditServer(drawn, **options) as server:
        click.echo(describe(server.status())[0])
        click.echo(f"open {server.url}")
        if server.exposure:
            click.echo(server.exposure, err=True)
        click.echo("Ctrl-C ends it; every answer is saved when the page says so", err=True)
        if show and (sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            webbrowser.open(server.once())
        try:
            server.serve()
        except KeyboardInterrupt:
            click.echo("", err=True)
        for line in describe(server.status()):
            click.echo(line)


@click.command()
@click.argument("align", metavar="ALIGN")
@click.option("--rule", metavar="NAME", help="Only this rule or group: failed, consistency.cer.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object on each line.")
def rejections(align: str, rule: str | None, as_json: bool) -> None:
    """List what was not accepted: place, rule, value, threshold.

    ALIGN is the output of `llaso-data build-align`.
    """
    import json

    from llaso_data.report.rejections import lines
    from llaso_data.report.rejections import rejections as find

    rejected = find(align, rule)
    for line in (json.dumps(r.to_dict(), ensure_ascii=False) for r in rejected) if as_json else lines(rejected):
        click.echo(line)


@click.command()
@click.argument("align", metavar="ALIGN")
@click.option(
    "--out", default="words.png", show_default=True, metavar="FILE", help="Picture to write: PNG, SVG or PDF."
)
@click.option("--count", default=10, show_default=True, help="Number of utterances, spread over the whole output.")
@click.option("--language", metavar="CODE", help="Only this language.")
def words(align: str, out: str, count: int, language: str | None) -> None:
    """Draw waveforms with their words.

    ALIGN is the output of `llaso-data build-align`.
    """
    from llaso_data.io import pictures
    from llaso_data.report.word_figure import BY, choose, draw

    pictures.refuse(out, BY, "--out")
    draw(choose(align, count, language), out)
    click.echo(f"written to {out}")
