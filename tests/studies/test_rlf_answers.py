"""The checkers of chapter 2's exercises: wrong answers get a hint, right ones nothing.

The book's own solutions are checked by running the chapter.
"""

import numpy as np
import pytest

from palimpsest.studies import random_label_forgetting_answers as answers


@pytest.mark.parametrize(
    ("check", "wrong", "hint"),
    [
        (answers.forget_ratio, 0.5, "function"),
        (answers.forget_ratio, lambda a_ft, a_rl: (a_ft - a_rl) / a_ft, "guessing"),
        (answers.forget_ratio, lambda a_ft, a_rl: (a_ft - a_rl) / (a_ft - 0.5), "None"),
        (answers.redrawn_loss, lambda P, p: -np.log(P * p), "mean of the two"),
        (answers.redrawn_loss, lambda P, p: -np.log(p * (1 - p)), "each answer"),
        (answers.memoriser, lambda coins, skill: skill, "the coin chose"),
        (answers.memoriser, lambda coins, skill: lambda item: coins.get(item, 0), "skill"),
        (answers.threshold, lambda score, labels: 0.0, "errors"),
        (answers.variance_split, lambda R: (0.5, 0.5, 0.0), "rows"),
        (answers.few_tasks, (1 / 40320, 9 / 40320), "Two-sided"),
        (answers.few_tasks, (2 / 40320, 2 / 40320), "Holm"),
        (answers.widths, (0.3, 0.3), "several times"),
        (answers.widths, (np.inf, 0.3), "positive"),
        (answers.threshold_order, (-0.5, 0.0), "sign"),
        (answers.threshold_order, (0.0, 0.0), "21"),
        (answers.kernel_step, lambda f, p, z, x, r: r * (f @ x) @ (np.subtract(p, z)), "sign"),
        (answers.kernel_step, lambda f, p, z, x, r: 1.0, "no feature"),
    ],
)  # fmt: skip
def test_a_wrong_answer_gets_a_hint(check, wrong, hint):
    assert hint in check(wrong)
