"""The Hugging Face hub as a file system of fsspec, to be read.

That of huggingface_hub remembers lists, says of a hub that fails that nothing is there, and asks for an address before
each block. Here nothing is remembered but signed addresses and what :mod:`llaso_data.io.hub_open` was told to, an error
is an error, and an open file stays at the commit that it was opened at.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

from fsspec.spec import AbstractFileSystem

from llaso_data.io import hub_files, hub_open, hugging_face
from llaso_data.io.hub_files import HubFile, HubTree
from llaso_data.io.hub_listing import MissingEntryError
from llaso_data.io.hub_requests import Traffic
from llaso_data.io.store_errors import StoreError

_AT_ONCE = 16
_WRONG_SUMS = 3

Info = dict[str, Any]


class HubFileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Repositories by names such as ``datasets/OWNER/NAME@REV/FOLDER/FILE``; a file's ``ETag`` is its content's sum."""

    protocol = "hf"
    root_marker = ""

    def info(self, path: str, **options: Any) -> Info:
        """``{"name", "size", "type", "ETag"}``. Raises FileNotFoundError where a repository has no such file."""
        path = self._strip_protocol(path)
        place = hugging_face.parse(f"hf://{path}")
        traffic = Traffic()
        if not place.folder:
            hugging_face.commit_of(place, traffic)
        else:
            try:
                return _info(path, self._look(path)[1])
            except FileNotFoundError:
                if not hugging_face.has_folder(place, traffic):
                    raise
        return {"name": path, "size": 0, "type": "directory"}

    def find(
        self, path: str, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False, **options: Any
    ) -> Any:
        """All files below a folder, at one commit; the file itself where it is one."""
        path = self._strip_protocol(path)
        folder = hugging_face.parse(f"hf://{path}").folder
        root = path[: len(path) - len(folder)].rstrip("/")
        try:
            files = hub_files.tree(f"hf://{path}").files
        except MissingEntryError:
            found = self.info(path) if self.exists(path) else None
            infos = {} if found is None or found["type"] != "file" else {path: found}
        else:
            infos = {name: _info(name, file) for file in files for name in [f"{root}/{file.path}"]}
        return infos if detail else list(infos)

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        """Files and folders right in a folder."""
        path = self._strip_protocol(path)
        infos: dict[str, Info] = {}
        for name, info in self.find(path, detail=True).items():
            first = name[len(path) :].strip("/").partition("/")[0]
            child = f"{path}/{first}" if first else path
            infos[child] = info if child == name else {"name": child, "size": 0, "type": "directory"}
        return list(infos.values()) if detail else list(infos)

    def exists(self, path: str, **options: Any) -> bool:
        """Whether a repository has a file or folder. Raises where that cannot be told."""
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def isfile(self, path: str) -> bool:
        """Whether a repository has a file. Raises where that cannot be told."""
        try:
            return bool(self.info(path)["type"] == "file")
        except FileNotFoundError:
            return False

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        """Bytes of a file; of a whole one the sum is compared."""
        return _read(*self._look(path), start, end)

    def cat_ranges(
        self,
        paths: Sequence[str],
        starts: Sequence[int | None],
        ends: Sequence[int | None],
        max_gap: int | None = None,
        on_error: str = "return",
        **options: Any,
    ) -> list[Any]:
        """Parts of files, several at a time; each file is looked at once. Exceptions stand in the place of bytes."""

        def answered(ask: Any, *arguments: Any) -> Any:
            try:
                return ask(*arguments)
            except Exception as error:
                if on_error != "return":
                    raise
                return error

        def read(path: str, start: int | None, end: int | None) -> Any:
            found = looked[path]
            return found if isinstance(found, Exception) else answered(_read, *found, start, end)

        unique = list(dict.fromkeys(paths))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            looked = dict(zip(unique, pool.map(lambda path: answered(self._look, path), unique), strict=True))
            return list(pool.map(read, paths, starts, ends))

    def get_file(self, rpath: str, lpath: str, callback: Any = None, outfile: Any = None, **options: Any) -> None:
        """Bring a file to this machine; its sum is compared."""
        tree, file = self._look(rpath)
        hub_files.fetch(tree, file, lpath)

    def _look(self, path: str) -> tuple[HubTree, HubFile]:
        return hub_open.find(f"hf://{self._strip_protocol(path)}")

    def _open(self, path: str, mode: str = "rb", block_size: Any = None, **options: Any) -> IO[bytes]:
        return hub_open.open_file(f"hf://{self._strip_protocol(path)}")


def _info(name: str, file: HubFile) -> Info:
    return {"name": name, "size": file.size_bytes, "type": "file", "ETag": file.sum}


def _read(tree: HubTree, file: HubFile, start: int | None, end: int | None) -> bytes:
    """Bytes of a file; places before 0 count from its end, as in fsspec."""
    begin, stop, _ = slice(start, end).indices(file.size_bytes)
    if begin > 0 or stop < file.size_bytes:
        return hub_files.read_range(tree, file, begin, max(begin, stop))
    for _ in range(_WRONG_SUMS):
        data = hub_files.read_range(tree, file, 0, file.size_bytes)
        state = hub_files.sum_of(file)
        state.update(data)
        if state.hexdigest() == file.sum:
            return data
    raise StoreError(f"{tree.repo}: {file.path}: it arrives damaged, with another sum than {file.sum}; try later")
