"""No result of a question is left lying."""

from arp_engine.packets.probe_schedule import FAST
from arp_engine.resolve import ask
from arp_engine.resolve.question import PendingProbe, Question


def test_a_question_that_ends_while_its_answers_are_read_is_due_at_once(monkeypatch):
    """Nothing else is pending: nobody would fetch its result."""
    asker = ask.Asker(clock=lambda: 5.0)
    probe = PendingProbe(Question(2, b"\0\0\0\1", b"mac"), FAST)
    probe.unicast_sent = 1
    asker._pending[probe.key] = probe
    monkeypatch.setattr(asker, "_receive", lambda: asker._finish(probe))
    assert asker.answers(probe.key) is None
    assert asker.next_due() == 5.0
    monkeypatch.setattr(asker, "_receive", lambda: None)
    [(question, _result)] = asker.step()
    assert question == probe.question
    assert asker.next_due() is None
