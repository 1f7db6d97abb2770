"""The images behind the mistakes: what only P-T, only RI-T, and both get wrong."""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from transferscope.analyses.gallery import Gallery, GalleryGroup, GalleryImage, gallery_files
from transferscope.analyses.mistakes.thumbnails import thumbnails
from transferscope.analyses.predictions import Judgements
from transferscope.keys import shown

if TYPE_CHECKING:
    from transferscope.data.images import ImageSet

__all__ = ["GROUPS", "Predicted", "chosen", "mistake_gallery", "wrong_shares"]

Predicted = Mapping[str, Sequence[npt.NDArray[np.int64]]]
"""By variant, ``judgements`` of each seed."""

GROUPS = ("only P-T is wrong", "only RI-T is wrong", "both are wrong")
"""In the order shown."""
_VARIANTS = ("P_T", "RI_T")
_LONGEST = 14
"""Letters of an image's name below its thumbnail."""
_FILES = ("only-P-T", "only-RI-T", "both")


@dataclass(frozen=True)
class _Group:
    title: str
    file: str
    picked: npt.NDArray[np.intp]
    found: int


def wrong_shares(judgements: Judgements, predicted: Predicted) -> dict[str, npt.NDArray[np.float64]]:
    """By variant, ``judgements``: the share of its seeds that are wrong."""
    return {
        variant: (np.stack(list(predicted[variant])) != judgements.truth).mean(0).astype(np.float64)
        for variant in _VARIANTS
    }


def chosen(
    shares: Mapping[str, npt.NDArray[np.float64]], images: npt.NDArray[np.int64], seed: int
) -> tuple[npt.NDArray[np.intp], ...]:
    """Judgements of each group of :data:`GROUPS`, clearest first.

    A variant is wrong where more than half of its seeds are, and right where more than half are; a judgement on
    which it is neither belongs to no group. Clearest: by the difference of the shares, or by their sum; equals come in
    a mixed order, so that the first class does not fill the page. An image appears once in a group.

    Args:
        shares: of :func:`wrong_shares`.
        images: ``judgements``, the image of each.
        seed: of the mixed order.
    """
    p, ri = (shares[variant] for variant in _VARIANTS)
    mixed = np.random.default_rng(seed).permutation(len(p))
    groups = []
    for inside, rank in zip(_members(p, ri), (ri - p, p - ri, -p - ri), strict=True):
        order = np.lexsort((mixed, rank))
        order = order[inside[order]]
        _, first = np.unique(images[order], return_index=True)
        groups.append(order[np.sort(first)])
    return tuple(groups)


def _members(p: npt.NDArray[np.float64], ri: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.bool_], ...]:
    """Which judgements belong to each group of :data:`GROUPS`."""
    return (p > 0.5) & (ri < 0.5), (ri > 0.5) & (p < 0.5), (p > 0.5) & (ri > 0.5)


def mistake_gallery(
    judgements: Judgements,
    predicted: Predicted,
    images: "ImageSet",
    indices: npt.NDArray[np.int64],
    seed: int,
    *,
    most: int,
    side: int,
    budget: int,
) -> dict[str, bytes]:
    """Files of a unit: the gallery with its thumbnails, and a list of every image that somebody gets wrong.

    Args:
        judgements: of the split.
        predicted: of the networks, both variants at least once.
        images: of the target.
        indices: of the split's images, within ``images``.
        seed: of the order of equals.
        most: images per group; 0 makes the list alone.
        side: of a thumbnail, in pixels.
        budget: bytes of all thumbnails in the page.
    """
    shares = wrong_shares(judgements, predicted)
    found = chosen(shares, judgements.images, seed)
    listed = {"wrong-images.csv": _list(judgements, shares, images, indices)}
    if not most:
        return listed
    groups = [
        _Group(title, file, group[:most], len(group)) for title, file, group in zip(GROUPS, _FILES, found, strict=True)
    ]
    pixels = [images.pixels(indices[judgements.images[group.picked]]) for group in groups]
    made = thumbnails(pixels, side, budget)
    pictures: dict[str, bytes] = {}
    shown_groups = []
    for group, files in zip(groups, made, strict=True):
        cards = []
        for place, (judgement, data) in enumerate(zip(group.picked, files, strict=False), start=1):
            kind = "png" if data.startswith(b"\x89PNG") else "jpg"
            name = f"{group.file}-{place:02d}.{kind}"
            pictures[name] = data
            image = images.names[_index(judgement, judgements, indices)]
            cards.append(_card(name, int(judgement), judgements, predicted, image))
        shown_groups.append(
            GalleryGroup(
                title=group.title[0].upper() + group.title[1:],
                note=f"{len(cards)} of {group.found} images" if group.found else "no test image",
                images=tuple(cards),
            )
        )
    gallery = Gallery(
        title="Images behind the mistakes",
        caption=_caption(judgements, predicted, _left_out(judgements, shares, groups)),
        groups=tuple(shown_groups),
    )
    return {**gallery_files("mistakes", gallery, pictures), **listed}


def _index(judgement: int, judgements: Judgements, indices: npt.NDArray[np.int64]) -> int:
    return int(indices[judgements.images[judgement]])


def _card(name: str, judgement: int, judgements: Judgements, predicted: Predicted, image: str) -> GalleryImage:
    truth, label = int(judgements.truth[judgement]), judgements.names[int(judgements.classes[judgement])]
    lines = []
    if judgements.task == "multi":
        lines.append(f"{label}: {_said(truth, judgements)}")
    else:
        lines.append(f"true: {label}")
    for variant in _VARIANTS:
        said = Counter(int(prediction[judgement]) for prediction in predicted[variant])
        # Most often said first; of equals the lower class.
        votes = sorted(said.items(), key=lambda vote: (-vote[1], vote[0]))
        single = len(predicted[variant]) == 1
        words = ", ".join(_said(vote, judgements) + ("" if single else f"\u00a0({count})") for vote, count in votes)
        lines.append(f"{shown(variant)}: {words}")
    return GalleryImage(file=name, alt=f"test image {image}; {lines[0]}", lines=(*lines, f"image\u00a0{_short(image)}"))


def _short(name: str) -> str:
    """The end of a name, short enough for a thumbnail; the list has the whole."""
    last = name.rsplit("/", 1)[-1]
    return last if len(last) <= _LONGEST else f"{last[: _LONGEST // 2]}…{last[-_LONGEST // 2 + 1 :]}"


def _said(prediction: int, judgements: Judgements) -> str:
    if prediction < 0:
        return "nothing"
    if judgements.task == "multi":
        return "yes" if prediction else "no"
    return judgements.names[prediction]


def _left_out(judgements: Judgements, shares: Mapping[str, npt.NDArray[np.float64]], groups: Sequence[_Group]) -> str:
    """How many images that some network gets wrong are in no group, or are not shown in theirs."""
    p, ri = (shares[variant] for variant in _VARIANTS)
    wrong = len(np.unique(judgements.images[(p > 0) | (ri > 0)]))
    grouped = len(np.unique(judgements.images[np.logical_or.reduce(_members(p, ri))]))
    shown_images = len(np.unique(np.concatenate([judgements.images[group.picked] for group in groups])))
    return (
        f"Some network is wrong on {wrong} images: {shown_images} are shown, {grouped - shown_images} more belong to a "
        f"group, and on {wrong - grouped} too few seeds of a variant, or just half of them, are wrong. "
    )


def _caption(judgements: Judgements, predicted: Predicted, left_out: str) -> str:
    counts = {variant: len(predicted[variant]) for variant in _VARIANTS}
    many = max(counts.values()) > 1
    seeds = ", ".join(f"{count} of {shown(variant)}" for variant, count in counts.items())
    text = f"Test images. Networks: {seeds}. "
    if many:
        text += "Wrong means wrong in more than half of a variant's seeds; in brackets, how many of its seeds say so. "
    if judgements.task == "multi":
        text += "Each label is judged by itself at probability ½; an image stands for its clearest label. "
    return (
        text + left_out + "The clearest come first, equals in mixed order; all of them are listed in wrong-images.csv."
    )


def _list(
    judgements: Judgements,
    shares: Mapping[str, npt.NDArray[np.float64]],
    images: "ImageSet",
    indices: npt.NDArray[np.int64],
) -> bytes:
    p, ri = (shares[variant] for variant in _VARIANTS)
    member = np.full(len(p), "", dtype=object)
    for inside, name in zip(_members(p, ri), GROUPS, strict=True):
        member[inside] = name
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["image", "class", *(["holds"] if judgements.task == "multi" else []), "wrong_P_T", "wrong_RI_T",
                     "group"])  # fmt: skip
    for judgement in np.flatnonzero((p > 0) | (ri > 0)).tolist():
        writer.writerow([
            images.names[_index(judgement, judgements, indices)],
            judgements.names[int(judgements.classes[judgement])],
            *([int(judgements.truth[judgement])] if judgements.task == "multi" else []),
            f"{p[judgement]:.4g}", f"{ri[judgement]:.4g}", member[judgement],
        ])  # fmt: skip
    return file.getvalue().encode()
