"""Labels of several lengths joined into one."""

from __future__ import annotations

import numpy as np
import pytest

from latnas.ranking.labels import joined

SHORT = dict(zip("abcdefgh", np.linspace(0.3, 0.65, 8).tolist(), strict=True))


def test_labels_of_one_length_stay_as_they_are() -> None:
    assert joined({100: SHORT}) == SHORT


def test_longer_labels_that_say_the_same_change_nothing() -> None:
    longer = {key: 0.5 + 0.4 * SHORT[key] for key in "defgh"}
    longest = {key: 0.7 + 0.3 * longer[key] for key in "efgh"}
    assert joined({900: longest, 300: longer, 100: SHORT}) == pytest.approx(SHORT)


def test_a_longer_label_counts_as_much_as_the_shorter_one_on_the_scale_of_the_shorter() -> None:
    longer = {"e": 0.80, "f": 0.78, "g": 0.84, "h": 0.82}
    both = joined({100: SHORT, 300: longer})
    short, long = np.array([SHORT[key] for key in longer]), np.array(list(longer.values()))
    moved = short.mean() + (long - long.mean()) / long.std() * short.std()
    assert [both[key] for key in longer] == pytest.approx((short + moved) / 2)
    assert {key: both[key] for key in "abcd"} == {key: SHORT[key] for key in "abcd"}


def test_equal_labels_and_a_handful_of_them_are_moved_and_not_stretched() -> None:
    longer = dict.fromkeys("efgh", 0.9)
    both = joined({100: SHORT, 300: longer})
    mean = np.mean([SHORT[key] for key in longer])
    assert [both[key] for key in longer] == pytest.approx([(SHORT[key] + mean) / 2 for key in longer])


def test_a_handful_of_longer_labels_is_moved_by_those_that_have_both_and_keeps_the_best_ahead() -> None:
    both = joined({100: SHORT, 300: {"f": 0.88, "g": 0.90, "h": 0.95}})
    short, long = np.array([SHORT[key] for key in "fgh"]), np.array([0.88, 0.90, 0.95])
    assert [both[key] for key in "fgh"] == pytest.approx((short + long - long.mean() + short.mean()) / 2)
    assert joined({100: SHORT, 300: {"h": 0.95}}) == pytest.approx(SHORT)


def test_lengths_without_an_architecture_in_common_are_compared_as_a_whole() -> None:
    longer = dict(zip("ijklmno", np.linspace(0.7, 0.9, 7).tolist(), strict=True))
    both = joined({100: SHORT, 300: longer})
    others = np.array([both[key] for key in longer])
    short = np.array(list(SHORT.values()))
    assert (others.mean(), others.std()) == pytest.approx((short.mean(), short.std()))
    assert {key: both[key] for key in SHORT} == SHORT
