"""Recordings in Debian's packages, for the scripts of this folder."""

from __future__ import annotations

import subprocess
from pathlib import Path


def unpacked(package: str, folder: Path) -> Path:
    """The folder with a package's files; `apt-get download` is asked once."""
    target = folder / package
    if not (target / "usr").exists():
        target.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", "-qq", package], cwd=target, check=True)
        (archive,) = target.glob("*.deb")
        subprocess.run(["dpkg", "-x", str(archive), str(target)], check=True)
    return target
