"""The laws against simulation, and the near-duplicate law against the mask itself."""

import numpy as np
import pytest
import torch

from palimpsest.goldfish.mask import HashedMask
from palimpsest.goldfish.theory import overhead, survival, unmasked_by_edits, verbatim_length


def test_survival_and_length() -> None:
    rng = np.random.default_rng(0)
    right = (rng.random((100_000, 60)) >= 1 / 4) | (rng.random((100_000, 60)) < 0.3)
    lengths = np.argmin(right, axis=1) + 1
    assert np.mean(right[:, :8].all(axis=1)) == pytest.approx(survival(4, 8, 0.3), abs=0.005)
    assert np.mean(lengths) == pytest.approx(verbatim_length(4, 0.3), abs=0.05)
    assert survival([3, 128], 50) == pytest.approx([1.57e-9, 0.675], rel=0.01)
    assert overhead([3, 4, 128]) == pytest.approx([1.5, 4 / 3, 128 / 127])


@pytest.mark.parametrize(("h", "rate"), [(4, 0.05), (13, 0.05), (13, 0.2)])
def test_edits_unmask_what_the_law_says(h: int, rate: float) -> None:
    generator = torch.Generator().manual_seed(h)
    ids = torch.randint(0, 5000, (60, 1000), generator=generator)
    edits = torch.rand(ids.shape, generator=generator) < rate
    other = torch.where(edits, torch.randint(0, 5000, ids.shape, generator=generator), ids)
    mask = HashedMask(4, h)
    dropped = ~mask(ids)
    share = mask(other)[dropped].float().mean().item()
    assert share == pytest.approx(float(unmasked_by_edits(4, h, rate)), abs=0.015)
