"""Small settings of ``path``, and the units of a study by them."""

from tests.studies import Trained
from transferscope.analyses.contract import Unit
from transferscope.analyses.path.analysis import Path

ANALYSIS = Path(points=5, refine=None, outer=1, batch_norm_images=40, train_images=50, test_images=None)


QUICK = ANALYSIS.model_copy(update={"points": 3, "outer": 0, "train_images": 20, "test_images": 20, "ruler_images": 40})


def units_of(trained: Trained, **settings) -> list[Unit]:
    return list(ANALYSIS.model_copy(update=settings).units(trained.study, trained.evidence.for_decision()))
