"""Which addresses are taken, by who names them, and what of an address is never written down.

A user may name any store that fsspec knows. Data (a manifest's row, an index of shards, a question's audio) may come
from anybody. It may name files on disks and on the stores of :data:`ALLOWED`, by plain addresses. Nobody may chain
addresses (``a::b``), nor use a protocol that reads further addresses from what it opens: such a protocol may run what
it finds there. No function here asks a disk or a store.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

ALLOWED = frozenset(("file", "s3", "s3a", "gs", "gcs", "hf", "http", "https", "az", "abfs", "abfss"))
"""Protocols that data may name; besides them the one that the data itself lies on, which the user has named."""

# fmt: off
CLOSED = frozenset((
    "reference", "dir", "generic", "filecache", "blockcache", "simplecache", "cached", "async_wrapper", "asyncwrapper",
    "zip", "tar", "libarchive", "data", "git", "github", "gist", "jupyter", "jlab", "dask", "pyscript", "dvc", "wandb",
    "root", "local", "asynclocal",
))
"""Protocols that are views of other addresses, or run something: nobody's data or output lies there."""
# fmt: on

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_CHAIN = re.compile(r"[\w+.-]*(::[\w+.-]*)*://")
_CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_BUCKET = re.compile(r"[\w.-]{1,255}|arn:[\w:/.-]+", re.ASCII)
_HF_NAME = re.compile(r"\w[\w.-]{0,95}(@[^/]+)?", re.ASCII)
_KINDS_OF_HUB = ("datasets", "models", "spaces", "buckets")
_LONGEST_KEY_BYTES = 1024  # of S3 and of Google
_LONGEST_BYTES = 8000  # what servers of HTTP take at most
_SERVICES = frozenset(("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254"))
_SERVICE_NAMES = frozenset(("metadata", "metadata.google.internal", "instance-data"))

# What gives access. With `{}` empty these find it in any text, with a space there in an address that stands alone.
_USER = (
    r"(?<![A-Za-z0-9+.-])([A-Za-z][A-Za-z0-9+.-]{{0,30}})://"
    r"([^\t\r\n{0}/?#]*|[^\t\r\n{0}@/?#:\[]+:(?!\d*[/?#])[^\t\r\n{0}@]*)@"  # keys of S3 may contain slashes
)
_QUERY = r"([?&;#])([\w.%~+-]{{1,100}})=([^\t\r\n{0}&#'\"<>]+)"
_IN_TEXT = re.compile(_USER.format(" ")), re.compile(_QUERY.format(" "))
_ALONE = re.compile(_USER.format("")), re.compile(_QUERY.format(""))
_SECRET = re.compile(
    r"(^|[-_.])(sig|sign|sas|auth|pass|pwd|pw|jwt|ak|sk|authoriz\w*)($|[-_.])|signature|token|secret|passw|credential"
    r"|key($|[-_.]?id)|key[-_.]?pair|access[-_.]?id|hmac|hdn(ts|ea|tl)|sess(ion)?id|ticket"
)
_PLACES = frozenset(("http", "https", "s3", "s3a", "gs", "gcs", "hf"))  # begin with a server or a bucket, and no user


def scheme(uri: str) -> str:
    """The protocol of an address: ``s3`` of ``s3://bucket/x``; empty for a path."""
    match = _SCHEME.match(uri)
    return match[1] if match else ""


def extension(path: str) -> str:
    """``txt`` of ``a/b.TXT``; empty where there is none, also for a name that begins with its only dot."""
    name = path.rpartition("/")[2]
    return name.rpartition(".")[2].lower() if "." in name[1:] else ""


def escaped(name: str) -> str:
    """A name or message as UTF-8 can hold it: lone surrogates (bytes of a name that is not UTF-8) and NUL visible."""
    if name.isascii() and "\x00" not in name:
        return name
    return name.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")


def chained(uri: str) -> bool:
    """Whether an address begins with a chain of protocols, as ``simplecache::s3://`` does."""
    return not scheme(uri) and _CHAIN.match(uri) is not None


def refused(uri: str, home: str = "") -> str | None:
    """Why an address that data names is not taken.

    Args:
        uri: The address. A plain path is always taken.
        home: The protocol of the file that names the address. The user named that file, so its protocol is allowed.

    Returns:
        The reason, as the end of a sentence that begins with the address; None where the address is taken.
    """
    kind = scheme(uri)
    if not kind:
        return "is an address of addresses, and data names plain ones" if chained(uri) else None
    rest = uri[len(kind) + 3 :]
    if _CONTROL.search(uri):
        return "has characters that no address has"
    if (held := credentials(uri)) is not None:
        return held
    if kind in CLOSED or kind not in ALLOWED | {home}:
        return f"begins with {kind}://, and data names files by {', '.join(sorted(ALLOWED))} only"
    if kind != "file" and "::" in re.sub(r"\[[^\]/]*\]", "", rest):
        return "is a chain of addresses (`::`), and data names plain ones"
    return closed(uri) or _wrong(kind, uri, rest)


def closed(uri: str) -> str | None:
    """Why an address is not opened, whoever names it; None where it is."""
    kind = scheme(uri)
    if kind in CLOSED:
        return f"begins with {kind}://, which is no place where files lie; name the file, or unpack the archive"
    if kind not in ("http", "https"):
        return None
    try:
        host = urlsplit(uri).hostname or ""
    except ValueError as error:
        return f"is no address ({error})"
    return f"asks {host}, which is no server of files but a machine's own service" if _is_service(host) else None


def placeless(uri: str) -> str | None:
    """Why an address that a user names is no place (``s3://`` alone would become a folder of that name); else None."""
    kind = scheme(uri)
    rest = uri[len(kind) + 3 :]
    if not rest.strip("/") or (kind in _PLACES and rest.startswith("/")):
        return "names no bucket, server or folder"
    if kind == "hf" and len(_of_hub(rest)) < 2:
        return "names no repository of the hub: hf://datasets/OWNER/NAME"
    return None


def credentials(uri: str) -> str | None:
    """Why an address with a password or permission in it is refused; None where it has none.

    The reason names the kind of secret, and does not repeat it.
    """
    if shown(uri) == uri:
        return None
    users, queries = _ALONE
    what = "a user's name or password"
    if not any(_is_user(match) for match in users.finditer(uri)):
        names = [match[2] for match in queries.finditer(uri) if _is_secret(match)]
        what = f"a permission ({', '.join(names)} in its query)"
    return (
        f"holds {what}. Addresses are stored and shown, permissions are not: "
        "leave it out and give credentials by the environment (docs/storage.md), or fetch the file first"
    )


def shown(uri: str) -> str:
    """An address with passwords and permissions masked: ``https://***@host/x?token=***``. A path stays as it is."""
    return uri if scheme(uri) in ("", "file") else masked(uri, alone=True)


def masked(text: str, alone: bool = False) -> str:
    """A text with passwords and permissions masked in every address, as :func:`shown` masks them.

    Args:
        text: Any text, such as an error of a library.
        alone: The text is one address, in which a space ends nothing.
    """
    if "=" not in text and "@" not in text:
        return text
    users, queries = _ALONE if alone else _IN_TEXT
    text = users.sub(lambda match: f"{match[1]}://***@" if _is_user(match) else match[0], text)
    return queries.sub(lambda match: f"{match[1]}{match[2]}=***" if _is_secret(match) else match[0], text)


def _is_user(match: re.Match[str]) -> bool:
    """Not the container of ``abfs://container@account``, nor who logs in by ``sftp://me@host`` with a key."""
    user = match[2]
    return not user.startswith("arn:") and (":" in user or (bool(user) and match[1].lower() in _PLACES))


def _is_secret(match: re.Match[str]) -> bool:
    return bool(_SECRET.search(unquote(match[2]).lower()))


def _wrong(kind: str, uri: str, rest: str) -> str | None:
    """What makes an address of an allowed protocol one that leads to no file, as far as can be told without asking."""
    if len(uri.encode()) > _LONGEST_BYTES:
        return "is longer than any address"
    return _CHECKS.get(kind, _wrong_store)(rest)


def _wrong_file(rest: str) -> str | None:
    return None if rest.strip("/") else "names no file"


def _wrong_store(rest: str) -> str | None:
    place, _, path = rest.partition("/")
    return None if place.strip() and path.strip("/") else "names no file"


def _wrong_bucket(rest: str) -> str | None:
    bucket, _, key = rest.partition("/")
    if not _BUCKET.fullmatch(bucket):
        return f"names no bucket ({bucket[:80]!r} is none)"
    if len(key.encode()) > _LONGEST_KEY_BYTES:
        return f"has a name longer than the {_LONGEST_KEY_BYTES} bytes that a store takes"
    return _wrong_store(rest)


def _of_hub(rest: str) -> list[str]:
    """Owner, name and what follows."""
    parts = rest.strip("/").split("/")
    return parts[1:] if parts[0] in _KINDS_OF_HUB else parts


def _wrong_hub(rest: str) -> str | None:
    parts = _of_hub(rest)
    if len(parts) < 3 or not parts[-1] or not all(_HF_NAME.fullmatch(part) for part in parts[:2]):
        return "names no file of the hub: hf://datasets/OWNER/NAME/FILE"
    return None


def _wrong_server(rest: str) -> str | None:
    try:
        address = urlsplit(f"http://{rest}")
        host, port = address.hostname or "", address.port
        if ":" not in host:
            host.encode("idna")
    except ValueError as error:
        return f"is no address ({error})"
    if not host or port == 0 or re.search(r"[^\w.:%-]", host):
        return "is no address of a server"
    return None if address.path.strip("/") or address.query else "names no file"


_CHECKS: dict[str, Callable[[str], str | None]] = {
    "file": _wrong_file,
    **dict.fromkeys(("s3", "s3a", "gs", "gcs"), _wrong_bucket),
    "hf": _wrong_hub,
    **dict.fromkeys(("http", "https"), _wrong_server),
}


def _is_service(host: str) -> bool:
    """Whether a host is the service on the machine's own link that hands out its credentials, in any spelling."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        try:
            address = ipaddress.ip_address(socket.inet_aton(host))  # 0xA9FEA9FE, 169.16689662
        except (OSError, ValueError):
            return host.rstrip(".").lower() in _SERVICE_NAMES
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_link_local or str(address) in _SERVICES
