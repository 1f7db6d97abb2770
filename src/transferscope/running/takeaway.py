"""What is taken away from an advice: the recommended network, its recipe, and scripts that need no transferscope."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml

from transferscope.analyses.start.analysis import StartAnalysis
from transferscope.analyses.start.arms import Arm, names_of, network_of
from transferscope.analyses.start.proof import judged_metric
from transferscope.context.context import Context
from transferscope.context.resolve import resolve
from transferscope.context.study_network import StudyNetwork
from transferscope.networks.architectures import split_name
from transferscope.networks.weight_files import write_state
from transferscope.running.advice import settings_of
from transferscope.running.work import metadata
from transferscope.specs.architecture import Architecture
from transferscope.store import Store
from transferscope.store.atomic import replace_file
from transferscope.study.settings import Study

__all__ = ["Takeaway", "recommended", "write_takeaway"]

_FACTOR = {
    "constant": "1.0",
    "cosine": "0.5 * (1 + math.cos(math.pi * update / total))",
    "step": "0.1 ** ((update >= total / 2) + (update >= 3 * total / 4))",
}
"""Of the peak rate, by schedule: see :mod:`transferscope.training.schedules`."""


@dataclass(frozen=True)
class Takeaway:
    """Files of an advice.

    Attributes:
        folder: in which they lie.
        files: by name.
        left_out: what the script that repeats the training does not do of the recipe, by the names of settings.
    """

    folder: Path
    files: tuple[str, ...]
    left_out: tuple[str, ...]


def recommended(context: Context, analysis: StartAnalysis, facts: Mapping[str, Any]) -> StudyNetwork:
    """The network of the chosen arm: of the first report seed, or, while nothing is proved, of the search.

    Args:
        context: of the study.
        analysis: that chose.
        facts: of its summary.
    """
    chosen, study = facts["chosen"], context.study
    number = names_of(study.settings, analysis.candidates).index(chosen["candidate"])
    arm = Arm(number, chosen["start"], chosen["learning_rate"])
    if facts["stage"] == "proved":
        return network_of(study, analysis.candidates, arm, study.seeds[0], None, search=False)
    seed = study.settings.training.tuning_seeds[0]
    return network_of(study, analysis.candidates, arm, seed, chosen["epochs"], search=True)


def write_takeaway(study: Study, store_root: Path, facts: Mapping[str, Any], folder: Path) -> Takeaway:
    """Write the recommended network, its start, its recipe, and the scripts that predict and train.

    Args:
        study: that was run, or stopped.
        store_root: folder of its store.
        facts: of the summary of its analysis ``start``, with a chosen arm.
        folder: made if it is not there; files of these names are replaced.

    Raises:
        StoreError: the network is not in the store, or the folder cannot be written.
    """
    store = Store(Path(store_root))
    context = Context(store, resolve(study, store))
    member = recommended(context, settings_of(study.analyses), facts)
    told = _facts(context, member, facts)
    folder.mkdir(parents=True, exist_ok=True)
    write_state(folder / "model.safetensors", context.state(member.spec), told)
    write_state(folder / "start.safetensors", context.state(member.spec, 0), metadata(member.spec))
    replace_file(folder / "recipe.yaml", _recipe(member, told, facts).encode())
    left_out = _not_repeated(member)
    scripts = {"predict.py": _script("predict", told)}
    if told["labels"] == "single":  # of several labels no folder of pictures tells
        scripts["train.py"] = _training_script(member, told, left_out)
    for name, text in scripts.items():
        replace_file(folder / name, text.encode())
    return Takeaway(folder, ("model.safetensors", "start.safetensors", "recipe.yaml", *scripts), left_out)


def _facts(context: Context, member: StudyNetwork, facts: Mapping[str, Any]) -> dict[str, str]:
    study, spec = context.study, member.spec
    assert spec.recipe is not None
    # Test data are looked at once the choice is proved, and not before.
    split: Literal["validation", "test"] = "test" if facts["stage"] == "proved" else "validation"
    judged = judged_metric(member, split, context)
    further: dict[str, Any] = {
        "study": study.settings.name,
        "study_key": study.settings.key,
        "start": facts["chosen"]["start"],
        "seed": spec.seed,
        "class_names": study.class_names,
        "labels": study.task,
        "fit": study.settings.target.fit,
        "learning_rate": spec.recipe.learning_rate,
        "epochs": spec.recipe.epochs,
        "metric": study.metric,
        **{f"{split}_{name}": value for name, value in judged.items()},
    }
    texts = {name: item if isinstance(item, str) else json.dumps(item) for name, item in further.items()}
    return {**metadata(spec), **texts}


def _recipe(member: StudyNetwork, told: Mapping[str, str], facts: Mapping[str, Any]) -> str:
    spec = member.spec
    assert spec.recipe is not None
    assert spec.data is not None
    content = {
        "architecture": spec.architecture.model_dump(mode="json", exclude_none=True),
        "start": facts["chosen"]["start"],
        "seed": spec.seed,
        "images": {"image_size": spec.data.image_size, "mean": list(spec.data.mean), "std": list(spec.data.std),
                   "fit": told["fit"]},
        "classes": json.loads(told["class_names"]),
        "recipe": spec.recipe.model_dump(mode="json"),
        "study": {"name": told["study"], "key": told["study_key"]},
        "promise": {name: facts[name] for name in ("expected_regret", "probability_best") if name in facts},
        "proof": {name: facts[name] for name in ("proved_regret", "gain_over_default") if name in facts},
    }  # fmt: skip
    head = "# What was recommended, how it was trained, what it was promised to lose, and what it lost.\n"
    return head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _make(told: Mapping[str, str]) -> tuple[str, str]:
    """The library, and the expression that builds the network."""
    architecture = json.loads(told["architecture"])
    family, name = split_name(Architecture(**architecture))
    options = "".join(f", {key}={value!r}" for key, value in architecture["options"].items())
    if family == "timm":
        return "timm", f'timm.create_model("{name}", num_classes=len(NAMES){options})'
    if family == "torchvision":
        return "torchvision", f'torchvision.models.get_model("{name}", weights=None, num_classes=len(NAMES){options})'
    return name.partition(":")[0], f"{name.replace(':', '.')}(num_classes=len(NAMES){options})"


def _script(name: str, told: Mapping[str, str], **more: str) -> str:
    library, make = _make(told)
    size = f"({told['image_size']}, {told['image_size']})"
    square = f"ImageOps.fit(picture, {size}, BICUBIC)" if told["fit"] == "crop" else f"picture.resize({size}, BICUBIC)"
    given = {
        "LIBRARY": library, "MAKE": make, "SQUARE": square, "SIZE": told["image_size"],
        "SCORES": "sigmoid()" if told["labels"] == "multi" else "softmax(0)", **more,
    }  # fmt: skip
    text = (resources.files("transferscope") / "running" / f"{name}.py.txt").read_text(encoding="utf-8")
    for key, value in given.items():
        text = text.replace(f"<{key}>", value)
    return text


def _training_script(member: StudyNetwork, told: Mapping[str, str], left_out: tuple[str, ...]) -> str:
    recipe = member.spec.recipe
    assert recipe is not None
    optimiser = (
        f"torch.optim.SGD(model.parameters(), RATE, momentum={recipe.momentum}, nesterov="
        f"{recipe.nesterov and recipe.momentum > 0}, weight_decay={recipe.weight_decay})"
        if recipe.optimiser == "sgd"
        else f"torch.optim.AdamW(model.parameters(), RATE, weight_decay={recipe.weight_decay})"
    )
    return _script(
        "train", told, RATE=repr(recipe.learning_rate), EPOCHS=str(recipe.epochs), BATCH=str(recipe.batch_size),
        OPTIMISER=optimiser, FACTOR=_FACTOR.get(recipe.schedule, _FACTOR["cosine"]), SEED=str(member.spec.seed),
        SMOOTHING=repr(recipe.label_smoothing), PADDING=str(recipe.augmentation.crop_padding),
        FLIP=str(recipe.augmentation.flip), LEFT_OUT=", ".join(left_out) or "nothing",
    )  # fmt: skip


def _not_repeated(member: StudyNetwork) -> tuple[str, ...]:
    """Settings of the recipe that the script leaves out."""
    recipe = member.spec.recipe
    assert recipe is not None
    usual: dict[str, Any] = {"warmup_epochs": 0.0, "mixup": 0.0, "gradient_clip": None, "module_rates": {}}
    usual |= {"decay_norm_and_bias": True, "precision": "float32"}
    found = [name for name, value in usual.items() if getattr(recipe, name) != value]
    return (*found, *(["schedule"] if recipe.schedule not in _FACTOR else []))
