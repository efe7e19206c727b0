"""What a failed transaction wrote is gone, and the queue shows what was written a moment ago."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger.overlay import EmptyState, Overlay, tree_changes
from tests.ledger.sandbox import DictState

keys = st.binary(min_size=1, max_size=2).map(lambda key: b"d" + key)
writes = st.lists(st.tuples(keys, st.none() | st.binary(min_size=1, max_size=3)), max_size=20)


def read_all(overlay: Overlay) -> dict[bytes, bytes | None]:
    return {
        bytes((100, a, b)): overlay.get("t", bytes((100, a, b))) for a in range(4) for b in range(4)
    }


@given(writes, writes, writes)
def test_rolling_back_restores_the_mark_exactly(base: list, kept: list, dropped: list) -> None:  # type: ignore[type-arg]
    overlay = Overlay(DictState({("t", key): value for key, value in base}))
    for key, value in kept:
        overlay.put("t", key, value)
    changes = dict(overlay.changes)
    mark = overlay.mark()
    for key, value in dropped:
        overlay.put("t", key, value)
    overlay.rollback(mark)
    assert overlay.changes == changes
    overlay.rollback(0)
    assert overlay.changes == {}


@given(writes, writes, st.integers(0, 10))
def test_the_ordered_view_is_the_sorted_union(base: list, over: list, limit: int) -> None:  # type: ignore[type-arg]
    state = DictState({("t", key): value for key, value in base})
    overlay = Overlay(state)
    model = {key: value for (_, key), value in state.records.items()}
    for key, value in over:
        overlay.put("t", key, value)
        if value is None:
            model.pop(key, None)
        else:
            model[key] = value
    overlay.put("other", b"dx", b"1")
    overlay.put("t", b"x", b"1")
    assert overlay.ordered("t", b"d", limit) == sorted(model.items())[:limit]


def test_forgotten_marks_keep_the_changes() -> None:
    overlay = Overlay(EmptyState())
    overlay.put("t", b"a", b"1")
    overlay.forget_marks()
    overlay.rollback(0)
    assert overlay.get("t", b"a") == b"1" and overlay.get("t", b"b") is None


def test_changes_are_listed_by_tree_and_key() -> None:
    changes = {("b", b"1"): None, ("a", b"2"): b"x", ("a", b"10"): b"y"}
    assert list(tree_changes(changes)) == [("a", b"10", b"y"), ("a", b"2", b"x"), ("b", b"1", None)]
