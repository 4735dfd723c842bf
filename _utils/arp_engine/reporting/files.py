"""Writes files atomically. Standard library alone."""

import contextlib
import os
import threading


def write_atomically(
    path: str, data: bytes, mode: int, owner: tuple[int, int] | None = None
) -> None:
    """Replace a file, or make it: a reader sees the old content or the new one, never a part.

    The content is on the disk before the file gets its name: after a power failure, too, there is
    one or the other. On an error the old file is as it was, and no temporary file is left.

    owner: user and group; None: those of this process. Raises OSError, which names ``path``.
    """
    temporary = f"{path}.{threading.get_native_id()}.new"  # unique among running writers
    try:
        _write(temporary, data, mode, owner)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise OSError(error.errno, error.strerror, path) from None


def _write(path: str, data: bytes, mode: int, owner: tuple[int, int] | None) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # left by a writer that was killed
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o600), "wb") as file:
        if owner:
            os.fchown(file.fileno(), *owner)
        os.fchmod(file.fileno(), mode)  # whatever the umask
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
