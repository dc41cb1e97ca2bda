"""Real recordings: telephone prompts in five languages from Debian packages, and clips of a test plugin.

``apt-get download`` and ``dpkg -x`` need no root. apt checks what it downloads against the archive's signed index.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llaso_data.demo.wheels import Wheel, downloads_allowed, unpack
from llaso_data.errors import LLaSOError
from llaso_data.io.cache import cached
from llaso_data.recipe import SourceSpec

log = logging.getLogger(__name__)

BUILD = 1  # raised when the folders' content changes, so that old ones are not used
MIN_BYTES = 4_000  # 0.5 s of G.722 at 64 kbit/s
_TRANSCRIPTS = "usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"
_CLIPS = Wheel(
    "pytest-audioeval",
    "0.1.3",
    below="pytest_audioeval/samples/audio",
    sha256="8b97369347232d43180dd9860189c547ccc8dedb42b7c21d511ddc5a05ef7ecc",
)


@dataclass(frozen=True)
class Voice:
    """The one speaker of a folder, as the packages' own documentation names them."""

    folder: str
    speaker: str
    gender: str
    accent: str


VOICES: dict[str, Voice] = {
    "en": Voice("en_US_f_Allison", "Allison Smith", "female", "united-states"),
    "es": Voice("es_MX_f_Allison", "Allison Smith", "female", "mexico"),
    "fr": Voice("fr_CA_f_June", "June Wallack", "female", "canada"),
    "it": Voice("it_IT_m_Carlo", "Carlo Flora", "male", "italy"),
    "ru": Voice("ru_RU_f_IvrvoiceRU", "ivrvoice.ru", "female", "russia"),
}


@dataclass(frozen=True)
class DemoCorpus:
    """Recordings in several languages.

    Attributes:
        root: has all folders.
        folders: one for each language.
        languages: their codes, in the order of ``folders``.
        origin: where the recordings come from, in words.
        voices: the speakers in the order of ``folders``; empty where they are not known.
    """

    root: Path
    folders: tuple[Path, ...]
    languages: tuple[str, ...]
    origin: str
    voices: tuple[Voice, ...] = ()

    def sources(self) -> tuple[SourceSpec, ...]:
        """The folders as sources of a recipe, with what is known of language and speaker."""
        if not self.voices:
            pairs = zip(self.folders, self.languages, strict=True)
            return tuple(
                SourceSpec(path=str(folder), corpus=f"clips-{code}", language=code, type="folder")
                for folder, code in pairs
            )
        return tuple(
            SourceSpec(
                path=str(folder),
                corpus=f"prompts-{code}",
                language=code,
                type="folder",
                speaker=voice.speaker,
                gender=voice.gender,
                accent=voice.accent,
            )
            for folder, code, voice in zip(self.folders, self.languages, self.voices, strict=True)
        )


def demo_corpus(english: int = 200, others: int = 40) -> DemoCorpus:
    """Get prompts in en, es, fr, it and ru (``.g722``; English ones with ``.txt``), always the same ones.

    They are downloaded once, 55 MB, and kept in the cache. Where apt cannot download them, a warning is logged and the
    clips of pytest-audioeval in the same languages are used instead.

    Args:
        english: how many English prompts.
        others: how many of each other language.

    Raises:
        LLaSOError: where neither can be downloaded.
    """
    try:
        root = cached(f"demo/corpus-{english}-{others}-{BUILD}", lambda folder: _lay_out(folder, english, others))
    except LLaSOError as error:
        log.warning("%s\nUsing the clips of %s instead.", error, _CLIPS.pin)
        root = clips()
        present = tuple(language for language in VOICES if (root / language).is_dir())
        return DemoCorpus(root, tuple(root / language for language in present), present, _CLIPS.pin)
    languages = tuple(VOICES)
    folders = tuple(root / language for language in languages)
    return DemoCorpus(root, folders, languages, "Debian's asterisk-core-sounds-*-g722", tuple(VOICES.values()))


def prompts() -> Path:
    """The folder of the unpacked Debian packages (``usr/share/...``), which are downloaded once.

    Raises:
        LLaSOError: where they cannot be downloaded.
    """
    return cached(f"demo/debian-{BUILD}", _unpack_packages)


def english_prompts() -> dict[str, tuple[Path, str]]:
    """The English prompts that are speech and have a transcript: name → recording and text.

    Raises:
        LLaSOError: where they cannot be downloaded.
    """
    unpacked = prompts()
    with gzip.open(unpacked / _TRANSCRIPTS, "rt", encoding="utf-8") as file:
        texts = transcripts(file.read())
    sounds = unpacked / "usr/share/asterisk/sounds" / VOICES["en"].folder
    recordings = {name: (sounds / f"{name}.g722", text) for name, text in texts.items() if spoken(texts, name)}
    return {
        name: recording
        for name, recording in recordings.items()
        if recording[0].exists() and recording[0].stat().st_size >= MIN_BYTES
    }


def clips() -> Path:
    """The 27 clips of pytest-audioeval (MIT): ``<language>/<name>.wav`` with ``<name>.txt``, in nine languages."""

    def make(folder: Path) -> None:
        unpack(_CLIPS, folder)
        for language in list((folder / str(_CLIPS.below)).iterdir()):
            language.rename(folder / language.name)
        shutil.rmtree(folder / str(_CLIPS.below).split("/")[0])

    return cached(f"clips-{BUILD}", make)


def transcripts(lines: str) -> dict[str, str]:
    """Name of the prompt → text, of Asterisk's transcript file with lines ``name: text`` and comments after ``;``."""
    rows = (line.split(":", 1) for line in lines.splitlines() if ":" in line and not line.lstrip().startswith(";"))
    return {name.strip(): text.strip() for name, text in rows}


def spoken(texts: Mapping[str, str], name: str) -> bool:
    """Whether the prompt is speech: not silence, and not described as a sound, as ``[beep]`` and ``<beep>`` are."""
    return not name.startswith("silence/") and not texts.get(name, "").startswith(("[", "<"))


def draw(names: list[str], count: int, language: str) -> list[str]:
    """Choose the ``count`` names with the smallest hashes, sorted; a larger count keeps those of a smaller one."""
    by_hash = sorted(names, key=lambda name: hashlib.sha256(f"{language}/{name}".encode()).digest())
    return sorted(by_hash[:count])


def _lay_out(folder: Path, english: int, others: int) -> None:
    unpacked = prompts()
    with gzip.open(unpacked / _TRANSCRIPTS, "rt", encoding="utf-8") as file:
        texts = transcripts(file.read())
    for language, voice in VOICES.items():
        sounds = unpacked / "usr/share/asterisk/sounds" / voice.folder
        large = [path for path in sounds.rglob("*.g722") if path.stat().st_size >= MIN_BYTES]
        names = [path.relative_to(sounds).with_suffix("").as_posix() for path in large]
        names = [name for name in names if spoken(texts, name) and (language != "en" or name in texts)]
        for name in draw(names, english if language == "en" else others, language):
            target = folder / language / f"{name}.g722"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(sounds / f"{name}.g722", target)
            if language == "en":
                target.with_suffix(".txt").write_text(texts[name] + "\n", encoding="utf-8")


def _unpack_packages(folder: Path) -> None:
    for program in ("apt-get", "dpkg"):
        if shutil.which(program) is None:
            raise LLaSOError(f"there is no {program} on this machine to download Debian's recordings with")
    packages = ["asterisk-core-sounds-en", *(f"asterisk-core-sounds-{language}-g722" for language in VOICES)]
    downloads_allowed("Debian's recordings")
    log.info("downloading Debian's recordings, 55 MB: %s", " ".join(packages))
    download = folder / "debs"
    download.mkdir()
    download_run = subprocess.run(
        ["apt-get", "download", "-qq", *packages], cwd=download, capture_output=True, text=True, check=False
    )
    archives = sorted(download.glob("*.deb"))
    if download_run.returncode != 0 or len(archives) != len(packages):
        last_lines = "\n".join(download_run.stderr.strip().splitlines()[-2:])
        raise LLaSOError(
            f"apt could not download Debian's recordings; `sudo apt-get update` may help. It said:\n{last_lines}"
        )
    for package in archives:
        unpacked = subprocess.run(
            ["dpkg", "-x", str(package), str(folder)], capture_output=True, text=True, check=False
        )
        if unpacked.returncode != 0:
            raise LLaSOError(f"{package.name} could not be unpacked: {unpacked.stderr.strip()}")
    shutil.rmtree(download)
