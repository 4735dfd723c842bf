"""arp.flush: deletes the entries that are ours and keeps all others, whatever happens meanwhile."""

import errno
import socket
import subprocess
import time

import pytest
from arp_engine.netlink import codec, rtnetlink
from arp_engine.sentinel import options
from arp_engine.table import flush, view
from conftest import BORN, DEAD, ip, many
from stage import own


@pytest.fixture
def nothing_is_old(monkeypatch):
    """No entry is read again before its deletion: the first exchange is a deletion."""
    monkeypatch.setattr(flush, "FRESH_S", float("inf"))
    monkeypatch.setattr(flush, "FEW", 0)


def shown_then(monkeypatch, meanwhile, is_late):
    """Change the table after the dump showed it: late, or before the first chunk is judged."""
    original, done = rtnetlink.Channel.neighbours, []

    def once():
        if not done:
            done.append(1)
            meanwhile()
            time.sleep(0.004)  # longer than flush.FRESH_S

    def neighbours(channel, family, *words):
        for chunk in original(channel, family, *words):
            if family == socket.AF_INET and not is_late:
                once()
            yield chunk
            if family == socket.AF_INET:
                once()

    monkeypatch.setattr(rtnetlink.Channel, "neighbours", neighbours)
    return done


def without_multicast(kept):
    return {reason: count for reason, count in kept.items() if reason != "multicast"}


@pytest.mark.parametrize("state", ["reachable", "stale", "delay", "probe", "failed"])
@pytest.mark.parametrize("address", ["192.0.2.10", "2001:db8::10"])
def test_flush_deletes_every_state_of_ours(arp, scene, address, state):
    scene.add(address, state, DEAD if state != "failed" else None)
    assert arp.flush()["flushed"] == 1
    assert scene.table() == []


def test_flush_keeps_entries_with_an_owner(arp, scene):
    own()
    ip("neigh", "add", "192.0.2.30", "managed", "dev", "db0")
    before = scene.table()
    scene.add("192.0.2.10")
    answer = arp.flush()
    assert answer["flushed"] == 1
    assert without_multicast(answer["kept"]) == {
        "PERMANENT": 2,
        "NOARP": 1,
        "extern_learn": 2,
        "protocol zebra": 1,
        "protocol static": 1,
        "managed": 1,
    }
    assert [row.rsplit(" ", 1)[0] for row in scene.table()] == [
        row.rsplit(" ", 1)[0] for row in before
    ]


WRITTEN = {  # what somebody does to a STALE entry after the dump showed it: words, reason
    "overlay": (f"replace 192.0.2.10 lladdr {BORN} nud reachable extern_learn", "extern_learn"),
    "administrator": (f"replace 192.0.2.10 lladdr {BORN} nud permanent", "PERMANENT"),
    "daemon": (f"replace 192.0.2.10 lladdr {DEAD} nud stale protocol zebra", "protocol zebra"),
    "heal": (f"replace 192.0.2.10 lladdr {BORN} nud reachable", ""),
    "new state": (f"replace 192.0.2.10 lladdr {DEAD} nud reachable", "no longer selected"),
}


@pytest.mark.parametrize("rows", [False, True], ids=["counts", "rows"])
@pytest.mark.parametrize("known", [{"FEW": 0}, {"FRESH_S": float("inf")}], ids=["old", "few"])
@pytest.mark.parametrize("who", WRITTEN)
def test_flush_keeps_entry_written_after_the_dump(arp, scene, monkeypatch, who, known, rows):
    for name, value in known.items():
        monkeypatch.setattr(flush, name, value)
    words, reason = WRITTEN[who]
    scene.add("192.0.2.10", "stale", DEAD)
    scene.add("192.0.2.11", "stale", DEAD)
    changes = []

    def write():
        ip("neigh", *words.split(), "dev", "db0")
        changes.extend(row for row in scene.table() if row.startswith("192.0.2.10 "))

    shown_then(monkeypatch, write, is_late=False)
    selected = {"state": "STALE"} if who == "new state" else {}
    answer = arp.flush(rows=rows, **selected)
    assert len(changes) == 1
    assert scene.table() == changes
    assert answer["flushed"] == 1
    assert answer["kept"].get(reason, 0) == bool(reason)
    assert "failed" not in answer
    if rows:
        assert [row["ip"] for row in answer["entries"]] == ["192.0.2.11"]


def test_flush_does_not_count_an_entry_that_went_after_the_dump(arp, scene, monkeypatch):
    scene.add("192.0.2.10", "stale", DEAD)
    gone = shown_then(monkeypatch, lambda: ip("neigh", "flush", "nud", "stale"), is_late=False)
    answer = arp.flush(rows=True)
    assert (answer["flushed"], answer["entries"]) == (0, [])
    assert gone


def test_flush_deletes_what_was_read_before_it_reads_more(arp, scene, monkeypatch):
    """The rest of a large table is not read first: an owner has that long to write the entry."""
    scene.add("192.0.2.10", "stale", DEAD)
    left = []
    shown_then(monkeypatch, lambda: left.extend(scene.table()), is_late=True)
    assert arp.flush()["flushed"] == 1
    assert left == []


def test_flush_reads_the_table_in_small_chunks(arp, scene, monkeypatch):
    """An entry is as old at its deletion as two chunks take."""
    original, sizes = rtnetlink.Channel.neighbours, []

    def neighbours(channel, *words):
        for chunk in original(channel, *words):
            sizes.append(len(chunk))
            yield chunk

    monkeypatch.setattr(rtnetlink.Channel, "neighbours", neighbours)
    scene.fill(400)
    assert arp.flush()["flushed"] == 400
    assert flush.CHUNK // 2 < max(sizes) <= flush.CHUNK


@pytest.mark.parametrize(
    ("deleted", "in_chunk", "are_few"),
    [(0, 16, True), (0, 17, False), (11, 5, True), (12, 5, False), (9999, 4, True)],
)
def test_the_first_entries_of_a_flush_and_a_few_of_a_chunk_are_read_again(
    arp, scene, monkeypatch, deleted, in_chunk, are_few
):
    """However fresh they are."""
    monkeypatch.setattr(flush, "FRESH_S", float("inf"))
    original, again = rtnetlink.Channel.get_entries, []

    def get_entries(channel, keys):
        again.extend(keys := list(keys))
        return original(channel, keys)

    monkeypatch.setattr(rtnetlink.Channel, "get_entries", get_entries)
    begin = flush._DryRun.__init__

    def begun(work, *words):
        begin(work, *words)
        work.count = deleted

    monkeypatch.setattr(flush._DryRun, "__init__", begun)
    scene.fill(in_chunk)
    assert arp.flush(family="ipv4")["flushed"] == deleted + in_chunk
    assert len(again) == (in_chunk if are_few else 0)


def test_flush_before_linux_5_deletes_what_was_shown(arp, scene, monkeypatch):
    """These kernels have no request for one entry (EOPNOTSUPP)."""

    def unknown(_channel, keys):
        yield [], [rtnetlink.Refusal(codec.Entry(), errno.EOPNOTSUPP, "")]

    scene.fill(20)
    monkeypatch.setattr(rtnetlink.Channel, "get_entries", unknown)
    monkeypatch.setattr(flush, "FRESH_S", -1.0)
    assert arp.flush()["flushed"] == 20
    assert scene.table() == []


def test_flush_tells_an_entry_that_it_could_not_read_again(arp, scene, monkeypatch):
    """EBUSY: the real kernel does not return it on demand."""
    names = scene.fill(2)
    original = rtnetlink.Channel.get_entries

    def busy(channel, keys):
        for entries, refused in original(channel, keys):
            unread = [entry for entry in entries if codec.address(entry.dst) == names[0]]
            rest = [entry for entry in entries if entry not in unread]
            yield rest, refused + [rtnetlink.Refusal(each, errno.EBUSY, "") for each in unread]

    monkeypatch.setattr(rtnetlink.Channel, "get_entries", busy)
    monkeypatch.setattr(flush, "FRESH_S", -1.0)
    answer = arp.flush()
    assert answer["flushed"] == 1
    assert [row["ip"] for row in answer["failed"]] == [names[0]]
    assert [row.split()[0] for row in scene.table()] == [names[0]]


def test_delete_locked_keeps_entry_that_gets_an_owner_meanwhile(scene, monkeypatch):
    """Reading all timers is slow: the entry is read after that, right before its deletion."""
    timers = view.TableView.timers

    def meanwhile(table, family, ifindex):
        found = timers(table, family, ifindex)
        scene.add("192.0.2.10", "reachable", DEAD, "db0", "extern_learn")
        return found

    scene.add("192.0.2.10", "reachable", DEAD)
    monkeypatch.setattr(view.TableView, "timers", meanwhile)
    key = socket.if_nametoindex("db0"), socket.inet_aton("192.0.2.10")
    with rtnetlink.Channel() as channel:
        table = view.TableView(channel, options.parse({}).selectors)
        assert not flush.delete_locked(table, key, bytes.fromhex(DEAD.replace(":", "")))
    assert scene.table() == [f"192.0.2.10 db0 {DEAD} extern_learn REACHABLE"]


def test_flush_keeps_proxy_entries(arp, scene):
    ip("neigh", "add", "proxy", "192.0.2.40", "dev", "db0")
    assert arp.flush(ip="192.0.2.40")["flushed"] == 0
    assert "192.0.2.40" in ip("neigh", "show", "proxy")


def test_flush_keeps_multicast_entries(arp, scene):
    scene.add("224.0.0.9", "stale")
    scene.add("ff02::9", "stale")
    assert arp.flush(ip=["224.0.0.9", "ff02::9"]) == {"flushed": 0, "kept": {"multicast": 2}}


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ({"ip": "192.0.2.10"}, {"192.0.2.11", "192.0.2.12", "2001:db8::10"}),
        ({"ip": "192.0.2.0/24", "exclude": ["192.0.2.12"]}, {"192.0.2.12", "2001:db8::10"}),
        ({"state": "STALE"}, {"192.0.2.11", "192.0.2.12"}),
        ({"state": "FAILED"}, {"192.0.2.10", "192.0.2.11", "2001:db8::10"}),
        ({"family": "ipv6"}, {"192.0.2.10", "192.0.2.11", "192.0.2.12"}),
        ({"dev": "lo"}, {"192.0.2.10", "192.0.2.11", "192.0.2.12", "2001:db8::10"}),
        ({"exclude": "0.0.0.0/0"}, {"192.0.2.10", "192.0.2.11", "192.0.2.12"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("test", [False, True], ids=["act", "test"])
def test_flush_deletes_selected_entries_only(arp, scene, words, left, test):
    scene.add("192.0.2.10", "stale")
    scene.add("192.0.2.11", "reachable")
    scene.add("192.0.2.12", "failed", None)
    scene.add("2001:db8::10", "stale")
    before = scene.table()
    answer = arp.flush(test=test, **words)
    assert answer["would_flush" if test else "flushed"] == 4 - len(left)
    if test:
        assert scene.table() == before
    else:
        assert {row.split()[0] for row in scene.table()} == left


def test_rows_lists_the_deleted_entries(arp, scene):
    scene.add("192.0.2.10", "stale")
    scene.add("2001:db8::10", "reachable")
    for test in (True, False):
        entries = arp.flush(rows=True, test=test)["entries"]
        assert [(row["ip"], row["mac"], row["dev"], row["state"]) for row in entries] == [
            ("2001:db8::10", DEAD, "db0", "REACHABLE"),
            ("192.0.2.10", DEAD, "db0", "STALE"),
        ]
    assert arp.flush(rows=True)["entries"] == []


@pytest.mark.parametrize("rows", [False, True], ids=["counts", "rows"])
@pytest.mark.parametrize("family", [4, 6])
def test_flush_of_many_entries_between_owned_ones(arp, scene, family, rows):
    names = scene.fill(400, family=family)
    for name in names[::40]:
        scene.add(name, "permanent")
    for name in names[1::40]:
        scene.add(name, "failed", None)
    answer = arp.flush(rows=rows)
    assert 380 <= answer["flushed"] <= 390  # the kernel's GC may delete the FAILED
    assert {row.split()[0] for row in scene.table()} == set(names[::40])
    if rows:
        assert len({row["ip"] for row in answer["entries"]}) == answer["flushed"]


def test_flush_is_complete_while_the_table_grows(arp, scene, monkeypatch):
    """A hash resize hides thousands of entries from a dump, and no flag says so.

    It grows to each size once and never shrinks, for all namespaces of the machine: so the growth
    here is real, and that the first look then misses what it had not shown yet is staged.
    """
    from arp_engine.netlink import rtnetlink

    scene.fill(400)
    fresh = "\n".join(
        f"neigh replace {many(n)} lladdr {DEAD} nud permanent dev db0" for n in range(20000, 40000)
    )
    # a later round keeps entries younger than the flush, by a clock of 10 ms
    scene.until(lambda: min(row["updated_s"] for row in arp.list_stale()) > 0.02)
    original = rtnetlink.Channel.neighbours
    missed = []

    def neighbours(channel, family, *words):
        chunks = original(channel, family, *words)
        if family == socket.AF_INET and not missed:
            yield next(chunks)
            ip("-batch", "-", stdin=fresh)
            missed.extend(chunks)
        yield from chunks

    monkeypatch.setattr(rtnetlink.Channel, "neighbours", neighbours)
    assert arp.flush(state="STALE")["flushed"] == 400
    assert missed, "the first look was shown everything"
    assert scene.table("stale") == []


@pytest.mark.usefixtures("nothing_is_old")
def test_two_flushes_at_once_both_succeed(arp, scene, monkeypatch):
    """`ip neigh flush` aborts here: "Failed to send flush request: No such file or directory"."""
    from arp_engine.netlink import rtnetlink

    scene.fill(400)
    original = rtnetlink.Channel.exchange
    others = []

    def exchange(channel, orders):
        answer = original(channel, orders)
        if not others:
            left = len(scene.table("stale"))
            assert 0 < left < 400, "we have had work"
            words = ["ip", "neigh", "flush", "nud", "stale"]
            others.append(subprocess.Popen(words, stderr=subprocess.PIPE))
            scene.until(lambda: len(scene.table("stale")) < left)
        return answer

    monkeypatch.setattr(rtnetlink.Channel, "exchange", exchange)
    answer = arp.flush()
    others[0].communicate()
    assert 0 < answer["flushed"] < 400, "the other one has had work"
    assert "failed" not in answer
    assert scene.table("stale") == []


@pytest.mark.usefixtures("nothing_is_old")
def test_flush_keeps_entries_learned_since_it_began(arp, scene, monkeypatch):
    """A flush under traffic must not delete the entries that the kernel has just learned anew."""
    from arp_engine.netlink import rtnetlink

    scene.fill(20)
    original = rtnetlink.Channel.exchange
    learned = []

    def exchange(channel, orders):
        answer = original(channel, orders)
        if not learned:
            learned.append(scene.add("192.0.2.77", "reachable"))
        return answer

    monkeypatch.setattr(rtnetlink.Channel, "exchange", exchange)
    assert arp.flush()["flushed"] == 20
    assert scene.table() == [f"192.0.2.77 db0 {DEAD} REACHABLE"]


@pytest.mark.usefixtures("nothing_is_old")
def test_flush_succeeds_when_a_device_vanishes(arp, scene, monkeypatch):
    from arp_engine.netlink import rtnetlink

    scene.fill(400)
    original = rtnetlink.Channel.exchange
    calls = []

    def exchange(channel, orders):
        calls.append(1)
        if len(calls) == 3:
            ip("link", "del", "db0")
        return original(channel, orders)

    monkeypatch.setattr(rtnetlink.Channel, "exchange", exchange)
    answer = arp.flush()
    assert 0 < answer["flushed"] < 400
    assert "failed" not in answer


@pytest.mark.usefixtures("nothing_is_old")
def test_partial_refusal_returns_flushed_and_failed(arp, scene, monkeypatch, loaders):
    """EBUSY for one of two: the real kernel does not return it on demand."""
    import errno
    import socket

    from arp_engine.netlink import codec, rtnetlink

    scene.fill(2)
    original = rtnetlink.Channel.exchange
    refused = socket.inet_aton(many(1))

    def exchange(channel, orders):
        found, refusals = original(channel, orders)
        entry = codec.Entry(ifindex=socket.if_nametoindex("db0"), dst=refused)
        first = not getattr(channel, "told", False)
        channel.told = True
        return found, refusals + [rtnetlink.Refusal(entry, errno.EBUSY, "")] * first

    monkeypatch.setattr(rtnetlink.Channel, "exchange", exchange)
    answer = arp.flush(rows=True)
    assert answer["flushed"] == 1
    assert [row["ip"] for row in answer["entries"]] == [many(0)]
    assert [(row["ip"], row["error"]) for row in answer["failed"]] == [
        (many(1), "EBUSY: Device or resource busy")
    ]


@pytest.mark.parametrize("rows", [False, True], ids=["counts", "rows"])
def test_entry_dumped_twice_is_one_row(arp, scene, monkeypatch, rows):
    from arp_engine.table import view

    names = scene.fill(5)
    original = view.TableView._chunks
    monkeypatch.setattr(
        view.TableView,
        "_chunks",
        lambda *words: (chunk for chunk in original(*words) for _ in range(2)),
    )
    answer = arp.flush(rows=rows)
    assert answer["flushed"] == 5
    if rows:
        assert sorted(row["ip"] for row in answer["entries"]) == sorted(names)


@pytest.mark.usefixtures("nothing_is_old")
@pytest.mark.parametrize("room", [2304, 1 << 20], ids=["least", "most"])
def test_flush_with_small_buffer_beside_another_deleter(arp, scene, monkeypatch, room):
    """Each ENOENT waits in our receive buffer: net.core.rmem_max can be as small as 2304."""
    from arp_engine.netlink import rtnetlink

    scene.fill(400)
    original, force = rtnetlink.Channel._enlarge_buffer, rtnetlink.SO_RCVBUFFORCE
    monkeypatch.setattr(rtnetlink, "SO_RCVBUFFORCE", -1)  # not allowed here

    def make_room(channel):
        set_option = channel._sock.setsockopt

        class Poor:
            def setsockopt(self, level, option, value):
                if option == -1:
                    raise PermissionError
                set_option(level, force, min(value, room))

            def __getattr__(self, name):
                return getattr(channel_sock, name)

        channel_sock, channel._sock = channel._sock, Poor()
        try:
            return original(channel)
        finally:
            channel._sock = channel_sock

    monkeypatch.setattr(rtnetlink.Channel, "_enlarge_buffer", make_room)
    exchange = rtnetlink.Channel.exchange
    gone = []

    def too_late(channel, orders):
        if not gone:
            gone.append(ip("neigh", "flush", "nud", "stale"))
        return exchange(channel, orders)

    monkeypatch.setattr(rtnetlink.Channel, "exchange", too_late)
    answer = arp.flush(state="STALE")
    assert gone
    assert (answer["flushed"], "failed" in answer) == (0, False)


@pytest.mark.usefixtures("nothing_is_old")
def test_limit_cuts_failed_and_totals_counts_it(arp, scene, monkeypatch):
    import errno
    import socket

    from arp_engine.netlink import codec, rtnetlink

    names = scene.fill(20)
    original, told = rtnetlink.Channel.exchange, []

    def exchange(channel, orders):
        found, refusals = original(channel, orders)
        for name in [] if told else names[:15]:
            entry = codec.Entry(ifindex=socket.if_nametoindex("db0"), dst=socket.inet_aton(name))
            refusals.append(rtnetlink.Refusal(entry, errno.EBUSY, ""))
        told.append(1)
        return found, refusals

    monkeypatch.setattr(rtnetlink.Channel, "exchange", exchange)
    answer = arp.flush(limit=4)
    assert len(answer["failed"]) == 4
    assert answer["totals"] == {"failed": 15}
