"""What the project's pages share: their files, joined into one document, and the policy of what it may do."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import json
from collections.abc import Sequence
from typing import Any

SHARED = "common"
"""Style and script that every page begins with: ``common.css``, ``common.js``."""


def render(template: str, scripts: Sequence[str], package: str | None = None, **values: Any) -> str:
    """Fill a template. Values are escaped.

    Args:
        template: its file name.
        scripts: the texts of scripts, which the template names by their numbers.
        package: the package that holds the template; None for this one.
        values: what the template prints; ``filters`` are its filters.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: asset(name, package)),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(values.pop("filters", {}))
    return environment.get_template(template).render(scripts=scripts, **values)


def joined(kind: str, *names: str) -> str:
    """The shared styles or scripts, then a page's own, as one text; ``kind`` is css or js."""
    return "".join(asset(f"{name}.{kind}") for name in (SHARED, *names))


def asset(name: str, package: str | None = None) -> str:
    """A file of a package as text; ``package`` is None for this one."""
    return importlib.resources.files(package or __package__).joinpath(name).read_text(encoding="utf-8")


def policy(scripts: Sequence[str], *more: str) -> str:
    """A Content-Security-Policy that runs exactly these scripts and allows no request to the network.

    Sounds are ``blob:`` addresses that the page makes of its own content.

    Args:
        scripts: their texts.
        more: further directives.
    """
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {hashes}",
            "style-src 'unsafe-inline'",
            "img-src data:",
            "media-src blob:",
            "base-uri 'none'",
            "form-action 'none'",
            *more,
        ]
    )


def as_json(value: Any) -> str:
    """JSON that may stand in a script element: nothing in it can end the element or the line."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
