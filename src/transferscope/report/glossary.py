"""The words a report uses, in plain sentences."""

import re

from markupsafe import Markup

GLOSSARY: dict[str, str] = {
    "barrier": "How far the loss or the error rises between two networks when one walks straight from one to the "
    "other in parameter space, above the straight line between (or the mean of) their own values. It always says "
    "of what, and on which images. Near zero: the two lie in one valley and may be averaged.",
    "basin": "A region of parameter space in which the loss stays about the same and outside of which it rises. Two "
    "networks are said to share one only where no barrier is found between them within its error.",
    "batch-norm recomputation": "A network between two others has no running statistics of its own. They are "
    "measured anew on training images at every point; without this, barriers appear that are not there.",
    "ceiling of κ": "The highest error consistency that two networks of different accuracy can reach.",
    "CKA": "Centred kernel alignment: how alike two sets of features are for the same images, from 0 (unrelated) to 1 "
    "(the same up to rotation and one common scale). It does not say that features are useful.",
    "connectivity": "Two networks are linearly connected where the error barrier on the straight line between them is "
    "negligible: here, where its upper 95 % limit is below 2 points.",
    "control initialisation": "The pre-trained weights with part of what they hold destroyed: only scales are left, or "
    "entries, whole filters, singular values. What this still gains over a random start is statistics, not features.",
    "diverged": "A training run whose loss exploded or stopped being a number. It is shown as a result, and has no "
    "final metric.",
    "error consistency κ": "How much more often two networks are both right or both wrong than their accuracies alone "
    "would make them: 0 is chance, 1 is the same mistakes.",
    "Holm-adjusted": "Corrected for looking at many classes or modules at once: in at most one study out of twenty is "
    "any of them called changed by chance.",
    "Fréchet distance": "How far the means and covariances of two sets of features are apart. Finite samples make it "
    "too large, so it stands beside that of two halves of one set.",
    "head": "The last, classifying layer. It is new for the target task, and equal for P-T and RI-T of one seed.",
    "interval over examples": "What would change with other test images, for exactly these trained networks.",
    "interval over seeds": "What would change if everything were trained again: a statement about training in general.",
    "learning rate": "The size of a training step. Each variant gets the best of an equal search on validation data.",
    "linear probe": "A linear classifier fitted on the outputs of one part of a network: what can be read off there "
    "without further processing.",
    "margin": "The largest loss of the metric that is called negligible: half a point, unless an analysis "
    "says otherwise.",
    "module": "A named part of the network, such as one block.",
    "negative transfer": "A pre-trained start that ends with more error than a random one, each at its own best rate.",
    "non-inferior": "Worse by less than the margin, shown by an interval. Not finding a difference is not enough.",
    "label multiplier": "How many labels RI-T needs for each label of P-T to do as well on validation images.",
    "optimisation speed": "The training metric averaged over the epochs: the area under the learning curve. Higher is "
    "faster.",
    "P": "The pre-trained network, with a new head, before training on the target task.",
    "P-T": "P, trained on the target task.",
    "point": "One hundredth of the accuracy: from 80 % to 81 % is one point.",
    "precision": "The share of the images called a class that do belong to it.",
    "proxy-A distance": "How well a linear classifier tells two sets of images apart: 0 as a coin, 2 without error.",
    "recall": "The share of a class's images that a network finds.",
    "regret": "What a choice loses against the best of its alternatives. Promised before test data are looked at, and "
    "proved on them.",
    "RI": "The same architecture with random weights, before training.",
    "RI-T": "RI, trained on the target task.",
    "RI-T-long": "RI-T trained for longer, towards its plateau: what the random start can reach without equal effort.",
    "ruler": "Two pairs of networks whose answer is known: a run and its continuation must be connected, two random "
    "starts must not. Where they are not told apart, no other pair is judged.",
    "seed": "A number that fixes a run's new head, image order and augmentation. P-T[0] and RI-T[0] share theirs, so "
    "that they can be compared as a pair.",
    "test data": "Images nothing was chosen on. Learning rates and epochs are chosen on validation images.",
    "transplant": "A network some of whose modules start from the pre-trained weights and the others from random ones.",
    "trunk": "The network without its head.",
    "undecided": "The interval allows both answers. More seeds or more images may decide.",
}
"""Term and meaning."""


_LINKED = re.compile(
    "|".join(
        rf"\b{re.escape(term)}(?!\w)"
        for term in sorted(GLOSSARY, key=len, reverse=True)
        if len(term) > 4 and term not in ("module", "point")  # plain words, or of another meaning in most places
    )
)


def terms() -> list[tuple[str, str, str]]:
    """Anchor, term and meaning, in alphabetical order, whatever the case.

    >>> [term for _, term, _ in terms()][:2]
    ['barrier', 'basin']
    """
    return [(_anchor(term), term, GLOSSARY[term]) for term in sorted(GLOSSARY, key=str.casefold)]


def linked(text: Markup) -> Markup:
    """``text``, the first use of each term of the glossary a link to it."""
    seen: set[str] = set()

    def link(match: re.Match[str]) -> str:
        term = match[0]
        if term in seen:
            return term
        seen.add(term)
        return f'<a class="term" href="#{_anchor(term)}">{term}</a>'

    return Markup(_LINKED.sub(link, text))


def _anchor(term: str) -> str:
    return "term-" + re.sub(r"\W+", "-", term).strip("-")
