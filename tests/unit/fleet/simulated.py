"""A fleet in memory: minions that answer the runner's jobs from tables."""


class Minions:
    """What ``arp_engine.fleet.audit`` asks, without Salt: answers by function and minion."""

    timeout_s = 5
    interruptions = (KeyboardInterrupt,)

    def __init__(self, tables, interfaces, revalidate=None, grains=None, accepted=None):
        self.answers = {
            "arp.list": tables,
            "network.interfaces": interfaces,
            "arp.revalidate": revalidate or {},
        }
        self.grains = grains or {}
        self._accepted = accepted
        self.job_ids, self.sent, self.reports = [], [], []

    def accepted(self):
        return set(self.answers["arp.list"]) | set(self.answers["network.interfaces"])

    def match(self, tgt, _tgt_type):
        return set(tgt) if isinstance(tgt, list) else self.accepted()

    def cached(self):
        return set(self.grains)

    def cached_hosts(self, names):
        return {name: self.grains[name] for name in names if name in self.grains}

    def publish(self, tgt, tgt_type, fun, kwarg=None, arg=()):
        names = set(self.answers["arp.list"]) if isinstance(tgt, str) else set(tgt)
        self.sent.append((sorted(names), fun, kwarg, arg))
        self.job_ids.append(str(len(self.sent)))
        return names, fun, kwarg

    def gather(self, job):
        names, fun, kwarg = job
        answers = {}
        for name in sorted(names & set(self.answers.get(fun, ()))):
            answer = self.answers[fun][name]
            if answer is not None:
                answers[name] = {"ret": answer(kwarg) if callable(answer) else answer}
        return answers

    def ask(self, tgt, tgt_type, fun, kwarg=None, arg=()):
        job = self.publish(tgt, tgt_type, fun, kwarg, arg)
        return self.gather(job), set(job[0])

    def progress(self, **numbers):
        self.reports.append(numbers)
