"""Solar cells: the PyPI package ``elpv-dataset``."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from transferscope.data.sources.base import AbstractSource, Listing, files_stamp
from transferscope.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from PIL import Image


class Elpv(AbstractSource):
    """2,624 grey electroluminescence pictures of solar cells, intact or defective.

    The data are licensed CC BY-NC-SA 4.0 (Deitsch et al. 2019, doi:10.1016/j.solener.2019.02.067). The cells come from
    44 panels whose numbers are not given: two cells of one panel may fall into different splits.

    Attributes:
        probabilities: ``extremes`` keeps cells labelled with defect probability 0 or 1, ``half`` keeps all and calls
            those above ½ defective.
        cells: ``all``, or only ``mono``- or ``poly``-crystalline ones.
    """

    kind: Literal["elpv"] = "elpv"
    probabilities: Literal["extremes", "half"] = "extremes"
    cells: Literal["all", "mono", "poly"] = "all"

    def _folder(self) -> Path:
        from importlib.util import find_spec

        # Not the package's own loader: it decodes all pictures at full size at once.
        spec = find_spec("elpv_dataset")
        if spec is None or not spec.submodule_search_locations:
            raise MissingExtraError("elpv-dataset", "demo")
        folder = Path(spec.submodule_search_locations[0]) / "data"
        if not (folder / "labels.csv").is_file():
            raise DataError(
                "the package elpv-dataset holds no data",
                expected=str(folder / "labels.csv"),
                hint="pip install --force-reinstall elpv-dataset==1.0.0.post1",
            )
        return folder

    def listing(self) -> Listing:
        """Cells in the package's order."""
        import numpy as np

        folder = self._folder()
        names, labels = [], []
        for line in (folder / "labels.csv").read_text(encoding="utf-8").splitlines():
            if not line.strip():
                continue
            name, probability, cell = line.split()
            value = float(probability)
            if self.cells not in ("all", cell) or (self.probabilities == "extremes" and 0 < value < 1):
                continue
            names.append(name)
            labels.append(int(value > 0.5))

        def read(index: int) -> "Image.Image":
            from transferscope.data.pictures import open_picture

            return open_picture(folder / names[index])

        return Listing(
            names=names,
            labels=np.array(labels, dtype=np.int64),
            classes=("intact", "defective"),
            read=read,
            notes=(
                "ELPV data set, licence CC BY-NC-SA 4.0 (Deitsch et al. 2019).",
                "The panel of a cell is not given: cells of one panel may lie in several splits, so leakage "
                "between training and test cannot be excluded.",
            ),
        )

    def stamp(self) -> object:
        """The label file; the pictures came with it."""
        folder = self._folder()
        return [self.identity(), files_stamp(folder, [folder / "labels.csv"])]
