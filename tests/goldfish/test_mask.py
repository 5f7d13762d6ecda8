"""Masks against an oracle in plain Python, and what the paper's mask must and must not do."""

import itertools

import numpy as np
import pytest
import torch
from oracle import keep_row
from scipy import stats

from palimpsest.core.errors import DataError, UserError
from palimpsest.goldfish.mask import HashedMask, OfficialMask, RandomMask, StaticMask

HEADS = ("exempt", "lead", "short", "cross")


def ids_of(*shape: int, vocabulary: int = 500, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, vocabulary, shape, generator=torch.Generator().manual_seed(seed))


# --- against the oracle -------------------------------------------------------------------------


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("window", ["preceding", "inclusive"])
@pytest.mark.parametrize("h", [1, 4, 13, 50])
def test_every_bit_is_the_oracle_s(h: int, window: str, heads: str) -> None:
    for k, length in itertools.product((2, 3, 4, 50), {1, max(1, h - 1), h, h + 1, 70}):
        ids = ids_of(2, length, seed=h + k)
        segments = torch.sort(ids_of(2, length, vocabulary=4, seed=k), dim=1).values
        mask = HashedMask(k, h, seed=k, window=window, heads=heads, exempt=(3, 5))
        expected = [
            keep_row(row.tolist(), own.tolist(), k, h, k, window, heads, (3, 5))
            for row, own in zip(ids, segments, strict=True)
        ]
        assert mask(ids, segments).tolist() == expected
        alone = keep_row(ids[0].tolist(), [0] * length, k, h, k, window, heads, (3, 5))
        assert mask(ids[:1])[0].tolist() == alone
        assert mask(ids[0]).tolist() == alone


def test_large_ids_and_seeds_and_negative_ones_wrap_around_alike() -> None:
    ids = torch.tensor([[0, 1, 2**62, -100, 2**31, 7, 7, 7, 0, 0, 2**63 - 1, 5]])
    for seed in (-1, 2**40):
        row = HashedMask(2, 3, seed=seed)(ids)[0].tolist()
        assert row == keep_row(ids[0].tolist(), [0] * 12, 2, 3, seed)


def test_the_mask_of_these_ids_is_always_the_same() -> None:
    ids = torch.arange(128).reshape(1, 128) * 37 % 101
    bits = HashedMask(4, 13)(ids)[0].tolist()
    told = f"{int(''.join('01'[bit] for bit in bits), 2):032x}"
    assert told == "ffffe7befffff97597d7ef3f3777ff3d"


@pytest.mark.parametrize("dtype", [torch.int16, torch.int32, torch.int64])
def test_the_type_of_the_ids_changes_nothing(dtype: torch.dtype) -> None:
    ids = ids_of(3, 60)
    assert HashedMask(3, 5)(ids.to(dtype)).equal(HashedMask(3, 5)(ids))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_devices_agree() -> None:
    ids, segments = ids_of(8, 300), torch.arange(300).div(70, rounding_mode="floor").expand(8, 300)
    masks = [HashedMask(4, 13, heads=heads) for heads in HEADS]
    for mask in (*masks, StaticMask(4), RandomMask(4), OfficialMask(4, 13)):
        there = mask(ids.cuda(), segments.cuda())
        assert there.is_cuda
        assert there.cpu().equal(mask(ids, segments))


# --- what the hashed mask must do ---------------------------------------------------------------


def test_a_passage_is_masked_alike_at_every_place_after_its_first_tokens() -> None:
    passage, h = ids_of(1, 90, seed=1), 13
    alone = HashedMask(4, h)(passage)[0]
    for offset in (1, 5, 40):
        row = torch.cat([ids_of(1, offset, seed=offset), passage, ids_of(1, 20, seed=9)], dim=1)
        rows = torch.cat([ids_of(2, row.shape[1], seed=3), row])
        assert HashedMask(4, h)(rows)[2, offset + h : offset + 90].equal(alone[h:])


@pytest.mark.parametrize(("window", "first", "last"), [("preceding", 1, 4), ("inclusive", 0, 3)])
def test_a_token_decides_on_its_neighbours_alone(window: str, first: int, last: int) -> None:
    mask = HashedMask(2, 4, window=window)
    ids = ids_of(1, 60)
    before, changed = mask(ids)[0], set()
    for value in range(40):
        other = ids.clone()
        other[0, 30] = 600 + value
        changed |= set(torch.nonzero(mask(other)[0] != before).flatten().tolist())
    assert changed == set(range(30 + first, 30 + last + 1))


def test_the_order_of_a_window_counts() -> None:
    k, h, many = 4, 5, 8000
    windows = torch.stack([torch.randperm(500)[:h] for _ in range(many)])
    target = torch.zeros(many, 1, dtype=torch.int64)
    mask = HashedMask(k, h)
    one = mask(torch.cat([windows, target], dim=1))[:, -1]
    other = mask(torch.cat([windows.flip(1), target], dim=1))[:, -1]
    expected = 2 * (1 / k) * (1 - 1 / k)
    assert stats.binomtest(int((one != other).sum()), many, expected).pvalue > 1e-4


def test_a_larger_k_leaves_out_a_part_of_what_a_smaller_one_does() -> None:
    ids = ids_of(4, 500)
    kept = [HashedMask(k, 6)(ids) for k in (2, 3, 4, 8, 32)]
    for fewer, more in itertools.pairwise(kept):
        assert (more | ~fewer).all()
        assert not more.equal(fewer)


def test_seeds_agree_as_often_as_chance_has_it() -> None:
    ids = ids_of(40, 500)
    one, other = (HashedMask(4, 6, seed=seed)(ids)[:, 6:] for seed in (0, 1))
    same, many = int((one == other).sum()), one.numel()
    assert stats.binomtest(same, many, 0.75**2 + 0.25**2).pvalue > 1e-4


@pytest.mark.parametrize("special", [None, 0, 1, 2, 4096])
@pytest.mark.parametrize(("k", "h"), [(3, 4), (4, 13), (50, 50)])
def test_one_in_k_is_left_out_whatever_ids_are_common(k: int, h: int, special: int | None) -> None:
    ids = ids_of(60, 1000, vocabulary=5000, seed=k)
    if special is not None:  # half of all tokens
        ids[ids_of(60, 1000, vocabulary=2, seed=5).bool()] = special
    left_out = ~HashedMask(k, h)(ids)[:, h:]
    _, places = np.unique(
        ids.unfold(1, h, 1)[:, : left_out.shape[1]].reshape(-1, h).numpy(),
        axis=0, return_index=True,
    )  # fmt: skip
    distinct = left_out.flatten()[torch.from_numpy(places)]
    assert stats.binomtest(int(distinct.sum()), len(distinct), 1 / k).pvalue > 1e-4
    after = left_out[:, 1:][left_out[:, :-1]]  # does one left out bring another?
    if special is None:
        assert stats.binomtest(int(after.sum()), len(after), 1 / k).pvalue > 1e-4


def test_what_repeats_has_one_decision() -> None:
    for token in range(50):
        row = HashedMask(4, 5)(torch.full((1, 40), token))[0, 5:]
        assert len(set(row.tolist())) == 1


# --- heads and packing --------------------------------------------------------------------------


def packed(documents: list[torch.Tensor], order: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.cat([documents[number] for number in order])
    numbers = torch.cat([torch.full_like(documents[number], number) for number in order])
    return ids[None], numbers[None]


@pytest.mark.parametrize(("heads", "same"), [*((one, True) for one in HEADS[:3]), ("cross", False)])
def test_packing_leaves_each_document_s_mask(heads: str, same: bool) -> None:
    documents = [ids_of(length, seed=length) for length in (3, 40, 13, 14, 60, 1)]
    mask = HashedMask(2, 13, heads=heads)
    alone = [mask(one[None])[0].tolist() for one in documents]
    found = []
    for order in ([0, 1, 2, 3, 4, 5], [4, 2, 5, 0, 3, 1]):
        ids, numbers = packed(documents, order)
        keep = mask(ids, numbers)
        found.append([keep[numbers == number].tolist() for number in range(6)])
    assert (found[0] == found[1] == alone) is same


def test_padding_on_either_side_is_another_segment() -> None:
    ids = ids_of(1, 40)
    alone = HashedMask(2, 5)(ids)
    pad, one, none = torch.zeros(1, 9, dtype=torch.int64), torch.ones_like(ids), torch.zeros(1, 9)
    left = HashedMask(2, 5)(torch.cat([pad, ids], 1), torch.cat([none.long(), one], 1))
    right = HashedMask(2, 5)(torch.cat([ids, pad], 1), torch.cat([one, none.long()], 1))
    assert left[:, 9:].equal(alone)
    assert right[:, :40].equal(alone)


def test_heads() -> None:
    ids = ids_of(400, 30, vocabulary=5000)
    share = {heads: (~HashedMask(4, 13, heads=heads)(ids)).float().mean(0) for heads in HEADS}
    for heads in ("exempt", "cross"):
        assert (share[heads][:13] == 0).all()
    for heads, first in (("lead", 1), ("short", 2)):
        assert (share[heads][:first] == 0).all()
        assert share[heads][first:13].min() > 0.15
    for heads in HEADS:
        assert share[heads][13:].mean() == pytest.approx(0.25, abs=0.02)


def test_exempt_ids_are_always_kept() -> None:
    ids = ids_of(4, 300, vocabulary=6)
    keep = HashedMask(2, 3, exempt=(2, 4))(ids)
    assert keep[(ids == 2) | (ids == 4)].all()
    assert not keep[ids == 3].all()


# --- the other masks ----------------------------------------------------------------------------


def test_static_positions() -> None:
    keep = StaticMask(4, start=2)(ids_of(2, 12))
    assert torch.nonzero(~keep[0]).flatten().tolist() == [2, 6, 10]
    assert keep[1].equal(keep[0])
    assert StaticMask(2)(ids_of(1, 4))[0].tolist() == [True, True, False, True]


def test_random_coins_are_fresh_at_each_visit_and_come_back() -> None:
    mask, ids = RandomMask(4, seed=3), ids_of(50, 200)
    visits = [mask(ids, visit=visit) for visit in range(40)]
    assert visits[7].equal(mask(ids, visit=7))
    assert stats.binomtest(int((~visits[0]).sum()), 50 * 199, 0.25).pvalue > 1e-4
    both = int((~visits[0] & ~visits[1]).sum())
    assert stats.binomtest(both, 50 * 199, 1 / 16).pvalue > 1e-4
    assert not visits[0][0].equal(visits[0][1])
    assert not RandomMask(4, seed=4)(ids).equal(visits[0])
    assert torch.stack(visits[:20]).any(0).all()  # 0.25 ** 20 are never targets
    assert mask(ids[5:7], visit=7, rows=[5, 6]).equal(visits[7][5:7])


def test_the_official_product_by_hand() -> None:
    ids = ids_of(3, 30)
    table = torch.rand(1_000_003, generator=torch.Generator().manual_seed(2971215073)).tolist()
    keep = OfficialMask(4, 3)(ids)
    for row, line in zip(ids.tolist(), keep.tolist(), strict=True):
        expected = [
            place < 3 or table[row[place - 2] * row[place - 1] * row[place] % 1_000_003] >= 1 / 4
            for place in range(30)
        ]
        assert line == expected


def test_the_official_product_has_the_faults_that_the_hash_has_not() -> None:
    ids = ids_of(1, 400)
    turned = ids.clone()
    turned[0, 100:103] = ids[0, 100:103].flip(0)
    official, own = OfficialMask(2, 3), HashedMask(2, 3, window="inclusive")
    assert official(turned)[0, 102] == official(ids)[0, 102]
    # 13 factors of 32 are 65 factors of two: all such windows share one slot of the table.
    even = 32 * (1 + ids_of(200, 14, vocabulary=1000))
    assert len(set(OfficialMask(4, 13)(even)[:, -1].tolist())) == 1
    assert len(set(HashedMask(4, 13, window="inclusive")(even)[:, -1].tolist())) == 2
    assert own(ids).shape == ids.shape


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mask", [HashedMask(2, 9), StaticMask(2), RandomMask(2), OfficialMask(2, 9)]
)
@pytest.mark.parametrize("shape", [(0,), (2, 0), (1,), (3, 1), (0, 5), (2, 8)])
def test_short_and_empty_rows_are_no_error(mask, shape) -> None:
    ids = ids_of(*shape)
    keep = mask(ids)
    assert keep.shape == ids.shape
    assert keep.dtype == torch.bool
    if isinstance(mask, HashedMask | OfficialMask):
        assert keep.all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: HashedMask(1, 4), "k is 1; a whole number of at least 2"),
        (lambda: HashedMask(2.5, 4), "k is 2.5; a whole number"),
        (lambda: HashedMask(True, 4), "k is True; a whole number"),
        (lambda: HashedMask(4, 0), "h is 0; a whole number of at least 1"),
        (lambda: HashedMask(4, 4, window="after"), "no window 'after': .*preceding"),
        (lambda: HashedMask(4, 4, heads="exmpt"), "no heads 'exmpt': did you mean 'exempt'"),
        (lambda: StaticMask(0), "k is 0"),
        (lambda: StaticMask(4, start=-1), "start is -1"),
        (lambda: RandomMask(-3), "k is -3"),
        (lambda: OfficialMask(4, 0), "h is 0"),
    ],
)
def test_what_makes_no_mask_is_refused(make, words) -> None:
    with pytest.raises(UserError, match=words):
        make()


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (torch.rand(2, 3), "a tensor of integers, not from torch.float32"),
        (torch.ones(2, 3, dtype=torch.bool), "not from torch.bool"),
        ([1, 2, 3], "not from list"),
        (torch.ones(2, 3, 4, dtype=torch.int64), r"shape \(2, 3, 4\)"),
        (torch.tensor(3), r"shape \(\)"),
    ],
)
def test_what_are_no_ids_is_refused(ids, words) -> None:
    for mask in (HashedMask(2, 2), StaticMask(2), RandomMask(2), OfficialMask(2, 2)):
        with pytest.raises(DataError, match=words):
            mask(ids)


def test_segments_of_another_shape_are_refused() -> None:
    with pytest.raises(DataError, match=r"segments have the shape \(2, 4\)"):
        HashedMask(2, 2)(ids_of(2, 5), ids_of(2, 4))
