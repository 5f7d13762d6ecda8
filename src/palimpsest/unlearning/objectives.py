"""Forget objectives: losses to *minimise*, each a function ``(model, batch) -> scalar``.

Notation of the survey (arXiv:2402.08787): D_f the forget set, ℓ̄ the mean negative log-likelihood
per answer token. Only tokens with a positive weight in the batch count.
"""

from torch import Tensor
from transformers import PreTrainedModel

from palimpsest.core.text import Batch
from palimpsest.core.training import causal_lm_loss


def gradient_ascent(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Gradient ascent on the forget set: J = −ℓ̄ = mean_t log p(y_t).

    Unbounded below: it never says "enough", so whoever uses it must say when to stop. Reported as
    the simplest likelihood-based method in arXiv:2402.08787; used on language
    models by Jang et al. (arXiv:2210.01504).

    Args:
        model: any causal language model.
        batch: rows of the forget set, ``[B, T]``.

    Returns:
        A scalar, in nats per weighted token.
    """
    return -causal_lm_loss(model, batch)
