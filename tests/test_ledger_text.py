"""The words in which measurements are written."""

from __future__ import annotations

import pytest

from cfgtoy.ledger import above, below


def test_bounds_read_alike_on_any_machine() -> None:
    assert below(3.1e-9, 1e-6) == below(8.7e-8, 1e-6) == "below 1e-06"
    assert above(0.093, 0.05) == above(0.062, 0.05) == "above 0.05"


@pytest.mark.parametrize(
    ("text", "says"), [(below(2e-3, 1e-6), "not below"), (above(0.01, 0.05), "not above")]
)
def test_a_missed_bound_is_told(text: str, says: str) -> None:
    assert says in text
