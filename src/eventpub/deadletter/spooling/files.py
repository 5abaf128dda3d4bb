"""The spool's file before SQLite has it: made without ever being readable by others, and told from another.

What is never done here, nor anywhere else: to open and close the file of a spool. That would drop
the (POSIX) locks of every SQLite connection that this process has to it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from eventpub.exceptions import ConfigurationError, DeadLetterError

if TYPE_CHECKING:
    from collections.abc import Iterator

_ONLY_OWNER = 0o600
_PASSING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE})


def wrong(path: Path, reason: str, fix: str) -> ConfigurationError:
    """Return the error of a file that can never be the spool as things are."""
    return ConfigurationError.of(f"spool {path}", reason, fix)


def make(path: Path) -> None:
    """See to it that there is a file, which its owner alone can read, and that this process may write it.

    A new one is empty, and private from the start whatever the umask. Permissions of others on an
    older one, such as a copy made under a usual umask, are taken away.

    Raises:
        ConfigurationError: it cannot be made or made private, or not be written.
        DeadLetterError: the disk is full.
    """
    with opening(path):
        if not path.exists():
            _make(path)
        _tighten(path)
        if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
            raise PermissionError(errno.EACCES, "no permission to write it, or in its directory")


def identity(path: Path) -> tuple[int, int]:
    """Return what tells this file from another one that takes its place."""
    found = path.stat()
    return found.st_dev, found.st_ino


@contextlib.contextmanager
def opening(path: Path) -> Iterator[None]:
    """Say what an `OSError` in the block means for whoever named *path*."""
    try:
        yield
    except OSError as error:
        raise _translation(path, error) from error


def _translation(path: Path, error: OSError) -> Exception:
    if error.errno in _PASSING:
        return DeadLetterError(f"{path} cannot be opened now ({error.strerror})")
    if not path.parent.is_dir():
        return wrong(path, "its directory does not exist", f"make {path.parent}, or name another place")
    if isinstance(error, FileNotFoundError):
        return wrong(path, "there is no such file", "name it as the publisher does")
    fix = "let this user own it and write in its directory, or name another place"
    return wrong(path, f"it cannot be opened ({error.strerror})", fix)


def _make(path: Path) -> None:
    # Under another name first: see the module's docstring. The link appears only when nobody has
    # made the file meanwhile, and what it names is closed.
    descriptor, blank = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(descriptor)
    try:
        Path(blank).chmod(_ONLY_OWNER)  # a umask may have taken away the owner's permissions as well
        with contextlib.suppress(FileExistsError):
            os.link(blank, path)
    finally:
        Path(blank).unlink()
    _sync(path.parent)


def _sync(directory: Path) -> None:
    """Make a new name durable; where directories cannot be opened, that is the system's business."""
    if os.name == "posix":
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _tighten(path: Path) -> None:
    if os.name == "posix" and path.stat().st_mode & 0o077:
        path.chmod(_ONLY_OWNER)
