"""The texts and models of chapter 3, made once and looked at by all of its studies."""

from dataclasses import dataclass

import numpy as np

from palimpsest.core import models
from palimpsest.core.models import LanguageModel
from palimpsest.core.study import Context
from palimpsest.goldfish.mask import HashedMask
from palimpsest.studies import verbatim_training as pool
from palimpsest.studies.controls import scaled
from palimpsest.studies.verbatim_texts import Rows, Texts, open_texts
from palimpsest.studies.verbatim_training import STANDARD, STRENGTHS, K, Trained

OWN = "palimpsest-m"  # the model whose small relative is shipped


def wanted(p: object) -> dict[str, int]:
    """How many documents of each kind the parameters ask for."""
    return {
        "members": p.documents,
        "grouped": p.grouped * len(pool.group_names()),
        "told": 2 * sum(p.told),
        "twins": p.twins,
        "ordinary": p.ordinary,
    }


def texts(ctx: Context) -> Texts:
    """The texts of the run, as the model that learns by heart reads them."""
    return ctx.once(_texts)


def _texts(ctx: Context) -> Texts:
    return open_texts(ctx.lm, ctx.data, wanted(ctx.parameters), ctx.parameters.length)


# --- by heart -----------------------------------------------------------------------------------


def settings(ctx: Context) -> pool.ByHeart:
    """How documents are learned by heart."""
    p = ctx.parameters
    rate = scaled(ctx.lm, p.learning_rate)
    return pool.ByHeart(p.epochs, rate, p.batch_size, p.prefix, p.suffix)


def mask(ctx: Context, k: int) -> HashedMask:
    """The chapter's mask."""
    return HashedMask(k=k, h=ctx.parameters.h)


def losses(ctx: Context) -> list[int]:
    """The trainings by heart, by their k; 0 is the standard loss."""
    return [0, *sorted(ctx.parameters.ks)]


def name(k: int) -> str:
    """A training by heart, in words."""
    return f"k = {k}" if k else STANDARD


def by_heart(ctx: Context, k: int) -> Trained:
    """What learning by heart made: 0 is the standard loss."""
    return ctx.once(_by_heart, k)


def _by_heart(ctx: Context, k: int) -> Trained:
    return ctx.cell(
        pool.by_heart, lm=ctx.lm, rows=texts(ctx).members, mask=mask(ctx, k) if k else None,
        settings=settings(ctx), seed=ctx.seed, ruler=mask(ctx, K),
    )  # fmt: skip


# --- many masks ---------------------------------------------------------------------------------


def leads(ctx: Context) -> Rows:
    """Ordinary text of which a few tokens come before each telling."""
    return ctx.once(_leads)


def _leads(ctx: Context) -> Rows:
    return Rows(texts(ctx).validation[:200])


def many_masks(ctx: Context) -> Trained:
    """The training in which each group of documents has its own mask."""
    return ctx.once(_many_masks)


def _many_masks(ctx: Context) -> Trained:
    p = ctx.parameters
    return ctx.cell(
        pool.many_masks, lm=ctx.lm, rows=texts(ctx).grouped, leads=leads(ctx),
        settings=settings(ctx), visits=p.visits, per_group=p.grouped, h=p.h, seed=ctx.seed,
    )  # fmt: skip


# --- ordinary -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Half:
    """What one seed's ordinary trainings are told.

    Attributes:
        told: places of the documents among ``Texts.told``.
        tellings: how often each is told.
        untold: places of the other half, by the same numbers of tellings that the other seed has.
    """

    told: tuple[int, ...]
    tellings: tuple[int, ...]
    untold: tuple[int, ...]


def half(ctx: Context, seed: int) -> Half:
    """Even places are told by even seeds, odd ones by odd seeds; a number of tellings has as many
    documents in both halves."""
    counts = ctx.parameters.told
    doses = [dose for dose, count in zip(pool.TELLINGS, counts, strict=True) for _ in range(count)]
    own, other = (tuple(2 * at + side for at in range(len(doses))) for side in _sides(seed))
    return Half(own, tuple(doses), other)


def _sides(seed: int) -> tuple[int, int]:
    return (0, 1) if seed % 2 == 0 else (1, 0)


def small(ctx: Context) -> LanguageModel:
    """The model of the ordinary trainings."""
    return ctx.once(_small)


def _small(ctx: Context) -> LanguageModel:
    chosen = ctx.parameters.small
    if not chosen or (chosen in models.shipped_models() and ctx.lm.name != OWN):
        return ctx.lm
    return models.load(chosen, ctx.lm.device.type, str(ctx.lm.dtype).removeprefix("torch."))


def small_texts(ctx: Context) -> Texts:
    """The same documents, as the model of the ordinary trainings reads them."""
    return ctx.once(_small_texts)


def _small_texts(ctx: Context) -> Texts:
    lm = small(ctx)
    if lm is ctx.lm:
        return texts(ctx)
    return open_texts(lm, ctx.data, wanted(ctx.parameters), ctx.parameters.length)


def told_rows(ctx: Context, seed: int) -> Rows:
    """The documents that a seed's trainings are told."""
    rows = small_texts(ctx).told
    return Rows(rows[at] for at in half(ctx, seed).told)


def everyday(ctx: Context) -> tuple[Rows, Rows]:
    """Ordinary text for all trainings, and what is read afterwards where as many *supervised*
    tokens are wanted: k/(k − 1) times the input."""
    return ctx.once(_everyday)


def _everyday(ctx: Context) -> tuple[Rows, Rows]:
    rows = small_texts(ctx).ordinary
    once = half(ctx, 0)
    told = sum(once.tellings) * ctx.parameters.length
    sizes = np.cumsum([len(row) for row in rows])
    # main + after = all, and after = (main + told) / (k - 1)
    main = ((K - 1) * sizes[-1] - told) / K
    count = max(1, int(np.searchsorted(sizes, main)))
    return Rows(rows[:count]), Rows(rows[count:])


def seeds(ctx: Context) -> list[int]:
    """Seeds of the ordinary trainings."""
    return list(range(ctx.parameters.seeds))


def ways(ctx: Context) -> list[tuple[str, float]]:
    """The ordinary trainings of a seed: method and strength, from weak to strong. With fewer
    strengths than there are, the strongest are taken."""
    count = ctx.parameters.strengths
    found = [(STANDARD, 0.0)]
    return found + [(way, one) for way, all_of in STRENGTHS.items() for one in all_of[-count:]]


def ordinary(ctx: Context, method: str, strength: float, seed: int) -> Trained:
    """One of the ordinary trainings; unlearning begins where the standard one ended."""
    return ctx.once(_ordinary, method, strength, seed)


def _ordinary(ctx: Context, method: str, strength: float, seed: int) -> Trained:
    p, lm = ctx.parameters, small(ctx)
    main, after = everyday(ctx)
    how = pool.Ordinary(scaled(lm, p.ordinary_rate), p.batch_size, p.blank)
    own = told_rows(ctx, seed)
    number = 1000 * ctx.seed + seed
    validation = small_texts(ctx).validation
    if method == "unlearning":
        return ctx.cell(
            pool.unlearned, lm=lm, weights=ordinary(ctx, STANDARD, 0.0, seed).weights, told=own,
            retain=main, validation=validation, steps=int(strength), settings=how, seed=number,
        )  # fmt: skip
    longer = method == "goldfish" and strength == K
    return ctx.cell(
        pool.ordinary, lm=lm, told=own, tellings=half(ctx, seed).tellings, text=main,
        validation=validation, method=method, strength=strength, h=p.h, settings=how, seed=number,
        after=after if longer else None,
    )  # fmt: skip
