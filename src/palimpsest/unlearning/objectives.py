"""Forget objectives: losses to *minimise*.

Those that look at the forget set alone are functions ``(model, forget) -> scalar``; those that also
care for the rest are functions ``(model, forget, retain) -> scalar`` of a batch of each.

Notation of the survey (arXiv:2402.08787): D_f the forget set, D_r the retain set, ℓ̄ the mean
negative log-likelihood per answer token. Only tokens with a positive weight in the batch count.
"""

from torch import Tensor
from transformers import PreTrainedModel

from palimpsest.core.text import Batch
from palimpsest.core.training import causal_lm_loss


def gradient_ascent(model: PreTrainedModel, forget: Batch) -> Tensor:
    """Gradient ascent on the forget set: J = −ℓ̄ = mean_t log p(y_t).

    Unbounded below: it never says "enough", so whoever uses it must say when to stop. Reported as
    the simplest likelihood-based method in arXiv:2402.08787; used on language
    models by Jang et al. (arXiv:2210.01504).

    Args:
        model: any causal language model.
        forget: rows of the forget set, ``[B, T]``.

    Returns:
        A scalar, in nats per weighted token.
    """
    return -causal_lm_loss(model, forget)


def gradient_difference(model: PreTrainedModel, forget: Batch, retain: Batch) -> Tensor:
    """Gradient difference: ascent on the forget set, descent on the retain set, J = −ℓ̄_f + ℓ̄_r.

    Both terms weigh the same (γ = α = 1 in public configurations). The forget term is as unbounded
    as that of :func:`gradient_ascent`; the retain term says what is to stay, not when to stop.
    GradDiff in arXiv:2401.06121 and arXiv:2402.08787.

    Args:
        model: any causal language model.
        forget: rows of the forget set, ``[B, T]``.
        retain: rows of the retain set, ``[B', T']``.

    Returns:
        A scalar, in nats per weighted token.
    """
    return causal_lm_loss(model, retain) - causal_lm_loss(model, forget)
