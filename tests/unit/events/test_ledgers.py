from agent.events.ledgers import MAX_NAMES, Account, Ledger


def test_what_is_declared_is_there_with_nothing_before_it_happens() -> None:
    ledger = Ledger("passed", ["rate_limit"], ["a"])
    assert ledger.counts() == {("a", "passed"): 0, ("a", "rate_limit"): 0}
    assert ledger.account(0) == Account(0, 0, {"rate_limit": 0})


def test_an_account_adds_up_over_the_names() -> None:
    ledger = Ledger("passed", ["rate_limit", "no_sink"])
    for name, outcome, count in (("a", "passed", 7), ("b", "passed", 16), ("a", "no_sink", 3)):
        ledger.enter(name, outcome, count)
    assert ledger.account(30) == Account(30, 23, {"rate_limit": 0, "no_sink": 3})
    assert ledger.counts() == {("a", "passed"): 7, ("b", "passed"): 16, ("a", "no_sink"): 3}


def test_names_that_nobody_declared_are_bounded_and_none_is_lost() -> None:
    ledger = Ledger("passed", [], ["declared"])
    for number in range(10 * MAX_NAMES):
        ledger.enter(f"made up {number}", "passed")
    ledger.enter("declared", "passed")
    counts = ledger.counts()
    assert len(counts) == MAX_NAMES + 2
    assert counts["_other", "passed"] == 9 * MAX_NAMES
    assert counts["declared", "passed"] == 1
    assert ledger.account(0).delivered == 10 * MAX_NAMES + 1


def test_what_is_declared_later_begins_with_nothing_and_what_was_counted_stays() -> None:
    ledger = Ledger("passed", [], ["a"])
    ledger.enter("a", "passed", 7)
    ledger.declare(["a", "b"])
    assert ledger.counts() == {("a", "passed"): 7, ("b", "passed"): 0}
