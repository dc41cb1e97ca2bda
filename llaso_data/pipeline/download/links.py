"""A repository as a list of addresses and sums for aria2c."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from llaso_data.io import hub_files, storage
from llaso_data.io.hub_files import HubFile, HubTree

_CALL = "# aria2c --input-file=THIS_FILE --dir=OUT --continue=true"


def is_aria2_input(uri: str) -> bool:
    """Whether a file is one that :func:`aria2_input` made."""
    with storage.open_read(uri) as file:
        return file.read(1 << 12).split(b"\n")[1:2] == [_CALL.encode()]


def aria2_input(tree: HubTree, files: Sequence[HubFile]) -> Iterator[str]:
    """The lines of an input file (``aria2c --input-file``): an address, then where it goes and its SHA-256.

    Source: https://aria2.github.io/manual/en/html/aria2c.html#input-file
    """
    hub = hub_files.HUBS[tree.hub]
    yield f"# {tree.uri}: {len(files)} files, {sum(file.size_bytes for file in files)} bytes"
    yield _CALL
    yield "# A gated or private repository needs --header='Authorization: Bearer TOKEN' besides."
    yield "# Afterwards `llaso-data download` with --out OUT compares all files, also those without a checksum here."
    for file in files:
        yield hub.file_address(tree.kind, tree.repo, tree.commit, file.path)
        yield f"  out={file.path}"
        if file.sha256 is not None:
            yield f"  checksum=sha-256={file.sha256}"
