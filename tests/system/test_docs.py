"""The documentation site: every link leads somewhere, and the reference has what users call."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from llaso_data.shipped import RECIPES
from tests.support.paths import REPOSITORY


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 11), reason="the Markdown extensions of the site need Python 3.11")
def test_the_site_is_built_and_no_link_leads_nowhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    loader = (tmp_path / "site" / "reference" / "llaso_data.stream.loader.html").read_text(encoding="utf-8")
    assert "StreamingLoader" in loader and "micro_batches" in loader and ":func:" not in loader
    pages = [path.read_text(encoding="utf-8") for path in (tmp_path / "site").glob("*.html")]
    recipes = (tmp_path / "site" / "recipes.html").read_text(encoding="utf-8")
    assert all(f"llaso-model train: {name}" in recipes for name in RECIPES["train"])
    assert len(pages) > 20 and not any('src="http' in page for page in pages)
