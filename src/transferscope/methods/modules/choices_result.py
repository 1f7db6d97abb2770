"""What a fine-tuned network can do without, and what is said of it in a terminal."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from transferscope.measures.equivalence import Noninferiority
from transferscope.readable import readable
from transferscope.rounding import exact, rounded

if TYPE_CHECKING:
    from transferscope.measures.intervals import Interval


@dataclass(frozen=True)
class Change:
    """What putting a module at another value costs.

    Attributes:
        test: the same on test examples with its limits, and whether it counts as lost: the limits hold for all modules
            at once.
    """

    validation: float | None
    test: Noninferiority
    unchanged: bool


@dataclass(frozen=True)
class ModuleChoice:
    """One module.

    Attributes:
        relative: ``distance`` over the norm of the pre-trained module; None where that is 0.
        mu: criticality on training examples (see :func:`~transferscope.methods.modules.criticality.criticality`); None
            where no point of its grid keeps the training error.
        sigma: the noise it bears where μ is reached; None where ``mu`` is.
    """

    name: str
    parameters: int
    distance: float
    relative: float | None
    reset: Change
    zero: Change
    mu: float | None
    sigma: float | None


@dataclass(frozen=True)
class Together:
    """Several modules changed at once: what is lost one by one does not add up."""

    names: tuple[str, ...]
    parameters: int
    change: Change | None


@readable
@dataclass(frozen=True)
class ModuleChoices:
    """What can be done without.

    Attributes:
        modules: in the order of the network; a new head is not among them.
    """

    modules: tuple[ModuleChoice, ...]
    reset: Together
    zero: Together
    metric_name: str
    metric: float
    examples: tuple[int, int]
    parameters: int
    margin: float
    epsilon: float
    batch_norm: str
    notes: tuple[str, ...] = ()

    @property
    def table(self) -> pl.DataFrame:
        """Two rows of each module: ``change`` is ``reset`` or ``zero``, what it costs, and what is known of it."""
        rows = [
            {
                "module": item.name,
                "parameters": item.parameters,
                "distance": item.distance,
                "relative": item.relative,
                "change": change,
                "validation": cost.validation,
                "lost": cost.test.loss.value,
                "low": cost.test.loss.low,
                "high": cost.test.loss.high,
                "verdict": cost.test.verdict,
                "mu": item.mu,
                "sigma": item.sigma,
            }
            for item in self.modules
            for change, cost in (("reset", item.reset), ("zero", item.zero))
        ]
        return pl.DataFrame(rows, infer_schema_length=None)

    @property
    def text(self) -> str:
        """One page for a terminal."""
        return page(self)

    def __str__(self) -> str:
        """Return :attr:`text`."""
        return self.text


_VERDICTS = {"kept": "no loss", "lost": "a loss", "undecided": "undecided"}
_SAID = {
    "kept": "without loss (less than {margin})",
    "lost": "at a loss of more than {margin}",
    "undecided": "undecided whether it costs {margin}: more test examples would tell",
}


def page(found: "ModuleChoices") -> str:
    """The page; every number beside what it rests on."""
    chosen, judged = found.examples
    lines = [
        f"{judged} test examples; {found.metric_name} {found.metric:.4f} (batch norm: {found.batch_norm})",
        f"lists of modules are chosen on {chosen} validation examples and judged on the test examples",
        *found.notes,
        "",
        *_together("reset", "back at their pre-trained values", found.reset, found),
        "            candidates for freezing: whether training with them frozen ends as high, training must show",
        *_together("remove", "all their parameters at 0", found.zero, found),
        "",
    ]
    width = max(len("module"), *(len(item.name) for item in found.modules))
    heads = [f"{what}: {found.metric_name} changes by" for what in ("reset", "removed")]
    lines.append(f"{'module':<{width}} {'parameters':>11} {'moved':>7}  {heads[0]:<34}  {heads[1]:<34}  μ")
    for item in found.modules:
        moved = "–" if item.relative is None else f"{item.relative:.1%}"
        mu = "none" if item.mu is None else rounded(item.mu) + ("" if item.sigma is None else f" (σ {item.sigma:g})")
        lines.append(
            f"{item.name:<{width}} {item.parameters:>11,} {moved:>7}  {_changed(item.reset):<34}  "
            f"{_changed(item.zero):<34}  {mu}"
        )
    return "\n".join(
        [
            *lines,
            "",
            "changes: of the metric on test examples, minus is a loss; with limits for all modules at once (two-sided "
            "90 %: each end a one-sided 95 % limit)",
            "moved: ℓ2 distance over the norm of the pre-trained module; μ: criticality, 0 where the module can go "
            f"back, bearing noise σ, with a training error of at most {found.epsilon:.4f}",
        ]
    )


def _together(name: str, how: str, found: "Together", whole: "ModuleChoices") -> list[str]:
    if found.change is None:
        return [f"{name:<11} no module keeps the metric on validation examples with {how}"]
    loss, verdict = found.change.test.loss, found.change.test.verdict
    value = "undefined" if loss.value is None else _change(loss, 4)
    share = found.parameters / whole.parameters
    return [
        f"{name:<11} {', '.join(found.names)}",
        f"            {how}: {found.parameters:,} parameters, {share:.1%} of the network; {whole.metric_name} on test "
        f"changes by {value}",
        f"            {_SAID[verdict].format(margin=f'{whole.margin:g}')}",
    ]


def _changed(change: "Change") -> str:
    if change.unchanged:
        return "has this value"
    loss = change.test.loss
    return "undefined" if loss.value is None else f"{_change(loss, 3)} {_VERDICTS[change.test.verdict]}"


def _change(loss: "Interval", digits: int) -> str:
    """A loss as the change it is, with its limits: a gain has a plus."""

    def number(lost: float | None) -> str:
        return f"{exact(-(lost or 0.0)):+z.{digits}f}"

    limits = "" if loss.low is None or loss.high is None else f" ({number(loss.high)} to {number(loss.low)})"
    return number(loss.value) + limits
