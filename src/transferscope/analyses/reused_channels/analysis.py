"""Which channels of the pre-trained network are found again after fine-tuning, and which images excite them (R4.1)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, final

import polars as pl
from pydantic import Field

from transferscope.analyses.checkpoints import evenly
from transferscope.analyses.contract import MeasureResult, Task
from transferscope.analyses.estimates import Contrast, Estimate, Quantity, estimated
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.gallery import Gallery, GalleryGroup, GalleryImage, gallery_files
from transferscope.analyses.modules import OnModules
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import AbstractTuned, tuned_member
from transferscope.bounds import DIFFERENCE, SHARE
from transferscope.context.resolved_study import TRAINED, ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.keys import shown
from transferscope.study.columns import Column, schema

if TYPE_CHECKING:
    from transferscope.context.context import Context
    from transferscope.measures.channels import Reuse
    from transferscope.methods.similarity.channels import ChannelReuse

__all__ = ["ReusedChannels"]

_VARIANTS = ("P_T", "RI_T", "RI")
_SMALLEST_STRIP = 4_000
_MODULE = (pl.col("level") == "module") & pl.col("reused").is_not_null()
"""Where P has two channels at least and one that lives: of a module that it has not, it has in no network."""
_BEYOND = "reused beyond chance: {variant} − {rival}"


@final
class ReusedChannels(AbstractTuned, OnModules):
    """P's channels matched one to one to P-T's; chance level from the same matching to RI-T and RI.

    The matching (linear assignment on correlations) is found on half of the images and scored on the other half. Dead
    channels of P are counted and left out.

    Attributes:
        granularity: of the modules: ``stage``, ``block`` or ``layer``; the head, which is new, is left out.
        threshold: a channel counts as reused above this correlation with its match.
        positions: samples of each image at most, spread over the positions of a feature map.
        test_images: test images used; None for all.
        batch_size: images per batch.
        max_seeds: at most so many seeds; None for all.
        exemplar_modules: modules, evenly spread by depth, whose best kept and most lost channel are shown by the images
            that excite them most; 0 shows none.
        exemplar_images: images in each strip.
        exemplar_bytes: of all strips together, at most.
    """

    threshold: float = Field(default=0.5, ge=0, lt=1)
    positions: int = Field(default=64, ge=1)
    test_images: int | None = Field(default=1024, ge=8)
    batch_size: int = Field(default=64, ge=4)
    max_seeds: int | None = Field(default=4, ge=1)
    exemplar_modules: int = Field(default=6, ge=0, le=24)
    exemplar_images: int = Field(default=6, ge=1, le=12)
    exemplar_bytes: int = Field(default=240_000, ge=_SMALLEST_STRIP)

    name: ClassVar[str] = "reused_channels"
    title: ClassVar[str] = "Reused channels"
    question: ClassVar[str] = "Which features of the pre-trained network are found again, channel by channel?"
    reference: ClassVar[str] = "Li et al. 2016 (one-to-one matching of channels); Neyshabur et al. 2020, Sec. 3.2"
    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        "level": Column(str, "module: all channels of a module; channel: one that was kept best or lost most"),
        "variant": Column(str, "in which network P's channels are looked for: P_T, or RI_T and RI for chance"),
        "seed": Column(int, "its seed", "count"),
        "network": Column(str, "the network"),
        "module": Column(str, "module of both networks"),
        "position": Column(int, "depth of the module: 0 is the first", "count"),
        "channels": Column(int, "of the module in P", "count"),
        "dead": Column(int, "of these, the same for all images in P: left out", "count"),
        "dead_other": Column(int, "dead channels of the other network", "count"),
        "reused": Column(float, "share of P's living channels whose match correlates above the threshold", "1", "test",
                         "one channel, or no living one"),
        "same_index": Column(float, "the same for the channel of equal index", "1", "test",
                             "one channel, or no living one"),
        "correlation": Column(float, "of matched channels on the half that the matching did not see, mean", "1", "test",
                              "no living channel"),
        "correlation_same": Column(float, "of channels of equal index, mean", "1", "test",
                                   "one channel, or no living one"),
        "kept_index": Column(float, "share of matches that have the same index", "1", "test",
                             "one channel, or no living one"),
        "channel": Column(int, "which channel", "index", null="a row of a whole module"),
        "fate": Column(str, "reused: the best kept one of the module; lost: the least kept one",
                       null="a row of a whole module"),
        "exemplars": Column(str, "images that excite it most in P, the strongest first, by their number in the data",
                            null="a row of a whole module"),
        "threshold": Column(float, "correlation above which a channel counts as reused"),
        "examples": Column(int, "images used", "count"),
    }  # fmt: skip
    quantities: ClassVar[tuple[Quantity, ...]] = (
        Quantity(
            "reused", "share of P's channels found again in {variant}", "1", SHARE, "reused", _MODULE, ("variant",)
        ),
        Quantity(
            "same_index", "share whose channel of equal index correlates above {threshold:g}, {variant}", "1", SHARE,
            "same_index", _MODULE, ("variant", "threshold"),
        ),
        *(
            Quantity("beyond_chance", _BEYOND, "1", DIFFERENCE, "reused", _MODULE, ("variant",), contrast)
            for contrast in (Contrast("variant", "P_T", "RI_T"), Contrast("variant", "P_T", "RI"))
        ),
    )  # fmt: skip

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One: all networks share one pass over the images."""
        seeds = study.seeds[: self.max_seeds]
        members = [tuned_member(study, "P", seeds[0], evidence)]
        members += [tuned_member(study, variant, seed, evidence) for variant in (*TRAINED, "RI") for seed in seeds]
        yield Task(members=tuple(members))

    def forward_passes(self, task: Task, study: ResolvedStudy) -> int:
        """Every network sees every image once."""
        return len(task.members) * (self.test_images or 1000)

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """One pass over the test images through all networks."""
        from transferscope.methods.similarity.channels import channel_reuse
        from transferscope.networks.architectures import head_name

        start, *others = task.members
        members = {member.label: member for member in others if not context.diverged(member.spec)}
        model = context.network(start.spec)
        batches = context.mixed_batches("test", self.test_images, self.batch_size)
        found = channel_reuse(
            model,
            {label: context.network(member.spec) for label, member in members.items()},
            batches,
            granularity=self.granularity,
            head=head_name(model, start.spec.architecture),
            positions=self.positions,
            threshold=self.threshold,
            device=context.device,
            memory_format=context.memory_format,
        )
        modules = list(found.excitation)
        rows: list[dict[str, Any]] = []
        for label, member in members.items():
            for position, module in enumerate(modules):
                if (label, module) in found.found:
                    rows.append(
                        {"level": "module", **self._facts(member, module, position, found.found[label, module], found)}
                    )
        files: dict[str, bytes] = {}
        groups: list[GalleryGroup] = []
        shown_in = next((member for member in members.values() if member.variant == "P_T"), None)
        if shown_in is not None and self.exemplar_modules and modules:
            chosen = evenly(range(len(modules)), max(2, self.exemplar_modules))[: self.exemplar_modules]
            budget = max(_SMALLEST_STRIP, self.exemplar_bytes // (2 * len(chosen)))
            for position in chosen:
                module = modules[position]
                one = found.found.get((shown_in.label, module))
                if one is None:
                    continue
                strips: list[GalleryImage] = []
                for fate, channel in _extremes(one):
                    images = _strongest(found, module, channel, batches.indices.tolist(), self.exemplar_images)
                    rows.append({
                        "level": "channel", **self._facts(shown_in, module, position, one, found),
                        "correlation": float(one.score[channel]), "channel": channel, "fate": fate,
                        "exemplars": ", ".join(map(str, images)),
                    })  # fmt: skip
                    name = f"{position:03d}-{module}-{fate}-channel-{channel}.png".replace("/", "-")
                    files[name] = _strip(context, images, budget)
                    score = f"{fate}: channel {channel}, correlation {float(one.score[channel]):.2f}"
                    alt = f"the images that excite channel {channel} of {module} most, the strongest first"
                    strips.append(GalleryImage(file=name, alt=alt, lines=(score,)))
                groups.append(GalleryGroup(title=module, layout="strip", images=tuple(strips)))
        if groups:
            assert shown_in is not None
            gallery = Gallery(
                title="What excites the best kept and the most lost channel in P",
                caption=f"Test images with the largest activation of the channel in P, strongest first; kept and lost "
                f"as found in {shown_in.label}.",
                groups=tuple(groups),
            )
            files = gallery_files("exemplars", gallery, files)
        return MeasureResult(pl.DataFrame(rows, schema=schema(self.columns)), files)

    def _facts(
        self, member: StudyNetwork, module: str, position: int, one: "Reuse", found: "ChannelReuse"
    ) -> dict[str, Any]:
        return {
            "variant": member.variant, "seed": member.seed, "network": member.label,
            "module": module, "position": position, "channels": one.channels, "dead": one.dead_a,
            "dead_other": one.dead_b, "reused": one.matched, "same_index": one.same_index,
            "correlation": one.correlation, "correlation_same": one.correlation_same, "kept_index": one.kept_index,
            "threshold": self.threshold, "examples": found.examples,
        }  # fmt: skip

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """Share of P's channels that P-T reuses, beside chance; and their difference, paired by seed."""
        rows = table.filter(_MODULE).sort(pl.col("variant").cast(pl.Enum(_VARIANTS)), maintain_order=True)
        threshold = table["threshold"][0]
        estimates = tuple(estimated(rows, self.quantities))
        said = [
            f"{shown(str(item.at['variant']))} {100 * item.value:.0f} %"
            for item in estimates
            if item.quantity == "reused" and item.value is not None
        ]
        verdict = next((_verdict(item) for item in estimates if item.quantity == "beyond_chance"), "")
        dead = rows.filter(pl.col("variant") == "P_T").unique("module")
        lost = int(dead["dead"].sum())
        notes = [
            f"means over {rows['module'].n_unique()} modules; a channel counts as found above a correlation of "
            f"{threshold:g}, on the half of the images that the matching did not see",
            f"dead channels of P, left out: {lost} of {int(dead['channels'].sum())}",
            "chance grows with the width of a module: compare within a module",
        ]
        if not said:
            return Summary("Undecided: no module has channels that can be matched.", estimates, tuple(notes))
        return Summary(f"Channels of P found again: {', '.join(said)}{verdict}.", estimates, tuple(notes))


def _verdict(beyond: Estimate) -> str:
    other = f"P-T keeps more than {shown(str(beyond.at['rival']))} finds by chance"
    if beyond.basis != "seeds" or beyond.low is None or beyond.high is None:
        why = "equal for all seeds" if "no_spread" in beyond.flags else "fewer than 3 seeds"
        return f"; undecided whether {other} ({why})"
    limits = f"(95 % interval over {beyond.n} seeds: {100 * beyond.low:.0f} to {100 * beyond.high:.0f} points)"
    return f"; {other} {limits}" if beyond.low > 0 else f"; undecided whether {other} {limits}"


def _extremes(one: "Reuse") -> Iterator[tuple[str, int]]:
    """The living channel that is kept best, and the one that is kept least."""
    alive = [channel for channel, dead in enumerate(one.dead.tolist()) if not dead]
    if not alive:
        return
    by_score = sorted(alive, key=lambda channel: float(one.score[channel]))
    yield "reused", by_score[-1]
    if len(by_score) > 1:
        yield "lost", by_score[0]


def _strongest(found: "ChannelReuse", module: str, channel: int, indices: Sequence[int], count: int) -> list[int]:
    """Numbers of the images that excite a channel of P most."""
    import torch

    order = torch.argsort(found.excitation[module][:, channel], descending=True, stable=True)[:count]
    return [int(indices[place]) for place in order.tolist()]


def _strip(context: "Context", images: list[int], budget: int) -> bytes:
    import numpy as np

    from transferscope.analyses.image_strip import picture_strip

    return picture_strip(context.images().pixels(np.array(images)), budget)
