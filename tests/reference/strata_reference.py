"""Strata, κ within them and the sign-flip test, each by its definition."""

from collections import defaultdict
from fractions import Fraction
from itertools import product


def difficulty_stratum(wrong: list[bool]) -> str:
    """Of one example, from who of the networks outside the pair is wrong."""
    if not any(wrong):
        return "none wrong"
    if all(wrong):
        return "all wrong"
    return "up to half wrong" if Fraction(sum(wrong), len(wrong)) <= Fraction(1, 2) else "more than half wrong"


def stratified_kappa(right_a: list[bool], right_b: list[bool], strata: list[int]) -> float | None:
    members = defaultdict(list)
    for example, stratum in enumerate(strata):
        members[stratum].append(example)
    above, below = Fraction(0), Fraction(0)
    for examples in members.values():
        n = len(examples)
        p1 = Fraction(sum(right_a[i] for i in examples), n)
        p2 = Fraction(sum(right_b[i] for i in examples), n)
        observed = Fraction(sum(right_a[i] == right_b[i] for i in examples), n)
        expected = p1 * p2 + (1 - p1) * (1 - p2)
        above += n * (observed - expected)
        below += n * (1 - expected)
    return float(above / below) if below else None


def sign_flip_p_value(differences: list[int], clusters: list[int] | None = None) -> float:
    if clusters is None:
        units = differences
    else:
        sums: dict[int, int] = defaultdict(int)
        for difference, cluster in zip(differences, clusters, strict=True):
            sums[cluster] += difference
        units = list(sums.values())
    observed = abs(sum(units))
    patterns = list(product((1, -1), repeat=len(units)))
    extreme = sum(
        abs(sum(sign * unit for sign, unit in zip(signs, units, strict=True))) >= observed for signs in patterns
    )
    return extreme / len(patterns)
