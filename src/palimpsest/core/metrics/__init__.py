"""How much a model memorized, whether it betrays what it was trained on, and what it forgot.

Pure functions of numbers and token ids; models are scored elsewhere (``core.scoring``). Three
families, each with the reading that goes with it:

- memorization: exact match, divergence, ROUGE-L on ids, extraction strength, exact memorization;
- membership: scores that are larger for members, AUC, true positives at a fixed rate of false ones;
- forgetting: truth ratio, distances between the distributions of two models.
"""

from palimpsest.core.metrics.forgetting import (
    indifference,
    ks_distance,
    ks_p_value,
    ks_smallest_p,
    privacy_leak,
    truth_ratio,
    truth_ratio_geometric,
    truthfulness,
)
from palimpsest.core.metrics.membership import (
    auc,
    auc_difference,
    distance_from_chance,
    loss_score,
    min_k,
    min_k_plus_plus,
    tpr_at_fpr,
    zlib_score,
)
from palimpsest.core.metrics.memorization import (
    Rouge,
    divergence,
    exact_match,
    exact_memorization,
    extraction_strength,
    lcs_length,
    rouge_l,
)

__all__ = [
    "Rouge",
    "auc",
    "auc_difference",
    "distance_from_chance",
    "divergence",
    "exact_match",
    "exact_memorization",
    "extraction_strength",
    "indifference",
    "ks_distance",
    "ks_p_value",
    "ks_smallest_p",
    "lcs_length",
    "loss_score",
    "min_k",
    "min_k_plus_plus",
    "privacy_leak",
    "rouge_l",
    "tpr_at_fpr",
    "truth_ratio",
    "truth_ratio_geometric",
    "truthfulness",
    "zlib_score",
]
