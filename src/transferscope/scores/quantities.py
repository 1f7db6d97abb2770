"""What is said of candidates: every number under its key. No torch here."""

from typing import Final

from transferscope.analyses.estimates import Quantity
from transferscope.bounds import MAGNITUDE, SHARE

__all__ = ["ALL", "QUANTITIES", "SCORES"]

SCORES: Final = ("linear", "knn", "logme", "h_score", "leep", "nce")
"""Each ranks candidates; higher is better."""

_BY: Final = ("candidate",)
ALL: Final = (
    Quantity("linear", "linear probe on frozen features, {candidate}", "1", SHARE, by=_BY),
    Quantity("knn", "10 nearest neighbours among frozen features, {candidate}", "1", SHARE, by=_BY),
    Quantity("logme", "LogME, {candidate}", "1", by=_BY),
    Quantity("h_score", "H-score with shrinkage, {candidate}", "1", MAGNITUDE, by=_BY),
    Quantity("shrinkage", "shrinkage of the covariance, {candidate}", "1", SHARE, by=_BY),
    Quantity("leep", "LEEP, {candidate}", "1", by=_BY),
    Quantity("nce", "NCE, {candidate}", "1", by=_BY),
    Quantity("linear_label", "linear probe, AUC of {label}, {candidate}", "1", SHARE, by=("candidate", "label")),
    Quantity("logme_label", "LogME of {label}, {candidate}", "1", by=("candidate", "label")),
    Quantity("probability_best", "probability that no probe is better than that of {candidate}", "1", SHARE, by=_BY),
    Quantity("source_accuracy", "source accuracy as declared, {candidate}", "1", SHARE, by=_BY),
    Quantity("parameters", "parameters before the head, {candidate}", "count"),
    Quantity("sources", "source classes, {candidate}", "count"),
    Quantity("step_seconds", "seconds of a training step of 16 images, {candidate}", "s"),
    Quantity("size_ratio", "parameters of the largest candidate for each of the smallest", "1", MAGNITUDE),
    Quantity("regret", "what fine-tuning the first {confirmed} alone is expected to lose, by the probe", "1", SHARE,
             by=("confirmed",)),
    Quantity("images", "training images that were scored", "count"),
    Quantity("images_read", "images that were read", "count"),
    Quantity("images_unreadable", "files that cannot be read", "count"),
    Quantity("classes", "classes", "count"),
    Quantity("classes_torn", "classes whose images all lie in one fold: no probe can know them there", "count"),
    Quantity("seconds", "seconds: {phase}", "s"),
)  # fmt: skip
"""All quantities, in the order they are shown."""

QUANTITIES: Final = {quantity.key: quantity for quantity in ALL}
