"""What the project's pages share: their files, joined into one document, and the policy that keeps it inert."""

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
    """A template, filled; what is filled in is escaped. `scripts` are known in it by their number.

    `package` holds the template; without it this one.
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
    """A page's own styles or scripts behind the shared one; `kind` is css or js."""
    return "".join(asset(f"{name}.{kind}") for name in (SHARED, *names))


def asset(name: str, package: str | None = None) -> str:
    """A file of a package as text; without `package` of this one."""
    return importlib.resources.files(package or __package__).joinpath(name).read_text(encoding="utf-8")


def policy(scripts: Sequence[str], *more: str) -> str:
    """A Content-Security-Policy that lets exactly these scripts run and nothing reach the network.

    Sounds are ``blob:`` addresses that the page makes of what it carries. `more` are further directives.
    """
    allowed = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {allowed}",
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
