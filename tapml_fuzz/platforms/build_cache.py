"""A cache of compilers' results, kept on disk between runs: bytes by the hash of everything that they depend on.

Several workers may share a folder. A file is written beside its place and then moved there, and begins with a hash of
what follows, so that neither a kill nor a full disk leaves anything that would be taken for a build.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

_LIMIT = 256 << 20  # bytes a folder may hold when a worker starts
_DIGEST = 32  # bytes


def cache_folder(name: str) -> Path:
    """The folder `$XDG_CACHE_HOME/tapml-fuzz/<name>` (`~/.cache` by default), made if missing; raises `OSError`."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tapml-fuzz" / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


class BuildCache:
    """The builds of one compiler, under the folder of that name; without a folder nothing is kept.

    Attributes:
        hits, misses: how often a build was found, and how often it was made.
    """

    def __init__(self, name: str, limit: int = _LIMIT) -> None:
        self.hits, self.misses = 0, 0
        self._folder: Path | None = None
        with contextlib.suppress(OSError):
            self._folder = cache_folder(name)
            bound(self._folder, limit)

    def made(self, make: Callable[[], bytes], *parts: str | bytes) -> bytes:
        """The bytes that `make` gives; it is only called when nothing is kept under `parts`.

        `parts` must name everything that the bytes depend on: source, target, options, the compiler's version. An
        exception of `make` is passed on, and nothing is kept.
        """
        path = self._folder / _key(parts) if self._folder is not None else None
        found = None if path is None else _read(path)
        if found is not None:
            self.hits += 1
            return found
        self.misses += 1
        content = make()
        if path is not None:
            with contextlib.suppress(OSError):  # a full disk, a folder that is gone: built all the same
                _write(path, content)
        return content


def _key(parts: tuple[str | bytes, ...]) -> str:
    digest = hashlib.blake2b(digest_size=_DIGEST)
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(8, "little") + raw)
    return digest.hexdigest()


def _read(path: Path) -> bytes | None:
    """The content, its time of use renewed; None when it is missing or not what was written."""
    try:
        raw = path.read_bytes()
        os.utime(path)
    except OSError:
        return None
    content = raw[_DIGEST:]
    return content if raw[:_DIGEST] == hashlib.blake2b(content, digest_size=_DIGEST).digest() else None


def _write(path: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix="writing-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.blake2b(content, digest_size=_DIGEST).digest() + content)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def bound(folder: Path, limit: int) -> None:
    """Remove the files of `folder` that were used longest ago until at most `limit` bytes are left.

    What another process removes meanwhile, or still uses, is no matter: a build that is missing is made again.
    """
    found = []
    for path in folder.rglob("*"):
        try:
            status = path.lstat()
        except OSError:
            continue
        if not path.is_dir() or path.is_symlink():
            found.append((status.st_mtime, status.st_size, path))
    excess = sum(size for _, size, _ in found) - limit
    for _, size, path in sorted(found):
        if excess <= 0:
            return
        path.unlink(missing_ok=True)
        excess -= size
