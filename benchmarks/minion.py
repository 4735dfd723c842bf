"""A minion's process: Salt's own loaders on this tree, everything it imports in memory."""

import os
import resource
import time
from pathlib import Path

import salt.config
import salt.loader
import salt.minion
import salt.utils.schedule

from lab.saltstack import REPOSITORY, configure


def options():
    """Return the configuration of a masterless minion with all its files in one place."""
    root = Path(f"/tmp/minion-{os.getpid()}")
    minion = configure(
        root,
        module_dirs=[str(REPOSITORY)],
        file_roots={"base": [str(REPOSITORY / "salt")]},
        pillar_roots={"base": []},
        log_level="error",
    )
    opts = salt.config.minion_config(str(minion))
    opts["pillar"] = {}
    opts["master_uri"] = "tcp://127.0.0.1:4506"  # never contacted: no job here returns anything
    Path(opts["cachedir"], "proc").mkdir(parents=True)
    opts["grains"] = salt.loader.grains(opts)
    return opts


class Minion:
    """What a loaded minion can call."""

    def __init__(self):
        """Load the functions, as a minion does when it starts."""
        self.opts = options()
        utils = salt.loader.utils(self.opts)
        self.functions = salt.loader.minion_mods(self.opts, utils=utils)
        returners = salt.loader.returners(self.opts, self.functions)
        self.functions["arp.stats"]()
        self._schedule = salt.utils.schedule.Schedule(
            self.opts, self.functions, returners, utils=utils, new_instance=True
        )

    def call(self, name, **words):
        """Call a function through the loader; return ``(seconds, result)``."""
        began = time.perf_counter()
        result = self.functions[name](**words)
        return time.perf_counter() - began, result

    def job(self, name, *words):
        """Let Salt's scheduler run a job as it does, in a process of its own; return its CPU."""
        before = _children_cpu_s()
        data = {"name": "job", "args": list(words), "return_job": False, "jid_include": False}
        self._schedule._run_job(name, data)  # what its timer calls
        for process in list(self._schedule._subprocess_list.processes):
            process.join()
        self._schedule._subprocess_list.cleanup()
        return _children_cpu_s() - before


def _children_cpu_s():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)  # os.times() counts in ticks of 10 ms
    return used.ru_utime + used.ru_stime
