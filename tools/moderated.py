"""Would moderated variances keep their promise at three seeds? Simulate, and print the table of docs/statistics.md.

    python -m tools.moderated [--write]

The candidate takes the variances of like quantities (the drop of every module of a network) as one family and draws
each towards a common one (Smyth 2004, "Linear models and empirical Bayes methods for assessing differential
expression", sections 3 and 6.2). ``--write`` puts the table into the page. Half a minute on one core.
"""

import argparse
import itertools
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import special

PAGE = Path(__file__).parents[1] / "docs" / "statistics.md"
START, END = "<!-- table -->", "<!-- end of the table -->"
SEEDS = 3
REPLICATIONS = 40_000
REQUIRED = 0.94
"""Least coverage of 95 % intervals for which they would be shown."""
MODULES = (8, 20, 50)
CORRELATIONS = (0.0, 0.3, 0.7)

Array = npt.NDArray[np.float64]


def trigamma_inverse(values: Array) -> Array:
    """Solve ψ'(y) = value by Newton's steps on 1/ψ', which is convex and nearly linear.

    Args:
        values: positive.
    """
    y = 0.5 + 1 / values  # above the root as ψ'(y) < 1/(y − ½), from where the steps only fall
    for _ in range(20):
        trigamma = special.polygamma(1, y)
        y = y + trigamma * (1 - trigamma / values) / special.polygamma(2, y)
    return np.asarray(y)


def prior(variances: Array, degrees: int) -> tuple[Array, Array]:
    """Estimate s₀² and d₀ of the prior by the mean and variance of log s².

    Args:
        variances: ``(families, modules)``, positive.
        degrees: of freedom of each of them.

    Returns:
        s₀² and d₀, each ``(families,)``. Where log s² varies no more than by chance, d₀ is infinite and s₀² the pooled
        variance.
    """
    logs = np.log(variances)
    excess = logs.var(axis=1, ddof=1) - special.polygamma(1, degrees / 2)
    half = trigamma_inverse(np.where(excess > 0, excess, 1.0))
    shift = special.digamma(half) - np.log(half) - special.digamma(degrees / 2) + math.log(degrees / 2)
    scale = np.where(excess > 0, np.exp(logs.mean(axis=1) + shift), variances.mean(axis=1))
    return scale, np.where(excess > 0, 2 * half, np.inf)


def half_widths(values: Array, confidence: float = 0.95, *, moderated: bool) -> Array:
    """Half-widths of the intervals of the means over seeds, Student's or moderated.

    The moderated variance is (d₀ s₀² + d s²)/(d₀ + d), and t has d₀ + d degrees of freedom, at most those of the
    pooled variance.

    Args:
        values: ``(families, seeds, modules)``.
        confidence: in (0, 1).
        moderated: over the modules of a family.

    Returns:
        ``(families, modules)``.
    """
    seeds, modules = values.shape[1:]
    degrees = seeds - 1
    variances = values.var(axis=1, ddof=1)
    total = np.full(len(values), float(degrees))
    if moderated:
        scale, d0 = prior(variances, degrees)
        total = np.minimum(d0 + degrees, modules * degrees)
        weight = 1 / (1 + degrees / d0[:, None])  # 1 where d₀ is infinite
        variances = weight * scale[:, None] + (1 - weight) * variances
    quantiles = special.stdtrit(total, (1 + confidence) / 2)
    return np.asarray(quantiles[:, None] * np.sqrt(variances / seeds))


def equal(modules: int) -> Array:
    """All modules vary alike: what moderation hopes for."""
    return np.ones(modules)


def log_uniform(modules: int) -> Array:
    """From 1 to 4, in equal steps of the logarithm."""
    return np.geomspace(1.0, 4.0, modules)


def far_apart(modules: int) -> Array:
    """From 1 to 1000, in equal steps of the logarithm: d₀ is then near 1, as in kept studies."""
    return np.geomspace(1.0, 1000.0, modules)


def two_groups(modules: int) -> Array:
    """Half of the modules 1, half 4."""
    return np.repeat([1.0, 4.0], [modules - modules // 2, modules // 2])


def with_the_mean(modules: int) -> Array:
    """Variance = mean; most modules lose little, few much: 1 + 3 u³ for u from 0 to 1.

    With normal noise the means themselves play no part in whether an interval covers.
    """
    return 1 + 3 * np.linspace(0.0, 1.0, modules) ** 3


VARIANCES = {
    "equal": equal,
    "log-uniform from 1 to 4": log_uniform,
    "two groups, 1 and 4": two_groups,
    "growing with the mean, 1 to 4": with_the_mean,
    "log-uniform from 1 to 1000": far_apart,
}
"""True variances of the modules, in the order of the table."""


@dataclass(frozen=True)
class Coverage:
    """How often 95 % intervals cover, and how wide they are, in one setting."""

    by_module: Array
    """``(modules,)``, in the order of the true variances."""
    mean: float
    error: float
    """Standard error of ``mean``: families are independent, their modules are not."""
    width: float
    """Mean half-width."""
    replications: int

    @property
    def worst(self) -> float:
        """Coverage of the module that is covered least."""
        return float(self.by_module.min())

    @property
    def module_error(self) -> float:
        """Standard error of one module's coverage where it is the required one."""
        return math.sqrt(REQUIRED * (1 - REQUIRED) / self.replications)

    @property
    def holds(self) -> bool:
        """Whether the mean is the required coverage and the worst module not below it by over five standard errors."""
        return self.mean >= REQUIRED and self.worst >= REQUIRED - 5 * self.module_error


def coverage(values: Array, *, moderated: bool) -> Coverage:
    """Count the intervals that hold the true means, which are 0.

    Args:
        values: ``(families, seeds, modules)``.
        moderated: or Student's.
    """
    half = half_widths(values, moderated=moderated)
    covers = np.abs(values.mean(axis=1)) <= half
    each = covers.mean(axis=1)
    error = float(each.std(ddof=1)) / math.sqrt(len(values))
    return Coverage(covers.mean(axis=0), float(each.mean()), error, float(half.mean()), len(values))


def families(variances: Array, correlation: float, replications: int = REPLICATIONS) -> Array:
    """Draw normal noise that the modules of one network share in part.

    Args:
        variances: of the modules over seeds, ``(modules,)`` or for every family ``(replications, 1, modules)``.
        correlation: of any two modules within a seed, in [0, 1].
        replications: number of families.

    Returns:
        ``(replications, seeds, modules)``, the same in every call.
    """
    modules = variances.shape[-1]
    generator = np.random.default_rng([2004, modules, round(100 * correlation)])
    shared = generator.standard_normal((replications, SEEDS, 1))
    own = generator.standard_normal((replications, SEEDS, modules))
    return (math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * own) * np.sqrt(variances)


def table() -> str:
    """One row for each setting."""
    lines = [
        "| true variances | modules | ρ | mean | worst module | width / Student's | holds | Student's worst |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (name, variances), modules, rho in itertools.product(VARIANCES.items(), MODULES, CORRELATIONS):
        values = families(variances(modules), rho)
        found, student = coverage(values, moderated=True), coverage(values, moderated=False)
        lines.append(
            f"| {name} | {modules} | {rho} | {found.mean:.1%} | {found.worst:.1%} | {found.width / student.width:.2f} "
            f"| {'yes' if found.holds else 'no'} | {student.worst:.1%} |"
        )
    return "\n".join(lines)


def kept_degrees() -> list[float]:
    """Estimate d₀ from the similarity of P and P-T, module by module, in each kept study with three seeds."""
    found = []
    for path in sorted((PAGE.parent / "results").glob("*/similarity.csv")):
        rows = pl.read_csv(path, infer_schema_length=None).filter(
            (pl.col("variant_a") == "P") & (pl.col("variant_b") == "P_T")
        )
        by_module = rows.group_by("module").agg(pl.col("cka").var().alias("variance"), pl.len())
        if (by_module["len"] == SEEDS).all():
            found.append(float(prior(by_module["variance"].to_numpy()[None], SEEDS - 1)[1][0]))
    return found


def block() -> str:
    """What stands between the marks of the page: the table, and how variances spread in kept studies."""
    kept = kept_degrees()
    return (
        f"{table()}\n\nd₀ estimated from the similarity (CKA) of P and P-T, module by module, in {len(kept)} kept "
        f"studies with three seeds: {min(kept):.1f} to {max(kept):.1f}, median {np.median(kept):.1f}."
    )


def page() -> str:
    """docs/statistics.md with the table as simulated."""
    text = PAGE.read_text(encoding="utf-8")
    return f"{text.partition(START)[0]}{START}\n{block()}\n{END}{text.partition(END)[2]}"


def main() -> None:
    """Print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the table of docs/statistics.md")
    if parser.parse_args().write:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        print(block())


if __name__ == "__main__":
    main()
