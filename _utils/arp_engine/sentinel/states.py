"""The life of a doubted entry, as a state machine: TRANSITIONS is all that can happen to it.

Each event names the next state and what is done then: methods of actions.Actions.
"""

from enum import Enum
from typing import Any


class State(Enum):
    """Where the doubt about an entry stands."""

    CLEAR = "no doubt, or no longer"
    QUEUED = "waits for its turn to be probed"
    PROBING = "the host with the cached MAC is asked by unicast, then all hosts by broadcast"
    REPROBING = "the wrong entry is deleted; all hosts are asked by broadcast"
    LOOKING_BACK = "the entry has moved; for ten seconds each former holder is asked, alone"


class Event(Enum):
    """What moves a doubt on."""

    EVIDENCE = "a signal says that the entry may be wrong: see Evidence"
    DISPLACED = "the queue is full, and an address with more urgent evidence needs the place"
    TURN = "the rate allows the next probe"
    NOT_OURS = "at its turn the entry has no MAC, is not selected, or is protected"
    MAC_CHANGED = "the kernel announces another MAC"
    FORMER_MAC = "... a former holder's: it may have spoken itself, or somebody else wrote it"
    HOLDER_LOST = "... by a late answer to us, by a run of ours, or the address is contested"
    OWED = "a proxy, or the other host of a contested address, has the entry of one that may live"
    OVERTAKEN = "during the probe the entry got another MAC, and not by an answer to us"
    # --- the outcome of a probe
    NO_ANSWER = "no host answered"
    UNASKABLE = "no probe could leave, or its answer could not come"
    CONFIRMED = "the host with the cached MAC answered"
    PROXY_ANSWERED = "... which answers for everybody: that proves nothing"
    HEALED = "another host answered, and its MAC came into the table"
    ENTRY_GONE = "another host answered; the entry has no MAC by now"
    ENTRY_DELETED = "another host answered, a connection waits: we deleted the entry (locktime)"
    MAC_KEPT = "another host answered; the kernel keeps the cached MAC for now"
    DISAGREEMENT = "the same, for the last time that we try"
    # --- the outcome of a look back
    FORMER_SPEAKS = "a former holder has sent a SYN"
    RETURNED = "a former holder has answered: the kernel has put its MAC back"
    STAYED_SILENT = "it has not, for ten seconds"
    NOT_LEARNT = "it has not, but since we deleted the entry the kernel has learnt no other MAC"
    UNPROVED = "it could not be asked to the end: its silence proves nothing"
    WRITTEN_ANEW = "the entry had no MAC for a moment, and has a third one since: nobody knows why"
    WRITTEN_BACK = "it has not, and yet the entry has its MAC again: somebody else wrote that"
    TAKEN_OVER = "the entry has an owner by now"


CLEAR, QUEUED, PROBING, REPROBING, LOOKING_BACK = State
_RETURNED = (CLEAR, "forget", "release_syns", "dispute_return")
_OUTCOMES: dict[Event, tuple[Any, ...]] = {
    Event.NO_ANSWER: (CLEAR, "back_off", "forget_aliases"),
    Event.UNASKABLE: (CLEAR, "back_off", "tell_unaskable"),
    Event.CONFIRMED: (CLEAR, "remember_verified", "dispute_answers", "remember_aliases"),
    Event.HEALED: (
        LOOKING_BACK, "look_back", "remember_verified", "dispute_answers", "remember_aliases"),
    Event.RETURNED: _RETURNED,
    Event.ENTRY_GONE: (CLEAR,),
    Event.MAC_KEPT: (QUEUED, "requeue"),
    Event.DISAGREEMENT: (CLEAR, "tell_disagreement"),
}  # fmt: skip
#: State -> event -> the next state, and what is done then: methods of Actions. While a former
#: holder of an entry is looked back at, LOOKING_BACK stands for CLEAR; else CLEAR for it.
TRANSITIONS: dict[State, dict[Event, tuple[Any, ...]]] = {
    CLEAR: {
        Event.EVIDENCE: (QUEUED, "enqueue"),
        Event.OWED: (LOOKING_BACK, "give_back"),
        Event.MAC_CHANGED: (CLEAR, "forget", "tell_changed", "count_change"),
        Event.HOLDER_LOST: (
            LOOKING_BACK, "forget", "look_back_at_holder", "tell_changed", "count_change"),
    },
    QUEUED: {
        Event.EVIDENCE: (QUEUED, "enqueue"),
        Event.OWED: (QUEUED, "give_back"),
        Event.DISPLACED: (CLEAR,),
        Event.TURN: (PROBING,),
        Event.NOT_OURS: (CLEAR,),
        Event.MAC_CHANGED: (
            CLEAR, "forget", "release_syns", "drop_look_back", "tell_changed", "count_change"),
        Event.FORMER_MAC: (
            LOOKING_BACK, "forget", "release_syns", "look_back_anew", "tell_changed",
            "count_change"),
        Event.HOLDER_LOST: (
            LOOKING_BACK, "forget", "release_syns", "look_back_at_holder", "tell_changed",
            "count_change"),
        Event.RETURNED: _RETURNED,
        Event.STAYED_SILENT: (QUEUED, "tell_healed"),
        Event.NOT_LEARNT: (QUEUED, "tell_not_learnt"),
        Event.UNPROVED: (QUEUED, "tell_unproved"),
        Event.WRITTEN_ANEW: (QUEUED, "tell_written_anew"),
        Event.WRITTEN_BACK: (QUEUED, "tell_written_back"),
    },
    PROBING: {
        Event.EVIDENCE: (PROBING,),
        Event.OWED: (PROBING, "give_back"),
        Event.MAC_CHANGED: (PROBING, "forget", "release_syns", "note_change", "count_change"),
        **_OUTCOMES,
        Event.OVERTAKEN: (CLEAR, "release_syns"),
        Event.PROXY_ANSWERED: (PROBING, "ask_everybody"),
        Event.ENTRY_DELETED: (
            REPROBING, "look_back", "forget", "release_syns_to_answer", "reprobe", "count_change"),
    },
    REPROBING: {
        Event.EVIDENCE: (REPROBING,),
        Event.OWED: (REPROBING, "give_back"),
        Event.MAC_CHANGED: (REPROBING, "forget", "release_syns", "note_change", "count_change"),
        **_OUTCOMES,
    },
    LOOKING_BACK: {
        Event.EVIDENCE: (QUEUED, "enqueue"),
        Event.OWED: (LOOKING_BACK, "give_back"),
        Event.FORMER_SPEAKS: (LOOKING_BACK, "look_back_now"),
        Event.MAC_CHANGED: (CLEAR, "forget", "drop_look_back", "tell_changed", "count_change"),
        Event.FORMER_MAC: (
            LOOKING_BACK, "forget", "look_back_anew", "tell_changed", "count_change"),
        Event.HOLDER_LOST: (
            LOOKING_BACK, "forget", "look_back_at_holder", "tell_changed", "count_change"),
        Event.RETURNED: _RETURNED,
        Event.STAYED_SILENT: (CLEAR, "tell_healed"),
        Event.NOT_LEARNT: (CLEAR, "tell_not_learnt"),
        Event.UNPROVED: (CLEAR, "tell_unproved"),
        Event.WRITTEN_ANEW: (CLEAR, "tell_written_anew"),
        Event.WRITTEN_BACK: (LOOKING_BACK, "tell_written_back", "doubt_again"),
        Event.TAKEN_OVER: (CLEAR, "drop_look_back"),
    },
}  # fmt: skip
IN_FLIGHT = (PROBING, REPROBING)
