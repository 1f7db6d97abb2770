"""Hand over a trained network: one file with everything that whoever loads it must know, and how to load it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from transferscope.analyses.evidence import Evidence
from transferscope.analyses.finished import finished_table
from transferscope.analyses.learning_rate.analysis import LearningRate
from transferscope.analyses.tuned import tuned_member
from transferscope.context.context import Context
from transferscope.context.resolve import resolve
from transferscope.context.resolved_study import BASELINES, ResolvedStudy
from transferscope.errors import OptionError, StoreError
from transferscope.networks.architectures import split_name
from transferscope.networks.weight_files import write_state
from transferscope.running.work import metadata
from transferscope.specs.architecture import Architecture
from transferscope.specs.network import NetworkSpec
from transferscope.store import Store
from transferscope.study.settings import Study

EXPORTED = ("P_T", "RI_T", "RI_T_long")
"""The trained variants that can be handed over."""


@dataclass(frozen=True)
class Exported:
    """A trained network in a file."""

    path: Path
    facts: dict[str, str]
    snippet: str


def file_name(study: str, variant: str, seed: int) -> str:
    """The name of the file: of the study, variant and seed.

    >>> file_name("photos", "P_T", 0)
    'photos-P_T-seed0.safetensors'
    """
    return f"{study}-{variant}-seed{seed}.safetensors"


def export_network(
    study: Study,
    store_root: Path,
    variant: str,
    seed: int,
    output: Path,
    *,
    force: bool,
    run: str = "transferscope run STUDY",
) -> Exported:
    """Write the network whose numbers the report shows: of the chosen rate, after its last epoch."""
    variant = _checked(study, variant, seed, _trained_variants(study))
    path = output / file_name(study.name, variant, seed) if output.is_dir() else output
    if path.exists() and not force:
        raise OptionError(f"{path} exists already", hint="--output FILE names another, --force overwrites it")
    context, spec = _trained(study, store_root, variant, seed, run)
    history = context.history(spec)
    epoch = int(context.store.entry("networks", spec.key).manifest()["weights_epoch"])
    facts = _facts(context.study, spec, variant, history.row(epoch, named=True))
    write_state(path, context.state(spec), facts)
    return Exported(path, facts, loading_snippet(path, facts))


def study_network(
    study: Study, store_root: Path, variant: str, seed: int, *, run: str = "transferscope run STUDY"
) -> nn.Module:
    """The network whose numbers the report shows, on the CPU and in evaluation mode.

    Args:
        study: that trained it.
        store_root: folder of the store.
        variant: ``P_T``, ``RI_T``, ``RI_T_long``, or the untrained ``P`` and ``RI``; ``P-T`` is ``P_T``.
        seed: one of the study's seeds.
        run: what trains what is missing, for the error.

    Raises:
        OptionError: the variant or the seed is not one of the study's.
        StoreError: the network is not trained yet.
    """
    variant = _checked(study, variant, seed, (*_trained_variants(study), *BASELINES))
    context, spec = _trained(study, store_root, variant, seed, run)
    return context.network(spec).cpu()


def _trained_variants(study: Study) -> tuple[str, ...]:
    return EXPORTED if study.training.plateau_epochs is not None else EXPORTED[:2]


def _checked(study: Study, variant: str, seed: int, have: tuple[str, ...]) -> str:
    """The variant as it is spelt in keys."""
    variant = variant.replace("-", "_")
    if variant not in have:
        kind = "variant" if set(have) >= set(BASELINES) else "trained variant"
        raise OptionError(f"{variant!r} is not a {kind} of this study", expected=" or ".join(have))
    if seed not in study.seeds:
        raise OptionError(f"{seed} is not a seed of this study", expected=", ".join(map(str, study.seeds)))
    return variant


def _trained(study: Study, store_root: Path, variant: str, seed: int, run: str) -> tuple[Context, NetworkSpec]:
    """The network of the chosen rate, and the context that has it."""
    store = Store(Path(store_root))
    bound = resolve(study, store)
    context = Context(store, bound)
    rates = LearningRate()
    try:
        spec = tuned_member(bound, variant, seed, Evidence({rates.key: finished_table(rates, bound, store)})).spec
        if spec.trained:
            context.history(spec)
    except StoreError as error:
        raise StoreError(
            f"{variant} of seed {seed} is not trained yet",
            expected="a finished training in the store",
            got=str(store.root),
            hint=f"{run} trains it; what is finished is not trained again",
        ) from error
    return context, spec


def _facts(study: ResolvedStudy, spec: NetworkSpec, variant: str, last: Mapping[str, Any]) -> dict[str, str]:
    assert spec.recipe is not None
    further = {
        "study": study.settings.name,
        "study_key": study.settings.key,
        "variant": variant,
        "seed": spec.seed,
        "class_names": study.class_names,
        "labels": study.task,
        "fit": study.settings.target.fit,
        "learning_rate": spec.recipe.learning_rate,
        "epoch": last["epoch"],
        "metric": study.metric,
        "validation_metric": last["validation_metric"],
        "test_metric": last["test_metric"],
    }
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in further.items()}
    return {**metadata(spec), **texts}


_SNIPPET = """\
import json
import numpy, torch, {library}
from PIL import Image, ImageOps
from safetensors import safe_open

with safe_open("{path}", "pt") as file:
    facts, state = file.metadata(), {{name: file.get_tensor(name) for name in file.keys()}}
model = {make}.eval()
model.load_state_dict(state)

mean, std = (torch.tensor(json.loads(facts[name])).view(3, 1, 1) for name in ("mean", "std"))
picture = ImageOps.exif_transpose(Image.open("picture.png")).convert("RGB")
picture = {square}
pixels = torch.tensor(numpy.array(picture)).permute(2, 0, 1) / 255
scores = model(((pixels - mean) / std)[None])[0].{scores}
print(dict(zip(json.loads(facts["class_names"]), scores.tolist())))
"""


def loading_snippet(path: Path, facts: Mapping[str, str]) -> str:
    """Python that loads an exported network without transferscope, and classifies one picture as in training."""
    architecture = Architecture(**json.loads(facts["architecture"]))
    family, name = split_name(architecture)
    options = "".join(f", {key}={value!r}" for key, value in architecture.options.items())
    library, make = {
        "timm": ("timm", f'timm.create_model("{name}", num_classes={facts["classes"]}{options})'),
        "torchvision": (
            "torchvision",
            f'torchvision.models.get_model("{name}", weights=None, num_classes={facts["classes"]}{options})',
        ),
        "factory": (name.partition(":")[0], f"{name.replace(':', '.')}(num_classes={facts['classes']}{options})"),
    }[family]
    size = f"({facts['image_size']}, {facts['image_size']})"
    bicubic = f"{size}, Image.Resampling.BICUBIC"
    return _SNIPPET.format(
        path=path,
        library=library,
        make=make,
        square=f"ImageOps.fit(picture, {bicubic})" if facts["fit"] == "crop" else f"picture.resize({bicubic})",
        scores="sigmoid()" if facts["labels"] == "multi" else "softmax(0)",
    )
