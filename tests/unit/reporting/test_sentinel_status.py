"""The sentinel's status file: who writes it, and who does not any more."""

import shutil

from arp_engine.reporting import sentinel_status


def test_removed_directory_is_not_made_again(tmp_path):
    """An engine lives on until its minion restarts, and arp_hygiene.remove leaves nothing."""
    path = tmp_path / "arp_hygiene" / "sentinel.json"
    writer = sentinel_status.StatusWriter(str(path), "engine")
    assert writer.write() == ""
    assert path.exists()
    shutil.rmtree(path.parent)
    assert writer.write() == ""
    writer.close()
    assert not path.parent.exists()
    assert sentinel_status.StatusWriter(str(path), "engine").write() == ""
    assert path.exists(), "the next one writes it"
