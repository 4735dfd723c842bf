"""The module in a long-lived minion: event loops, threads, files that change."""

import asyncio
import importlib.util
import os
import shutil
import subprocess
import sys
import textwrap

from conftest import DEAD


def test_functions_work_inside_a_running_event_loop(arp, scene):
    """Salt's own processes have one; pyroute2 0.9's IPRoute refuses to open there."""
    scene.add("192.0.2.10")

    async def everything():
        assert len(arp.list(family="ipv4")) == 1
        assert arp.revalidate(test=True)["would_check"] == 1
        assert arp.stats()["ipv4"]["entries"] == 1
        return arp.flush()["flushed"]

    assert asyncio.run(everything()) == 1


def test_no_socket_is_left_open(arp, scene):
    scene.add("192.0.2.10")
    arp.list()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        arp.list()
        arp.revalidate("192.0.2.10", test=True)
        arp.flush()
    assert len(os.listdir("/proc/self/fd")) == before


def test_synced_engine_replaces_the_one_in_memory(repo, tmp_path):
    """A minion's parent keeps an imported file until it restarts; a new surface reloads it."""
    for room in ("_utils", "_modules"):
        shutil.copytree(repo / room, tmp_path / room)
    script = f"""
        import os, sys, importlib.util
        sys.path.insert(0, {str(tmp_path / "_utils")!r})

        def load():
            path = {str(tmp_path / "_modules" / "arp.py")!r}
            spec = importlib.util.spec_from_file_location("arp", path)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module

        before = load()
        assert before.table_flush.codec.ATTRIBUTES_AT != 12345
        files = {{"netlink/codec": "ATTRIBUTES_AT = 12345",
                  "table/flush": "MARK = codec.ATTRIBUTES_AT"}}
        for name, text in files.items():
            path = {str(tmp_path / "_utils" / "arp_engine")!r} + "/" + name + ".py"
            with open(path, "a") as file:
                file.write("\\n" + text + "\\n")
        after = load()
        assert after.table_flush.MARK == 12345
        assert after.resolve_revalidate.codec.ATTRIBUTES_AT == 12345
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)


def test_module_does_not_load_without_linux(repo, monkeypatch):
    monkeypatch.setattr(sys, "platform", "freebsd14")
    spec = importlib.util.spec_from_file_location("elsewhere", repo / "_modules" / "arp.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    loaded, why = module.__virtual__()
    assert not loaded
    assert "requires Linux" in why


def test_old_kernel_is_not_asked_to_prove(arp, scene, monkeypatch):
    """Probes work on every kernel; silent entries are kept, and a warning says so."""
    real = os.uname()
    monkeypatch.setattr(
        os, "uname", lambda: os.uname_result((real[0], real[1], "3.13.0-24-generic", *real[3:]))
    )
    scene.add("192.0.2.10", "stale", DEAD)
    before = scene.table()
    answer = arp.revalidate()
    assert (answer["undecided"], answer["gone"]) == (1, [])
    [line] = answer["warnings"]
    assert line.startswith("Linux 3.13.0-24-generic cannot safely put an entry into PROBE")
    assert scene.table() == before
