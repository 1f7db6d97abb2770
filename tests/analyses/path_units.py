"""Small settings of ``path``, and the units of a study by them."""

from tests.studies import Trained
from transferscope.analyses.contract import Task
from transferscope.analyses.path.analysis import Path

ANALYSIS = Path(points=5, refine=None, points_outside=1, batch_norm_images=40, train_images=50, test_images=None)


QUICK = ANALYSIS.model_copy(
    update={"points": 3, "points_outside": 0, "train_images": 20, "test_images": 20, "control_images": 40}
)


def units_of(trained: Trained, **settings) -> list[Task]:
    return list(ANALYSIS.model_copy(update=settings).tasks(trained.study, trained.evidence.for_decision()))
