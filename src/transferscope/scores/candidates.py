"""The candidates of a ranking: what the user named, each with its weights or drawn at random."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from torch import nn

from transferscope.errors import StudyError, WeightsError, nearest
from transferscope.look.models import LookModel, find_models
from transferscope.networks.architectures import build, check_architecture
from transferscope.networks.heads import head_name
from transferscope.networks.weight_parts import weights_in
from transferscope.networks.weights import load, take
from transferscope.specs.architecture import Architecture, FileWeights, PackageWeights
from transferscope.study.template import is_weights_path

__all__ = ["RANDOM", "Candidate", "LoadedNetwork", "declared_accuracies", "find_candidates", "load_network"]

RANDOM: Final = "random"
"""A candidate drawn for seed 0: of the first one's architecture, or of the one that follows a colon."""


@dataclass(frozen=True)
class Candidate:
    """A network to score.

    Attributes:
        model: architecture, weights and what is declared of its images.
        pretrained: it starts from its weights; else it is drawn at random.
    """

    model: LookModel
    pretrained: bool

    @property
    def name(self) -> str:
        """As the user wrote it, with the file where a folder holds several."""
        return self.model.name

    @property
    def weights(self) -> str:
        """As a study names them: ``package:NAME``, ``timm`` or a path; empty of a random start."""
        weights = self.model.weights
        if not self.pretrained or weights is None:
            return ""
        if isinstance(weights, PackageWeights):
            return f"package:{weights.name}"
        own = isinstance(weights, FileWeights) and is_weights_path(self.name, named=True)
        return os.path.abspath(Path(self.name).expanduser()) if own else "timm"


@dataclass(frozen=True)
class LoadedNetwork:
    """A candidate in memory.

    Attributes:
        network: in evaluation mode.
        head: name of its classifying module.
        sources: outputs of the head it was trained with; None where there is none.
        no_sources: why there is none.
    """

    network: nn.Module
    head: str
    sources: int | None
    no_sources: str = ""


def find_candidates(names: Sequence[str], architecture: str | None) -> tuple[Candidate, ...]:
    """The candidates a user names, in the order given; all are checked to fit before any image is read.

    Args:
        names: packages of weights, names of timm's with weights on this disk, files or folders of weights, ``random``,
            ``random:ARCHITECTURE``. A folder of several networks gives as many candidates.
        architecture: of files that do not name theirs.

    Raises:
        StudyError: nothing was named, or ``random`` alone.
        ArchitectureError: an unknown name.
        WeightsError: weights that cannot be read, do not fit, or are not on this disk.
    """
    if not names:
        raise StudyError(
            "there is nothing to rank",
            expected="candidates: names of timm's, files or folders of weights, or random",
            got="none",
            hint="--model efficientnet-lite0 --model random, for example",
        )
    listed = [part for name in dict.fromkeys(names) for part in _parts(name)]
    drawn = [name for name in listed if name.partition(":")[0] == RANDOM]
    given = [name for name in listed if name not in drawn]
    found = {name: _with_weights(name, architecture) for name in given}
    first = next(iter(found.values()), None)
    found |= {name: _drawn(name, first) for name in drawn}
    return tuple(found[name] for name in listed)


def load_network(candidate: Candidate) -> LoadedNetwork:
    """Build a candidate, with the head its weights were trained with where they have one.

    Raises:
        WeightsError: the weights do not fit.
        ArchitectureError: it cannot be built.
    """
    model = candidate.model
    if not candidate.pretrained or model.weights is None:
        network, head = model.network(pretrained=False)
        return LoadedNetwork(network, head, None, "a random start has no source classes")
    state = take(model.weights, model.architecture).state
    plain = build(model.architecture, 2, 0)
    head = head_name(plain, model.architecture)
    sizes = [len(tensor) for name, tensor in state.items() if name.startswith(f"{head}.") and tensor.ndim]
    if not sizes:
        load(plain, state, head, new_head=True)
        return LoadedNetwork(plain.eval(), head, None, "the weights have no head")
    network = build(model.architecture, sizes[-1], 0)
    try:
        load(network, state, head, new_head=False)
    except WeightsError as error:
        load(plain, state, head, new_head=True)
        return LoadedNetwork(plain.eval(), head, None, f"the head of the weights cannot be used: {error.what}")
    if sizes[-1] < 2:
        return LoadedNetwork(network.eval(), head, None, "the head of the weights has one output")
    return LoadedNetwork(network.eval(), head, sizes[-1])


def declared_accuracies(said: Mapping[str, float], candidates: Sequence[Candidate]) -> dict[str, float]:
    """The source accuracies that a user declares, by candidate.

    Raises:
        StudyError: of no candidate, or not a share.
    """
    names = [candidate.name for candidate in candidates]
    for name, value in said.items():
        if name not in names:
            raise StudyError(
                f"a source accuracy is declared of no candidate: {name}",
                expected=f"one of {', '.join(names)}",
                got=name,
                hint=nearest(name, names),
            )
        if not 0 <= value <= 1:
            raise StudyError(f"the source accuracy of {name} is a share", expected="0 to 1", got=f"{value:g}")
    return dict(said)


def _parts(name: str) -> tuple[str, ...]:
    """The name; the files of a folder of several networks."""
    place = Path(name).expanduser()
    if name.partition(":")[0] == RANDOM or not place.is_dir() or not is_weights_path(name, named=False):
        return (name,)
    inside = weights_in(place)
    return (name,) if len(inside) < 2 else tuple(str(Path(name) / item.name) for item in inside)


def _with_weights(name: str, architecture: str | None) -> Candidate:
    (model,) = find_models([name], architecture)
    if model.weights is None:
        raise WeightsError(
            f"there are no weights for the candidate {name}",
            expected="weights on this disk; nothing is fetched here",
            got="; ".join(model.notes),
            hint=f"--model {RANDOM}:{model.architecture.name} scores it with random weights",
        )
    take(model.weights, model.architecture)  # an error where they do not fit: now, and not after minutes
    return Candidate(model, True)


def _drawn(name: str, first: Candidate | None) -> Candidate:
    asked = name.partition(":")[2]
    if not asked and first is None:
        raise StudyError(
            "no candidate says which network the random one is",
            expected="another --model beside it, or its architecture",
            got=f"--model {name}",
            hint=f"--model {RANDOM}:timm:resnet18",
        )
    if not asked and first is not None:
        # Normalised and sized as the first one, and by its weights: what differs is the start alone.
        return Candidate(LookModel(name, first.model.architecture, first.model.weights), False)
    architecture = Architecture(name=asked)
    check_architecture(architecture)
    return Candidate(LookModel(name, architecture, None), False)
