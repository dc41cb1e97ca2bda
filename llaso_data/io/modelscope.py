"""ModelScope's own ways: its addresses, the pages of its lists, its token and what its errors mean.

Its client's, as of modelscope_hub 0.5.1 (modelscope 1.40): lists come with the SHA-256 of every file, and there is no
commit to pin a list to; a file that changes between the list and its transfer is found by its sum.
"""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from llaso_data import __version__
from llaso_data.errors import LLaSOError
from llaso_data.io.hub_listing import HubFile, HubPlace, refuse_path
from llaso_data.io.hub_requests import FIRST_ATTEMPTS, Patience, Traffic, read_answer
from llaso_data.io.store_errors import AddressError, StoreError, reason

_ADDRESS = re.compile(
    r"ms://(?:(?P<kind>datasets|models)/)?(?P<owner>\w[\w.-]*)/(?P<name>\w[\w.-]*)"
    r"(?:@(?P<revision>[^/]+))?(?:/(?P<folder>.*))?",
    re.ASCII,
)
_HOME = "https://modelscope.cn"
_BRANCH = "master"
_PAGE = 200
_CUT_AT = 3000  # files of a model: a list of so many is not whole, and says nothing of that

Row = dict[str, Any]


def parse(uri: str) -> HubPlace:
    """Take an address apart. Raises AddressError for what is none of a data set or a model."""
    match = _ADDRESS.fullmatch(uri.rstrip("/"))
    if match is None or match["owner"] in ("datasets", "models", "studios"):
        raise AddressError(f"{uri}: names no repository of ModelScope: ms://OWNER/NAME[@REVISION][/FOLDER]")
    revision = None if match["revision"] is None else unquote(match["revision"])
    return HubPlace(f"{match['owner']}/{match['name']}", match["kind"] or "datasets", revision, match["folder"] or "")


def endpoint() -> str:
    """The hub's address: ``MODELSCOPE_ENDPOINT``, or ``MODELSCOPE_DOMAIN``, as its client reads them."""
    named = os.environ.get("MODELSCOPE_ENDPOINT") or os.environ.get("MODELSCOPE_DOMAIN") or _HOME
    return (named if "://" in named else f"https://{named}").rstrip("/")


def is_own(url: str) -> bool:
    """Whether an address is on the hub's own host, which may see the token."""
    ours, theirs = urlsplit(endpoint()), urlsplit(url)
    return (ours.scheme, ours.netloc) == (theirs.scheme, theirs.netloc)


def headers(url: str) -> dict[str, str]:
    """What a request to an address carries: who asks, and for the hub itself the token (``MODELSCOPE_API_TOKEN``)."""
    sent = {"User-Agent": f"llaso/{__version__}"}
    token = os.environ.get("MODELSCOPE_API_TOKEN") if is_own(url) else None
    # Its older servers look at the cookie, its newer ones at the header; its client sends both.
    return {**sent, "Authorization": f"Bearer {token}", "Cookie": f"m_session_id={token}"} if token else sent


def file_address(kind: str, repo: str, commit: str, path: str) -> str:
    """Where the hub gives a file, or says where it lies."""
    query = urlencode({"Source": "SDK", "Revision": commit, "FilePath": path})
    return f"{endpoint()}/api/v1/{kind}/{quote(repo)}/repo?{query}"


def listed(place: HubPlace, traffic: Traffic) -> tuple[str, list[HubFile]]:
    """The revision, as it was named, and the files of a place.

    Raises:
        AddressError: where there is no such repository, revision or folder.
        LLaSOError: where access is refused, or a path leads out of the repository.
        StoreError: where the hub fails.
    """
    rows = _data_set(place, traffic) if place.kind == "datasets" else _model(place, place.folder, traffic)
    files = [_file(row, place) for row in rows if row.get("Type") != "tree"]
    if not files and place.folder:
        raise AddressError(f"{place.repo}/{place.folder}: the repository has no files there; {_page(place)} lists them")
    return place.revision or _BRANCH, files


def _data_set(place: HubPlace, traffic: Traffic) -> list[Row]:
    rows: list[Row] = []
    while True:
        number = len(rows) // _PAGE + 1
        query = {"Recursive": "True", "PageNumber": str(number), "PageSize": str(_PAGE)}
        page = _rows("repo/tree", {**query, **_root(place.folder)}, place, traffic, later=number > 1)
        rows += page
        if len(page) < _PAGE:
            return rows


def _model(place: HubPlace, folder: str, traffic: Traffic) -> list[Row]:
    """All below a folder at once; where that is cut off, folder by folder."""
    rows = _rows("repo/files", {"Recursive": "True", **_root(folder)}, place, traffic)
    if len(rows) < _CUT_AT:
        return rows
    rows = _rows("repo/files", {"Recursive": "False", **_root(folder)}, place, traffic)
    if len(rows) >= _CUT_AT:
        raise StoreError(f"{place.repo}/{folder}: ModelScope lists no more than {_CUT_AT} files of a folder of a model")
    below = [_model(place, str(row["Path"]), traffic) for row in rows if row.get("Type") == "tree"]
    return [row for row in rows if row.get("Type") != "tree"] + [row for part in below for row in part]


def _root(folder: str) -> dict[str, str]:
    return {"Root": folder} if folder else {}


def _rows(what: str, query: dict[str, str], place: HubPlace, traffic: Traffic, later: bool = False) -> list[Row]:
    """One answer of a list. A later page may be refused for a moment; its client asks again, too."""
    asked = urlencode({"Revision": place.revision or _BRANCH, **query})
    url = f"{endpoint()}/api/v1/{place.kind}/{quote(place.repo)}/{what}?{asked}"
    patience = Patience(place.repo, traffic, FIRST_ATTEMPTS)
    while (response := read_answer(url, headers, patience)).status_code == 403 and later:
        patience.again("the server answered 403")
    if response.status_code != 200:
        raise refusal(response, place.kind, place.repo, place.repo)
    try:
        answer = response.json()
        if answer.get("Success") is False or answer.get("Code", 200) not in (200, "200", None):
            raise AddressError(f"{place.repo}: ModelScope refuses ({answer.get('Message')}); {_page(place)}")
        data = answer.get("Data")
        return list(data if isinstance(data, list) else (data or {}).get("Files") or [])
    except (ValueError, AttributeError, TypeError) as error:
        raise StoreError(f"{place.repo}: {endpoint()} answers with something else than ModelScope does") from error


def _file(row: Row, place: HubPlace) -> HubFile:
    try:
        refuse_path(row["Path"], place.repo)
        # Its ids of blobs are not compared: they are not documented to be git's.
        return HubFile(row["Path"], int(row["Size"]), str(row["Sha256"]) if row.get("Sha256") else None, "")
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{place.repo}: ModelScope's list of files is not understood ({reason(error)})") from error


def _page(place: HubPlace) -> str:
    return f"{endpoint()}/{place.kind}/{place.repo}"


def refusal(response: Any, kind: str, repo: str, what: str) -> LLaSOError:
    """The error that says what an answer of the hub means, and what to do."""
    page, status = f"{endpoint()}/{kind}/{repo}", response.status_code
    if status == 404:
        return AddressError(f"{what}: ModelScope has no such repository, revision or file among the {kind}: {page}")
    if status in (401, 403):
        return LLaSOError(
            f"{what}: access is refused; accept the terms at {page} where it has some, and give a token "
            f"({endpoint()}/my/myaccesstoken) by MODELSCOPE_API_TOKEN"
        )
    return StoreError(f"{what}: ModelScope answered {status}; run the command again")
