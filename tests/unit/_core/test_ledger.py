"""Every accepted event is settled once, counted once, and told to everybody once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from millstream._core.ledger import Ledger
from millstream._core.outcome import DELIVERED, Outcome
from millstream._core.receipt import Receipt
from millstream._core.record import Place
from millstream._core.ticket import Ticket
from millstream.errors import Abandoned, ClientClosed, Dropped, EventTooLarge, QueueFull, Rejected
from millstream.types import FlushResult

FAILED = Outcome(Rejected(400), 1)
DROPPED = Outcome(Dropped("a plugin said so"))
FULL = Outcome(QueueFull("max_queue_events=2"))
ABANDONED = Outcome(Abandoned())


class Book(Ledger):
    """A ledger that remembers what it announced, and makes its own receipts."""

    def __init__(self, max_events: int = 100, max_bytes: int = 10_000) -> None:
        self.announced: list[tuple[Sequence[Receipt], Outcome]] = []
        super().__init__(threading.RLock(), lambda *told: self.announced.append(told), max_events, max_bytes)

    def accepted(self, count: int, size: int = 10) -> list[Receipt]:
        receipts = [receipt(size) for _ in range(count)]
        for each in receipts:
            self.accept(each)
        return receipts

    def entered(self, count: int) -> list[Receipt]:
        receipts = self.accepted(count)
        self.enter(receipts)
        return receipts

    def flushing(self) -> tuple[Ticket, list[str]]:
        """A ticket, opened, and a list that has a word in it when the ticket is done."""
        done: list[str] = []
        ticket = Ticket(lambda: done.append("done"))
        self.open(ticket)
        return ticket, done


def receipt(size: int = 10) -> Receipt:
    return Receipt(b'"' + b"x" * (size - 2) + b'"', "track", "id", None)  # type: ignore[arg-type]


def together(*work: Callable[[], None]) -> None:
    """Run these at the same time, each in a thread of its own."""
    threads = [threading.Thread(target=each, daemon=True) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


# -- counters -----------------------------------------------------------------------------------------


class CutShort:
    """A re-entrant lock whose `acquire` Ctrl-C cuts short: before it has the lock, or right behind."""

    def __init__(self, *, held: bool) -> None:
        self.lock = threading.RLock()
        self.held = held

    def acquire(self) -> bool:
        if self.held:
            self.lock.acquire()
        raise KeyboardInterrupt

    def release(self) -> None:
        self.lock.release()

    def __enter__(self) -> object:
        return self.lock.__enter__()

    def __exit__(self, *exc: object) -> None:
        self.lock.release()


@pytest.mark.parametrize("held", [False, True])
def test_a_call_that_is_cut_short_keeps_no_lock(held: bool):
    """An exception of a signal handler in the middle of a call leaves it uncounted, and the worker can go on."""
    lock = CutShort(held=held)
    book = Ledger(lock, lambda *_: None, 100, 10_000)
    with pytest.raises(KeyboardInterrupt):
        book.accept(receipt())
    seen: list[int] = []
    together(lambda: seen.append(book.totals().accepted))
    assert seen == [0]


def test_accepted_is_the_sum_of_all_outcomes_and_pending():
    """accepted == delivered + failed + dropped + pending, and each outcome counts as what it is."""
    book = Book()
    receipts = book.entered(10)
    book.settle(receipts[:4], DELIVERED)
    book.settle(receipts[4:6], FAILED)
    book.settle(receipts[6:7], DROPPED)
    book.settle(receipts[7:8], FULL)
    totals = book.totals()
    assert (totals.accepted, totals.delivered, totals.failed, totals.dropped, totals.pending) == (10, 4, 2, 2, 2)
    assert totals.queue_bytes == 20


def test_a_replaced_event_counts_with_its_new_bytes():
    """What plugins made of an event is what the queue holds, until it is settled."""
    book = Book()
    (one,) = book.entered(1)
    book.replace(one, b'"longer than before"')
    assert (one.data, book.totals().queue_bytes) == (b'"longer than before"', 20)
    book.settle([one], DELIVERED)
    assert book.totals().queue_bytes == 0


def test_an_event_refused_at_the_call_is_counted_without_ever_being_entered():
    """EventTooLarge is accepted and failed: in the counters, and nobody's to wait for."""
    book = Book()
    ticket, _ = book.flushing()
    book.settle_at_once(receipt(), Outcome(EventTooLarge(40_000, 32_768, "properties")))
    assert (book.totals().accepted, book.totals().failed, book.totals().pending) == (1, 1, 0)
    assert ticket.result() == FlushResult()
    book.entered(1)
    _, done = book.flushing()
    assert done == [], "the refused event was taken for the entered one"


def test_a_rejected_event_counts_nowhere():
    """A receipt for an event that was never accepted has its outcome, and no counter or listener knows of it."""
    book = Book()
    late, told = receipt(), []
    book.watch(late, told.append)
    book.reject(late, Outcome(ClientClosed()))
    assert book.totals() == (0, 0, 0, 0, 0, 0)
    assert told == [late]
    assert late.outcome is not None
    assert isinstance(late.outcome.error, ClientClosed)
    assert book.announced == []


def test_an_outcome_is_announced_once_for_all_who_share_it():
    """Listeners are told per batch, after the receipts have their outcome."""
    book = Book()
    receipts = book.entered(3)
    book.settle(receipts, FAILED)
    assert book.announced == [(receipts, FAILED)]
    assert all(each.outcome is FAILED for each in receipts)


def test_receipts_and_counters_are_true_when_watchers_run():
    """Whoever is told finds counters and all receipts of the batch settled already."""
    book = Book()
    receipts = book.entered(2)
    seen: list[object] = []
    book.watch(receipts[0], lambda _: seen.append((book.totals().delivered, receipts[1].done(), book.announced)))
    book.settle(receipts, DELIVERED)
    assert seen == [(2, True, [(receipts, DELIVERED)])]


class Interrupted(bytes):
    """Bytes that are interrupted while they are measured, as by a signal handler that makes a call."""

    interrupt = staticmethod(lambda: None)

    def __len__(self) -> int:
        self.interrupt()
        return super().__len__()


def test_a_call_that_cuts_in_is_counted_too():
    """A signal handler or `__del__` that makes a call while a call or a settlement is under way loses no count."""
    book = Book()
    hit = receipt()
    hit.data = Interrupted(hit.data)
    hit.data.interrupt = lambda: book.accept(receipt())  # type: ignore[attr-defined]
    book.accept(hit)
    assert (book.totals().accepted, book.totals().queue_bytes) == (2, 20)
    book.replace(hit, hit.data)
    assert (book.totals().accepted, book.totals().queue_bytes) == (4, 40)
    book.settle([hit], DELIVERED)
    assert (book.totals().accepted, book.totals().pending, book.totals().queue_bytes) == (5, 4, 40)


def test_counters_stand_many_threads():
    """Calls from many threads and a worker that settles leave sums that agree."""
    book = Book(max_events=10**6)

    def call() -> None:
        for _ in range(300):
            book.settle(book.accepted(2), DELIVERED)

    together(*[call] * 4)
    totals = book.totals()
    assert (totals.accepted, totals.delivered, totals.pending, totals.queue_bytes) == (2400, 2400, 0, 0)


class Guarded(Ledger):
    """A ledger that lets nobody read a counter without its lock, and so nobody change one either."""

    held = False

    def __getattribute__(self, name: str) -> object:
        if name in {"_counts", "_ended", "_spooled"}:
            assert self.held, f"{name} is looked at without the lock"
        return super().__getattribute__(name)

    def acquire(self) -> bool:
        self.held = True
        return True

    def release(self) -> None:
        self.held = False

    __enter__ = acquire

    def __exit__(self, *_: object) -> None:
        self.held = False


def test_counters_are_touched_under_the_lock_alone():
    """Two threads share the counters: whoever reads or changes one holds the lock."""
    book = Guarded.__new__(Guarded)
    book.__init__(book, lambda *_: None, 1, 10)  # its own lock
    for outcome in (DELIVERED, FAILED, DROPPED):
        one, two = receipt(), receipt()
        assert book.accept(one) is None
        assert book.accept(two) is not None
        book.settle_at_once(two, outcome)
        book.replace(one, b'"else"')
        book.settle([one], outcome)
    assert book.totals().pending == 0


# -- bounds -------------------------------------------------------------------------------------------


def test_the_queue_is_bounded_in_events():
    """An event beyond `max_events` pending ones is told so, and room is back when one is settled."""
    book = Book(max_events=2)
    receipts = [receipt() for _ in range(3)]
    assert [book.accept(each) for each in receipts[:2]] == [None, None]
    assert book.accept(receipts[2]) == "max_queue_events=2"
    book.settle(receipts[:1], DELIVERED)
    assert book.accept(receipt()) is None


def test_an_event_without_room_is_not_counted():
    """A full queue counts nothing: whether the event counts as dropped is for the caller to say."""
    book = Book(max_events=1)
    assert book.accept(receipt()) is None
    assert book.accept(receipt()) == "max_queue_events=1"
    assert book.totals().accepted == 1
    book.settle_at_once(receipt(), FULL)
    assert (book.totals().accepted, book.totals().dropped, book.totals().pending) == (2, 1, 1)


@pytest.mark.parametrize("where", ["_watcher", "_announce"])
def test_what_raises_while_an_outcome_is_told_leaves_no_flush_waiting(where: str):
    """Callbacks and the log run when everything is counted: what they raise keeps no flush from its end."""

    def raises(*_: object) -> None:
        raise KeyboardInterrupt

    book = Book()
    one, two = book.entered(2)
    heard: list[Receipt] = []
    book.watch(two, heard.append)
    ticket, done = book.flushing()
    if where == "_watcher":
        book.watch_first(one, raises)
    else:
        book._announce = raises
    with pytest.raises(KeyboardInterrupt):
        book.settle([one, two], DELIVERED)
    assert (ticket.result(), done, heard) == (FlushResult(delivered=2), ["done"], [two])


def test_the_queue_is_bounded_in_bytes():
    """An event that would take the queue over `max_bytes` is told so; the bound itself is allowed."""
    book = Book(max_bytes=30)
    assert book.accept(receipt(20)) is None
    assert book.accept(receipt(10)) is None
    assert book.accept(receipt(2)) == "max_queue_bytes=30"


def test_a_single_event_is_accepted_however_large():
    """A bound smaller than one event would otherwise stop everything."""
    assert Book(max_bytes=30).accept(receipt(100)) is None


# -- watchers -----------------------------------------------------------------------------------------


def test_watchers_run_once_in_their_order():
    """Each watcher is called once with its receipt, in the order of their coming."""
    book = Book()
    (one, two), told = book.entered(2), []
    for name in "abc":
        book.watch(one, lambda r, name=name: told.append((name, r)))
    book.settle([one, two], DELIVERED)
    assert told == [("a", one), ("b", one), ("c", one)]
    assert book._watchers == {}


def test_a_watcher_that_comes_late_runs_at_once():
    """Whoever asks after the outcome is told then, and leaves nothing behind."""
    book = Book()
    (one,), told = book.entered(1), []
    book.settle([one], DELIVERED)
    book.watch(one, told.append)
    assert told == [one]
    assert book._watchers == {}


def test_a_watcher_may_add_a_watcher():
    """What a watcher adds to its own receipt runs too."""
    book = Book()
    (one,), told = book.entered(1), []
    book.watch(one, lambda r: book.watch(r, told.append))
    book.settle([one], DELIVERED)
    assert told == [one]


def test_watchers_run_once_when_added_while_settling():
    """Two threads that add watchers while a third settles: each watcher runs exactly once, and none is kept."""
    rounds, book = 400, Book(max_events=10**6)
    receipts = book.entered(rounds)
    told: Counter[tuple[int, str]] = Counter()
    lock, gates = threading.Lock(), threading.Barrier(3)

    def tell(key: tuple[int, str]) -> None:
        with lock:
            told[key] += 1

    def watch(name: str) -> None:
        for number, each in enumerate(receipts):
            gates.wait(30)
            book.watch(each, lambda _, key=(number, name): tell(key))

    def settle() -> None:
        for each in receipts:
            gates.wait(30)
            book.settle([each], DELIVERED)

    together(lambda: watch("a"), lambda: watch("b"), settle)
    assert told == Counter({(number, name): 1 for number in range(rounds) for name in "ab"})
    assert book._watchers == {}


# -- tickets ------------------------------------------------------------------------------------------


def test_a_ticket_of_nothing_is_done_at_once():
    """A flush with nothing to wait for does not wait."""
    _, done = Book().flushing()
    assert done == ["done"]


def test_a_ticket_waits_for_what_was_entered_before_it():
    """A flush is done when all before it have an outcome, and says which."""
    book = Book()
    receipts = book.entered(4)
    ticket, done = book.flushing()
    assert ticket.result() == FlushResult(pending=4)
    book.settle(receipts[:2], DELIVERED)
    assert ticket.result() == FlushResult(delivered=2, pending=2)
    assert done == []
    book.settle(receipts[2:3], FAILED)
    book.settle(receipts[3:], DROPPED)
    assert done == ["done"]
    assert ticket.result() == FlushResult(delivered=2, failed=1, dropped=1)


def test_a_ticket_does_not_wait_for_what_comes_later():
    """Later events neither hold up a flush nor count in it, also when they travel in the same batch."""
    book = Book()
    before = book.entered(2)
    ticket, done = book.flushing()
    later = book.entered(3)
    book.settle(later[:1], DELIVERED)
    book.settle([*before, *later[1:2]], DELIVERED)
    assert done == ["done"]
    assert ticket.result() == FlushResult(delivered=2)
    book.settle(later[2:], DELIVERED)
    assert done == ["done"]
    assert ticket.result() == FlushResult(delivered=2)


def test_an_event_that_is_accepted_but_not_entered_is_not_waited_for():
    """What the worker has not taken over by then was submitted after the flush."""
    book = Book()
    book.accepted(3)
    ticket, done = book.flushing()
    assert (ticket.result(), done) == (FlushResult(), ["done"])


def test_a_ticket_counts_what_ended_since_the_flush_before():
    """Each outcome is told by one flush: by the first that begins after it, if none was waiting for it."""
    book = Book()
    receipts = book.entered(5)
    book.settle(receipts[:2], DELIVERED)
    book.settle(receipts[2:3], FAILED)
    first, _ = book.flushing()
    book.settle(receipts[3:], DELIVERED)
    second, _ = book.flushing()
    assert first.result() == FlushResult(delivered=4, failed=1)
    assert second.result() == FlushResult()  # the first has counted them all
    book.settle(book.entered(1), DELIVERED)
    third, _ = book.flushing()
    assert third.result() == FlushResult(delivered=1)


def test_a_withdrawn_ticket_leaves_the_rest_to_the_next():
    """What a flush that ran out of time has not counted is counted by the next one, and nothing twice."""
    book = Book()
    receipts = book.entered(3)
    first, _ = book.flushing()
    book.settle(receipts[:1], DELIVERED)
    book.withdraw(first)
    book.settle(receipts[1:], DELIVERED)
    second, _ = book.flushing()
    assert first.result() == FlushResult(delivered=1, pending=2)
    assert second.result() == FlushResult(delivered=2)


def test_tickets_may_overlap():
    """Two flushes at once both wait for what is before them, and each is done when its own are."""
    book = Book()
    early = book.entered(2)
    first, first_done = book.flushing()
    late = book.entered(3)
    second, second_done = book.flushing()
    book.settle(early, DELIVERED)
    assert (first_done, second_done) == (["done"], [])
    book.settle(late, FAILED)
    assert second_done == ["done"]
    assert first.result() == FlushResult(delivered=2)
    assert second.result() == FlushResult(delivered=2, failed=3)


def test_a_later_ticket_is_never_done_before_an_earlier_one():
    """What an earlier flush waits for, a later one waits for too."""
    book = Book()
    early = book.entered(1)
    _, first_done = book.flushing()
    late = book.entered(1)
    _, second_done = book.flushing()
    book.settle(late, DELIVERED)
    assert (first_done, second_done) == ([], [])
    book.settle(early, DELIVERED)
    assert (first_done, second_done) == (["done"], ["done"])


@pytest.mark.parametrize(("outcome", "kept"), [(ABANDONED, True), (FAILED, False)])
def test_unsent_is_what_was_given_up(outcome: Outcome, kept: bool):
    """A close hands back what it gave up, decoded; not what failed for good."""
    book = Book()
    receipts = book.entered(2)
    receipts[0].data, receipts[1].data = b'{"messageId":"1"}', b'{"messageId":"2"}'
    ticket, _ = book.flushing()
    later = book.entered(1)
    book.settle([*receipts, *later], outcome)
    assert ticket.result().failed == 2
    assert ticket.result().unsent == ([{"messageId": "1"}, {"messageId": "2"}] if kept else [])


def test_giving_up_tells_whoever_waits_how_far_it_came():
    """When nothing more will be settled, open flushes are done, once, with the rest as pending; later ones work."""
    book = Book()
    receipts = book.entered(3)
    ticket, done = book.flushing()
    book.settle(receipts[:1], DELIVERED)
    book.complete_flushes()
    assert done == ["done"]
    assert ticket.result() == FlushResult(delivered=1, pending=2)
    closing, closed = book.flushing()
    book.settle(receipts[1:], ABANDONED)
    assert (done, closed) == (["done"], ["done"])
    assert closing.result().failed == 2


def test_a_ticket_that_was_not_opened_says_so():
    """Epoch 0 means that the worker has not come to read it: no event has that epoch."""
    ticket = Ticket(lambda: None)
    assert ticket.epoch == 0
    book = Book()
    book.settle(book.accepted(1), FAILED)
    book.open(ticket)
    assert ticket.epoch == 1


# -- with a spool -------------------------------------------------------------------------------------

KEPT = Outcome(Abandoned(spooled=True))


class SpooledBook(Book):
    """A ledger whose receipts are in a spool, and which remembers what that may forget."""

    def __init__(self) -> None:
        super().__init__()
        self.forgotten: list[Receipt] = []
        self._forget = self.forgotten.extend

    def accepted(self, count: int, size: int = 10) -> list[Receipt]:
        receipts = super().accepted(count, size)
        for number, each in enumerate(receipts):
            each._place = Place(None, number, number + 1)
        return receipts


def test_the_spool_forgets_what_has_an_outcome_before_anybody_hears_of_it():
    """What is delivered, failed or dropped is forgotten; what stays pending is not."""
    book = SpooledBook()
    one, two, three, four = book.entered(4)
    book.watch(one, lambda _: None if one in book.forgotten else pytest.fail("heard of it first"))
    book.settle([one], DELIVERED)
    book.settle([two], FAILED)
    book.settle([three], DROPPED)
    book.settle([four], KEPT)
    assert book.forgotten == [one, two, three]


def test_what_the_spool_keeps_at_the_end_stays_pending():
    """It has no outcome: only its receipt has, as this client will never know."""
    book = SpooledBook()
    receipts = book.entered(2)
    ticket, done = book.flushing()
    book.settle(receipts, KEPT)
    totals = book.totals()
    assert (totals.pending, totals.spooled, totals.failed, totals.queue_bytes) == (2, 2, 0, 0)
    assert ticket.result() == FlushResult(pending=2, spooled=2)
    assert done == ["done"]


def test_a_result_tells_what_is_safe_on_disk():
    """`spooled` is the part of what is pending that is in the spool, in memory too or not."""
    book = SpooledBook()
    book.entered(2)
    book.adopt(3)
    book.enter_on_disk(3)
    exposed = Book.accepted(book, 1)
    book.enter(exposed)
    ticket, _ = book.flushing()
    assert ticket.result() == FlushResult(pending=6, spooled=5)
    book.settle(exposed, DELIVERED)
    assert ticket.result() == FlushResult(delivered=1, pending=5, spooled=5)


def test_without_a_spool_nothing_is_spooled():
    """No result and no counter speaks of a spool that is not there."""
    book = Book()
    book.entered(2)
    ticket, _ = book.flushing()
    assert ticket.result() == FlushResult(pending=2, spooled=0)
    assert book.totals().spooled == 0


def test_what_is_on_disk_alone_takes_no_room_in_memory():
    """It is pending, but the bounds of the queue are for what is in memory."""
    book = SpooledBook()
    book.adopt(1000)
    assert (book.totals().accepted, book.totals().pending, book.totals().spooled) == (1000, 1000, 1000)
    assert book.totals().queue_bytes == 0
    assert book.accept(receipt()) is None


def test_a_flush_waits_for_what_is_on_disk_alone():
    """It was there before; once read back it counts in the epoch in which it was entered."""
    book = SpooledBook()
    epoch = book.epoch
    book.adopt(2)
    book.enter_on_disk(2)
    ticket, done = book.flushing()
    back = [receipt(), receipt()]
    back[0]._place, back[1]._place = Place(None, 0, 10), Place(None, 10, 20)
    book.read_back(back, epoch)
    assert (book.totals().spooled, book.totals().queue_bytes, book.totals().pending) == (0, 20, 2)
    book.settle(back, DELIVERED)
    assert (ticket.result(), done) == (FlushResult(delivered=2), ["done"])


def test_what_cannot_be_read_back_has_failed():
    """Every accepted event ends in an outcome, also one whose bytes are gone."""
    book = SpooledBook()
    epoch = book.epoch
    book.adopt(3)
    book.enter_on_disk(3)
    ticket, done = book.flushing()
    book.lose(2, epoch)
    assert (book.totals().failed, book.totals().pending, book.totals().spooled) == (2, 1, 1)
    book.leave(1, epoch)
    assert (ticket.result(), done) == (FlushResult(failed=2, pending=1, spooled=1), ["done"])
    assert book.totals().pending == 1
