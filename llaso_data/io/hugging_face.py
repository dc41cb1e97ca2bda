"""The Hugging Face hub's own ways: its addresses, the pages of its lists, its token and what its errors mean."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from llaso_data import __version__
from llaso_data.errors import LLaSOError
from llaso_data.io.hub_listing import HubFile, HubPlace, MissingEntryError, refuse_path
from llaso_data.io.hub_requests import FIRST_ATTEMPTS, Patience, Traffic, open_answer, read_answer
from llaso_data.io.store_errors import AddressError, StoreError, reason

_ADDRESS = re.compile(
    r"hf://(?:(?P<kind>datasets|models)/)?(?P<owner>\w[\w.-]{0,95})/(?P<name>\w[\w.-]{0,95})"
    r"(?:@(?P<revision>refs/(?:convert|pr|heads|tags)/[^/]+|[^/]+))?(?:/(?P<folder>.*))?",
    re.ASCII,
)
_NO_OWNERS = ("datasets", "models", "spaces", "buckets", "kernels")
_COMMIT = re.compile("[0-9a-f]{40}")
_SHA256_DIGITS = 64


def parse(uri: str) -> HubPlace:
    """Take an address apart. Raises AddressError for what is none of a dataset or a model."""
    match = _ADDRESS.fullmatch(uri.rstrip("/"))
    if match is None or match["owner"] in _NO_OWNERS:
        raise AddressError(f"{uri}: names no repository of the hub: hf://datasets/OWNER/NAME[@REVISION][/FOLDER]")
    revision = None if match["revision"] is None else unquote(match["revision"])
    return HubPlace(f"{match['owner']}/{match['name']}", match["kind"] or "models", revision, match["folder"] or "")


def endpoint() -> str:
    """The hub's address: ``HF_ENDPOINT``, or what huggingface_hub says."""
    from huggingface_hub import constants

    return (os.environ.get("HF_ENDPOINT") or str(constants.ENDPOINT)).rstrip("/")


def is_own(url: str) -> bool:
    """Whether an address is on the hub's own host, which may see the token."""
    ours, theirs = urlsplit(endpoint()), urlsplit(url)
    return (ours.scheme, ours.netloc) == (theirs.scheme, theirs.netloc)


def headers(url: str) -> dict[str, str]:
    """What a request to an address carries: who asks, and for the hub itself the token (``HF_TOKEN``, or a login's)."""
    from huggingface_hub import constants, get_token

    sent = {"User-Agent": f"llaso/{__version__}"}
    token = get_token() if is_own(url) and not constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else None
    return sent if token is None else {**sent, "Authorization": f"Bearer {token}"}


def file_address(kind: str, repo: str, commit: str, path: str) -> str:
    """Where the hub gives a file, or says where it lies."""
    prefix = "" if kind == "models" else f"{kind}/"
    return f"{endpoint()}/{prefix}{repo}/resolve/{quote(commit, safe='')}/{quote(path)}"


def listed(place: HubPlace, traffic: Traffic) -> tuple[str, list[HubFile]]:
    """The commit that a place's revision is now, and its files.

    Raises:
        AddressError: where there is no such repository, revision or folder.
        LLaSOError: where access is refused, or a path leads out of the repository.
        StoreError: where the hub fails.
    """
    commit = commit_of(place, traffic)
    folder = f"/{quote(place.folder)}" if place.folder else ""
    files: list[HubFile] = []
    url: str | None = f"{_api(place)}/tree/{commit}{folder}?recursive=true&expand=false"
    while url is not None:
        page, following = _get_json(url, place, traffic)
        files += _files(page, place)
        # A mirror passes on the hub's own links: only what is asked for counts, not whom they name.
        url = None if following is None else urljoin(f"{endpoint()}/", _path(following))
    return commit, files


def commit_of(place: HubPlace, traffic: Traffic) -> str:
    """The commit that a place's revision is now. Raises as :func:`listed` does."""
    revision = place.revision or "main"
    if _COMMIT.fullmatch(revision):
        return revision
    answer, _ = _get_json(f"{_api(place)}/revision/{quote(revision, safe='')}", place, traffic)
    return str(answer["sha"])


def has_folder(place: HubPlace, traffic: Traffic) -> bool:
    """Whether there is a folder. Raises as :func:`listed` does, but not where there is none."""
    revision = quote(place.revision or "main", safe="")
    try:
        _get_json(f"{_api(place)}/tree/{revision}/{quote(place.folder)}?limit=1", place, traffic)
    except MissingEntryError:
        return False
    return True


def described(place: HubPlace, traffic: Traffic) -> tuple[str, HubFile, str | None]:
    """A file by one request: the commit of its place now, the file, and where its bytes lie if that is elsewhere.

    Raises:
        MissingEntryError: where there is no such file; there may be a folder.
        AddressError: where there is no such repository or revision.
        LLaSOError: where access is refused.
        StoreError: where the hub fails.
    """
    address = file_address(place.kind, place.repo, place.revision or "main", place.folder)
    what = f"{place.repo}: {place.folder}"
    patience = Patience(what, traffic)
    for _ in range(10):
        response = open_answer(address, {**headers(address), "Accept-Encoding": "identity"}, patience, "HEAD")
        response.close()
        target = urljoin(address, response.headers.get("location", "")) if response.is_redirect else None
        if target is not None and is_own(target):  # the repository was renamed
            address = target
            continue
        if target is None and response.status_code != 200:
            raise refusal(response, place.kind, place.repo, what)
        stated = response.headers
        try:
            commit = stated["x-repo-commit"]
            size_bytes = int(stated.get("x-linked-size") or stated["content-length"])
            etag = (stated.get("x-linked-etag") or stated["etag"]).removeprefix("W/").strip('"')
        except (KeyError, ValueError) as error:
            raise StoreError(f"{what}: {endpoint()} answers with something else than a hub does") from error
        is_lfs = len(etag) == _SHA256_DIGITS
        file = HubFile(place.folder, size_bytes, etag if is_lfs else None, "" if is_lfs else etag)
        return commit, file, target
    raise StoreError(f"{what}: the hub leads from one address to another without an end")


def _api(place: HubPlace) -> str:
    return f"{endpoint()}/api/{place.kind}/{place.repo}"


def _path(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def _files(page: Any, place: HubPlace) -> Iterator[HubFile]:
    try:
        for one in page:
            if one["type"] != "file":
                continue
            refuse_path(one["path"], place.repo)
            lfs = one.get("lfs")
            yield HubFile(one["path"], int(one["size"]), None if lfs is None else str(lfs["oid"]), str(one["oid"]))
    except (TypeError, KeyError, ValueError) as error:
        raise StoreError(f"{place.repo}: the hub's list of files is not understood ({reason(error)})") from error


def _get_json(url: str, place: HubPlace, traffic: Traffic) -> tuple[Any, str | None]:
    """What an address of the API answers, and the address of the next page."""
    response = read_answer(url, headers, Patience(place.repo, traffic, FIRST_ATTEMPTS))
    if response.status_code != 200:
        raise refusal(response, place.kind, place.repo, f"{place.repo}{place.folder and '/' + place.folder}")
    try:
        return json.loads(response.content), response.links.get("next", {}).get("url")
    except ValueError as error:
        raise StoreError(f"{place.repo}: {endpoint()} answers with something else than a hub does") from error


def refusal(response: Any, kind: str, repo: str, what: str) -> LLaSOError:
    """The error that says what an answer of the hub means, and what to do."""
    page = f"{endpoint()}/{'' if kind == 'models' else kind + '/'}{repo}"
    status, code = response.status_code, response.headers.get("x-error-code", "")
    if code == "GatedRepo":
        return LLaSOError(
            f"{what}: access needs the acceptance of terms: accept them at {page}, make a token at "
            f"{endpoint()}/settings/tokens, and give it by HF_TOKEN or `hf auth login`"
        )
    if code == "RevisionNotFound":
        return AddressError(f"{what}: there is no such revision; {page} lists branches and tags")
    if code == "EntryNotFound":
        return MissingEntryError(f"{what}: the repository has no such file or folder; {page}/tree/main lists them")
    if code == "RepoNotFound" or status in (401, 404):
        return AddressError(
            f"{what}: there is no such repository among the {kind}, or it is private (then give a token by HF_TOKEN or "
            f"`hf auth login`): {page}"
        )
    said = " ".join(response.headers.get("x-error-message", "").split())[:200]
    if status == 403:
        return LLaSOError(f"{what}: access is refused{f' ({said})' if said else ''}; look at {page}")
    return StoreError(f"{what}: the hub answered {status}{f' ({said})' if said else ''}; run the command again")
