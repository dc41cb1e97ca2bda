"""The page at ``/``: a browser records, drops a file, asks, listens. The key is typed, or stands behind ``#``."""

from __future__ import annotations

from functools import cache

from starlette.requests import Request
from starlette.responses import Response

from llaso_data.report import page as pages
from llaso_data.report.asgi import POLICY

FILES = {"page.js": "text/javascript", "recorder.js": "text/javascript", "page.css": "text/css"}
"""Files of the page, which it loads from this server."""
_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "media-src blob:",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)


async def page(request: Request) -> Response:
    """The page."""
    served = request.app.state.service.served
    html = pages.render(
        "page.html.j2",
        [],
        package=__package__,
        model=served.names[0],
        voices=["default", *served.speaker.names[:200]] if served.speaker is not None else [],
        has_words=served.aligner is not None,
    )
    headers = {POLICY: _POLICY, "Permissions-Policy": "microphone=(self)"}
    return Response(html, media_type="text/html; charset=utf-8", headers=headers)


async def file(request: Request) -> Response:
    """A file of the page."""
    name = request.url.path.removeprefix("/")
    return Response(_content(name), media_type=FILES[name])


@cache
def _content(name: str) -> str:
    return pages.asset(name, __package__)
