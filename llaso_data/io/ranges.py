"""Some bytes of a file by one request."""

from __future__ import annotations

from llaso_data.io import hub_open, storage
from llaso_data.io.store_errors import reading


def read_range(uri: str, start: int, end: int) -> bytes:
    """The bytes of a file from ``start`` on, up to ``end``; fewer where the file ends before.

    On a store it is one request, without a buffer that would read more.

    Raises:
        FileNotFoundError: There is no such file.
        StoreError: The store failed.
    """
    if storage.is_local(uri):
        with storage.open_read(uri) as file:
            file.seek(start)
            return file.read(max(0, end - start))
    if end <= start:
        return b""
    if storage.scheme(uri) == "hf":
        return hub_open.read_range(uri, start, end)
    fs, path = storage.filesystem(uri)
    with reading(uri, False):
        data: bytes = fs.cat_file(path, start=start, end=end)
    return data[start:end] if len(data) > end - start else data  # some web servers send the whole file
