"""The command ``llaso-model serve``."""

from __future__ import annotations

import os

import click

from llaso_data.errors import LLaSOError
from llaso_data.extras import needed_for, require

TOKEN_VARIABLE = "LLASO_TOKEN"
_LOOPBACK = "127.0.0.1"
_VOICES_END_S = 5.0


@click.command()
@click.argument("model", metavar="MODEL")
@click.option("--host", default=_LOOPBACK, show_default=True, metavar="HOST", help="Address to listen at.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port; 0: a free one.")
@click.option(
    "--token",
    metavar="TEXT",
    help=f"Key that requests need. Default: the variable {TOKEN_VARIABLE}, else a new one, which is printed.",
)
@click.option("--keys", metavar="FILE", help="File of keys in place of --token: a line NAME KEY for each client.")
@click.option("--name", "names", multiple=True, metavar="NAME", help="What requests call the model. May be repeated.")
@click.option("--whisper", metavar="MODEL", help="Whisper that times words. Default: the one in the model's config.")
@click.option("--voice", metavar="NAME", help="Voice of answers, ENGINE or ENGINE/VOICE.  [default: hibari]")
@click.option("--voices", metavar="FILE", help="YAML file of voices: engines with their settings, aliases.")
@click.option("--slots", type=click.IntRange(1), default=32, show_default=True, help="Answers decoded at once.")
@click.option(
    "--max-new-tokens", type=click.IntRange(1), default=512, show_default=True, help="Most tokens of answers."
)
@click.option("--max-mib", type=click.IntRange(1), default=64, show_default=True, help="Most MiB of one request.")
@click.option("--max-minutes", type=float, default=120.0, show_default=True, help="Most minutes of audio of one.")
@click.option("--timeout", type=float, default=3600.0, show_default=True, help="Most seconds for one request.")
@click.option("--per-key", type=click.IntRange(1), default=64, show_default=True, help="Requests of one key at once.")
@click.option("--queue", type=click.IntRange(1), default=256, show_default=True, help="Prompts that wait for a slot.")
@click.option("--drain", type=float, default=60.0, show_default=True, help="Seconds for requests to end at SIGTERM.")
@click.option("--live", default="attention", show_default=True, metavar="NAME", help="Policy of realtime deltas.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    help="Precision of the model. Default: bf16 on a GPU, else fp32.",
)
@click.option("--backend", default="torch", show_default=True, metavar="NAME", help="What computes the answers.")
def serve(
    model: str,
    host: str,
    port: int,
    token: str | None,
    keys: str | None,
    names: tuple[str, ...],
    whisper: str | None,
    voice: str | None,
    voices: str | None,
    slots: int,
    max_new_tokens: int,
    max_mib: int,
    max_minutes: float,
    timeout: float,
    per_key: int,
    queue: int,
    drain: float,
    live: str,
    precision: str | None,
    backend: str,
) -> None:
    """Serve a model at OpenAI's addresses.

    Transcription, chat with audio, speech and realtime transcription, for OpenAI's own client and whatever speaks as
    it does; and a page at / for a browser. docs/serve.md explains the addresses and the limits.
    """
    import logging

    from llaso_data.report.served import listen
    from llaso_model.serve.settings import Keys, ServeLimits

    with needed_for("llaso-model serve"):
        from llaso_model.serve.server import Server
        from llaso_model.serve.service import Service
    require("llaso-model serve", "python_multipart", "websockets")
    from llaso_model.serve.live import POLICIES
    from llaso_model.serve.loading import ModelOptions, load
    from llaso_model.serve.metrics import Metrics

    if live not in POLICIES:
        raise LLaSOError(f"--live: {POLICIES.problem(live)}")
    tokens, is_new = _tokens(host, token, keys)
    limits = ServeLimits(
        body_bytes=max_mib << 20,
        audio_s=60 * max_minutes,
        timeout_s=timeout,
        per_key=per_key,
        waiting=queue,
        drain_s=drain,
    )
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("llaso_model").setLevel(logging.INFO)
    listener = listen(host, port, what="a model", options="--port or --host", backlog=1024)
    click.echo(f"{model}: loading", err=True)
    served = load(
        model,
        ModelOptions(
            names=names,
            whisper=whisper,
            voice=voice,
            voices=voices,
            slots=slots,
            waiting=queue,
            max_new_tokens=max_new_tokens,
            live=live,
            precision=precision,
            backend=backend,
        ),
    )
    service = Service(served, limits, Metrics())
    server = Server(service, Keys(tokens), listener)
    shown = "localhost" if host in ("0.0.0.0", "::") else host
    address = f"http://{f'[{shown}]' if ':' in shown else shown}:{listener.getsockname()[1]}"
    click.echo(f"{served.names[0]} at {address}/v1 (OPENAI_BASE_URL)")
    if is_new:
        (secret,) = tokens.values()
        click.echo(f"key {secret} (OPENAI_API_KEY)\npage {address}/#{secret}")
    if served.aligner is None:
        click.echo(f"no word times: {served.no_words}", err=True)
    server.serve_forever()
    if not service.is_silent(_VOICES_END_S):
        os._exit(0)  # else Python waits for the thread, and that for an address


def _tokens(host: str, token: str | None, keys: str | None) -> tuple[dict[str, str], bool]:
    """The keys by name, and whether one was made up. Raises LLaSOError where a stranger could ask without one."""
    import secrets

    from llaso_data.io.loopback import is_loopback
    from llaso_model.serve.loading import SHORTEST_TOKEN

    if keys is not None:
        if token is not None:
            raise LLaSOError("--token and --keys: give one of them")
        return _keys_of(keys), False
    token = token or os.environ.get(TOKEN_VARIABLE)
    if token:
        if len(token) < SHORTEST_TOKEN:
            raise LLaSOError(
                f"the key is short: give at least {SHORTEST_TOKEN} characters, such as those of `openssl rand -hex 16`"
            )
        return {"default": token}, False
    if not is_loopback(host):
        raise LLaSOError(
            f"--host {host} lets other machines ask: give a key with --token, --keys or the variable {TOKEN_VARIABLE}"
        )
    return {"default": secrets.token_urlsafe(24)}, True


def _keys_of(path: str) -> dict[str, str]:
    tokens: dict[str, str] = {}
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LLaSOError(f"--keys {path}: {error}") from error
    for number, line in enumerate(lines, 1):
        fields = line.partition("#")[0].split()
        if not fields:
            continue
        if len(fields) != 2 or len(fields[1]) < 16 or fields[0] in tokens or fields[1] in tokens.values():
            raise LLaSOError(
                f"{path}, line {number}: NAME KEY is expected, each once, with keys of 16 characters or more"
            )
        tokens[fields[0]] = fields[1]
    if not tokens:
        raise LLaSOError(f"{path} has no keys: write a line NAME KEY for each client")
    return tokens
