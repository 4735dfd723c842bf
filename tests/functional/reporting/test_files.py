"""The atomic file write, on a real file system: whole or not at all, and nothing left behind."""

import errno
import os
import subprocess
import threading

import pytest
from arp_engine.reporting import files


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


def test_full_disk_keeps_the_old_file_and_leaves_no_other(small_disk):
    path = small_disk / "status.json"
    files.write_atomically(str(path), b"old", 0o644)
    with pytest.raises(OSError, match="No space left on device") as refused:
        files.write_atomically(str(path), b"x" * 200_000, 0o644)
    assert (refused.value.errno, refused.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_bytes() == b"old"
    assert os.listdir(small_disk) == [path.name]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_mode_is_as_stated_whatever_the_umask(tmp_path, mode):
    path = tmp_path / "file"
    for umask in (0o000, 0o077):
        before = os.umask(umask)
        try:
            files.write_atomically(str(path), b"content", mode)
        finally:
            os.umask(before)
        assert path.stat().st_mode & 0o777 == mode


def test_missing_directory_is_an_error_that_names_the_file(tmp_path):
    path = str(tmp_path / "absent" / "file")
    with pytest.raises(FileNotFoundError) as refused:
        files.write_atomically(path, b"", 0o644)
    assert refused.value.filename == path


def test_directory_in_the_way_is_an_error_and_stays(tmp_path):
    path = tmp_path / "file"
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        files.write_atomically(str(path), b"content", 0o644)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_leftover_of_a_killed_writer_is_replaced_and_not_followed(tmp_path):
    path, other = tmp_path / "file", tmp_path / "other"
    other.write_bytes(b"theirs")
    (tmp_path / f"file.{threading.get_native_id()}.new").symlink_to(other)
    files.write_atomically(str(path), b"ours", 0o644)
    assert (path.read_bytes(), other.read_bytes()) == (b"ours", b"theirs")
    assert not path.is_symlink()


def test_concurrent_writers_leave_one_whole_file(tmp_path):
    path = tmp_path / "file"
    contents = [bytes([65 + number]) * 50_000 for number in range(4)]

    def write(content):
        for _ in range(25):
            files.write_atomically(str(path), content, 0o644)
            assert path.read_bytes() in contents

    errors = []
    threading.excepthook, before = lambda args: errors.append(args), threading.excepthook
    try:
        writers = [threading.Thread(target=write, args=(content,)) for content in contents]
        for each in writers:
            each.start()
        for each in writers:
            each.join()
    finally:
        threading.excepthook = before
    assert errors == []
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
