"""Mistakes of a pair with sets, and error consistency by its definition in probabilities."""

from fractions import Fraction


def mistakes(predicted_a: list[int], predicted_b: list[int], labels: list[int]) -> dict[str, object]:
    n = len(labels)
    wrong_a = {i for i in range(n) if predicted_a[i] != labels[i]}
    wrong_b = {i for i in range(n) if predicted_b[i] != labels[i]}
    same = {i for i in wrong_a & wrong_b if predicted_a[i] == predicted_b[i]}
    p1, p2 = Fraction(n - len(wrong_a), n), Fraction(n - len(wrong_b), n)
    observed = Fraction(sum((i in wrong_a) == (i in wrong_b) for i in range(n)), n)
    expected = p1 * p2 + (1 - p1) * (1 - p2)
    defined = expected != 1
    union = wrong_a | wrong_b
    return {
        "examples": n,
        "common": len(wrong_a & wrong_b),
        "only_a": len(wrong_a - wrong_b),
        "only_b": len(wrong_b - wrong_a),
        "same_label": len(same),
        "accuracy_a": float(p1),
        "accuracy_b": float(p2),
        "jaccard": len(wrong_a & wrong_b) / len(union) if union else None,
        "same_label_share": len(same) / len(wrong_a & wrong_b) if wrong_a & wrong_b else None,
        "kappa": float((observed - expected) / (1 - expected)) if defined else None,
        "kappa_max": float((1 - abs(p1 - p2) - expected) / (1 - expected)) if defined else None,
    }
