"""What the corpora of ``bench/instruct_sets.py`` are made of: Debian packages, unpacked once into the cache.

Nothing is installed: ``apt-get download`` and ``dpkg -x`` need no root. espeak-ng runs from where it is unpacked.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

from llaso_data.demo import assets
from llaso_data.demo.wheels import downloads_allowed
from llaso_data.errors import LLaSOError
from llaso_data.io.cache import cached

BUILD, ESPEAK_BUILD = 1, 2
SOUNDS = (
    *(f"asterisk-core-sounds-{language}" for language in assets.VOICES),
    *(f"asterisk-core-sounds-{language}-g722" for language in assets.VOICES),
    "asterisk-prompt-fr-armelle",
    "asterisk-prompt-es-co",
    "klettres-data",
    "hedgewars-data",
    "timgm6mb-soundfont",
)


def sounds() -> Path:
    """The folder of the unpacked packages of sounds, 270 MB to download once."""
    return cached(f"bench/instruct-sounds-{BUILD}", lambda folder: _unpack(SOUNDS, folder))


def espeak() -> Path:
    """A folder with a command ``espeak-ng``, for the PATH; the installed one where there is one."""
    found = shutil.which("espeak-ng")
    return Path(found).parent if found else cached(f"bench/instruct-espeak-{ESPEAK_BUILD}", _unpack_espeak) / "bin"


def use_espeak() -> None:
    """Puts ``espeak-ng`` on this process's PATH."""
    os.environ["PATH"] = f"{espeak()}{os.pathsep}{os.environ['PATH']}"


@cache
def transcripts(language: str) -> dict[str, str]:
    """Name to text of the prompts that are speech, as the package's documentation says it."""
    path = sounds() / f"usr/share/doc/asterisk-core-sounds-{language}/core-sounds-{language}.txt.gz"
    with gzip.open(path, "rt", encoding="utf-8-sig", errors="replace") as file:
        texts = assets.transcripts(file.read())
    return {name: _clean(text) for name, text in texts.items() if assets.spoken(texts, name) and _clean(text)}


def recording(language: str, name: str) -> Path:
    """Where a prompt's recording lies, if there is one."""
    return sounds() / "usr/share/asterisk/sounds" / assets.VOICES[language].folder / f"{name}.g722"


@cache
def prompts(language: str, shortest_s: float = 0.7, longest_s: float = 28.0) -> dict[str, tuple[Path, str]]:
    """Name to recording and text of a language's prompts, of lengths that fit Whisper's window with an instruction."""
    found = {}
    for name, text in sorted(transcripts(language).items()):
        path = recording(language, name)
        if path.exists() and shortest_s <= path.stat().st_size / 8_000 <= longest_s:  # G.722: 8,000 bytes a second
            found[name] = (path, text)
    return found


def ipa(texts: list[str], language: str) -> list[str]:
    """What espeak-ng says the phonemes of texts are; empty where it says that a word is of another language."""
    voice = {"en": "en-us"}.get(language, language)
    found = []
    for text in texts:
        command = [str(espeak() / "espeak-ng"), "-v", voice, "-q", "--ipa", text]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found.append("" if "(" in said else " ".join(said.split()))
    return found


def _clean(text: str) -> str:
    """One line without ends that are no speech; empty for what has a sign that nobody speaks."""
    line = " ".join(text.split()).strip()
    return "" if re.search(r"[\[\]<>()�?#*/]", line.rstrip("?")) else line


def _unpack(packages: tuple[str, ...], folder: Path) -> None:
    downloads_allowed("Debian's recordings")
    download = folder / "debs"
    download.mkdir()
    run = subprocess.run(
        ["apt-get", "download", "-qq", *packages], cwd=download, capture_output=True, text=True, check=False
    )
    archives = sorted(download.glob("*.deb"))
    if run.returncode != 0 or len(archives) != len(packages):
        raise LLaSOError(
            f"apt could not download {', '.join(packages)}; `apt-get update` may help: {run.stderr[-300:]}"
        )
    for package in archives:
        subprocess.run(["dpkg", "-x", str(package), str(folder)], check=True, capture_output=True)
    shutil.rmtree(download)


def _missing(package: str) -> tuple[str, ...]:
    """A Debian package and all that it needs, without what is installed."""
    only = [f"--no-{kind}" for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")]
    command = ["apt-cache", "depends", "--recurse", *only, package]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    named = {line for line in said.splitlines() if line[:1].isalnum()}  # others are indented, or virtual in <>
    query = ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\\n"]
    listed = subprocess.run(query, capture_output=True, text=True, check=False).stdout.splitlines()
    installed = {line.split()[0] for line in listed if line.endswith(" installed")}
    return tuple(sorted({package, *named} - installed))


def _unpack_espeak(folder: Path) -> None:
    _unpack(_missing("espeak-ng"), folder)
    (folder / "bin").mkdir()
    command = folder / "bin" / "espeak-ng"
    command.write_text(
        '#!/bin/sh\nhere=$(dirname "$(dirname "$0")")\n'
        'lib=$(echo "$here"/usr/lib/*-linux-gnu*)\n'
        'LD_LIBRARY_PATH="$lib" ESPEAK_DATA_PATH="$lib/espeak-ng-data" exec "$here/usr/bin/espeak-ng" "$@"\n'
    )
    command.chmod(0o755)
