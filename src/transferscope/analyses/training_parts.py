"""P-T and RI-T trained on parts of the training images, for as many updates as on all of them."""

from typing import Any

from transferscope.context.resolved_study import ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.specs.network import NetworkSpec

__all__ = ["part_network"]


def part_network(
    study: ResolvedStudy, spec: NetworkSpec, variant: str, images: int, label: str, part: dict[str, Any]
) -> StudyNetwork:
    """A network trained like ``spec`` on a part of its images, drawn by its own seed.

    An epoch sees each image so often that it is about as long as one of all images; what is left of the difference
    is made up in epochs. Of these networks only the end is looked at.

    Args:
        study: of which the data is.
        spec: P-T or RI-T of a seed, trained on all images.
        variant: its variant.
        images: how many images the part has, about.
        label: what tells the network from P-T and RI-T themselves, in whose name its progress is shown too.
        part: what the part is, as fields of :class:`~transferscope.data.spec.DataSpec`.
    """
    assert spec.recipe is not None
    repeats = max(1, round(study.training_images / images))
    epochs = max(1, round(spec.recipe.epochs * study.training_images / (images * repeats)))
    recipe = study.recipe(spec.recipe.learning_rate, epochs).model_copy(update={"keep": "none"})
    # A part of a part is drawn by the same seed, so that it is nested.
    drawn = study.data.subset_seed if study.data.fraction < 1 else spec.seed
    data = study.data.model_copy(update={**part, "repeats": repeats, "subset_seed": drawn})
    # Validated anew: a part may ask for what no data set can be.
    data = type(data).model_validate(data.model_dump())
    return StudyNetwork(
        variant=f"{variant}_{label}", seed=spec.seed, spec=spec.model_copy(update={"data": data, "recipe": recipe})
    )
