"""What a look measures: every number under its key, with the words it is named by."""

from typing import Any, Final

from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.bounds import DIFFERENCE, SHARE

__all__ = ["ALL", "QUANTITIES", "count_of", "plain"]

_COUNTS: Final = {
    "images": "images that were read",
    "images_listed": "images that lie there",
    "images_unreadable": "images that cannot be read",
    "images_probed": "images the probes rest on",
    "classes": "classes",
    "class_images": "images of {label}",
    "short_side": "short side of a picture, {which}",
    "not_square": "pictures that are not square",
    "grey_files": "pictures stored as grey",
    "grey_content": "pictures stored in colour that show grey alone",
    "with_exif": "pictures with EXIF",
    "turned": "pictures that their EXIF turns",
    "damaged_metadata": "pictures with damaged metadata",
    "blank": "pictures of one colour alone",
    "identical_sets": "pictures that occur more than once, equal as decoded",
    "near_sets": "pictures that occur more than once, nearly equal",
    "extra_copies": "files that are copies of another",
    "across_splits": "pictures with copies in several splits",
    "leaked_test": "test images with a copy among those trained or chosen on",
    "conflicts_identical": "equal pictures under different labels",
    "conflicts_near": "nearly equal pictures under different labels",
    "labels_doubted": "labels that probe and neighbours doubt",
    "labels_checked": "labels that were checked",
    "confused": "images of {label} taken for {rival}, or the other way round",
    "curve_reached": "labels at which {features} features of {model} reach {target} features at all of theirs",
}

ALL: Final = (
    *(Quantity(key, words, "count") for key, words in _COUNTS.items()),
    Quantity("imbalance", "images of the largest class for each of the smallest", "1"),
    Quantity("largest_share", "share of the largest class: what always guessing it gets right", "1", SHARE),
    Quantity("confused_share", "share of the images of {label} and {rival} that are confused", "1", SHARE),
    Quantity("probe", "{method} on {features} features, {model}", "1", SHARE, by=("model", "features", "method")),
    Quantity("worth", "{model}, pre-trained − {rival} features, linear probe", "1", DIFFERENCE, by=("model", "rival")),
    Quantity("curve", "{labels} labels, {features} features, {model}", "1", SHARE, by=("model", "features", "labels")),
    Quantity("preprocessing", "{model}, {change} − as used", "1", DIFFERENCE, by=("model", "change")),
    Quantity("images_per_second", "{model}: images per second, forward", "1/s"),
    Quantity("seconds", "seconds: {phase}", "s"),
    Quantity("step_seconds", "estimated seconds of step {step}", "s"),
)
"""All quantities, in the order they are shown."""

QUANTITIES: Final = {quantity.key: quantity for quantity in ALL}


def plain(key: str, value: float | None, n: int, *notes: str, **at: str | int) -> Estimate:
    """A number without an interval.

    Args:
        key: of a quantity.
        value: None where it is not defined; a note says why.
        n: images it rests on.
        notes: what a reader must know.
        at: its coordinates.
    """
    place: dict[str, Any] = dict(at)
    # A row, not an interval: measures load torch, and first facts must not wait for it.
    row = {"value": value, "low": None, "high": None, "basis": None, "n": n}
    return QUANTITIES[key].at_row(row, *notes, **place)


def count_of(key: str, value: int | None, n: int, **at: str | int) -> Estimate:
    """A count out of ``n`` images."""
    return plain(key, None if value is None else float(value), n, **at)
