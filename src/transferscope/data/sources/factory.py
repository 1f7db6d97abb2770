"""The user's own data, by a function."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from transferscope.data.sources.base import AbstractSource, Listing
from transferscope.errors import DataError
from transferscope.factories import call_factory, current_folder, find_module


class Factory(AbstractSource):
    """What the user's function returns: a sequence of (picture, label), or a ``Listing``.

    A picture is a PIL image, or an array with channels last. A label is a whole number or a word, or a row of 0 and 1
    for several at once. A sequence may have ``classes``, the names of its classes, and ``groups``. What the function
    reads cannot be seen from here: raise ``version`` when it changes.

    Attributes:
        function: ``package.module:function``, importable, called with ``options``.
        options: keyword arguments (JSON values).
        version: of the data.
    """

    kind: Literal["factory"] = "factory"
    function: str
    options: dict[str, Any] = Field(default_factory=dict)
    version: int | str = 0

    @property
    def code(self) -> str:
        """The function."""
        return self.function

    @field_validator("function")
    @classmethod
    def _named(cls, value: str) -> str:
        module, _, name = value.partition(":")
        if not module or not name:
            raise ValueError(f"expected package.module:function, got {value!r}")
        return value

    def listing(self) -> Listing:
        """What the function returns; of a sequence every example is read once, for its label."""
        import numpy as np

        from transferscope.data.sources.class_names import TableLabels
        from transferscope.data.sources.labels import joined

        made = self._call()
        if isinstance(made, Listing):
            return made
        if not (hasattr(made, "__len__") and hasattr(made, "__getitem__")):
            raise DataError(
                f"{self.function} returned no data",
                expected="a sequence of (picture, label), or a transferscope.data.Listing",
                got=type(made).__name__,
            )
        labels: list[np.ndarray] = []
        for number in range(len(made)):
            with current_folder():
                item = made[number]
            if not (isinstance(item, (tuple, list)) and len(item) == 2):
                raise DataError(
                    f"example {number} of {self.function} is no (picture, label)",
                    expected="a pair",
                    got=type(item).__name__,
                )
            labels.append(np.asarray(item[1]))
        if len({label.shape for label in labels}) > 1:
            raise DataError(
                f"the labels of {self.function} differ in shape", expected="one for each image, or rows of one length"
            )
        if not labels:
            raise DataError(f"{self.function} returned no images", expected="at least three images of each class")
        names, groups = getattr(made, "classes", None), getattr(made, "groups", None)
        named = None if names is None else tuple(str(name) for name in names)
        joint = joined([TableLabels.of_array(f"the labels of {self.function}", np.stack(labels), named)])
        return Listing(
            names=[str(number) for number in range(len(made))],
            labels=joint.labels,
            classes=joint.classes,
            read=_Reader(made),
            groups=None if groups is None else [str(group) for group in groups],
            multi_label=joint.multi_label,
            notes=joint.notes,
        )

    def stamp(self) -> object:
        """The settings and the text of the function's module, which is not run for it."""
        import hashlib

        place = find_module(self.function.partition(":")[0])
        if place is None:
            raise DataError(
                f"there is no module for the data {self.function!r}",
                expected="package.module:function of an installed package, or of a file in the current folder",
                got=f"the current folder is {Path.cwd()}",
            )
        return [self.identity(), hashlib.sha256(place.read_bytes()).hexdigest()]

    def _call(self) -> Any:
        try:
            return call_factory(self.function, DataError, "data", self.options)
        except TypeError as error:
            raise DataError(
                f"{self.function} could not be called with {self.options}", got=str(error), hint="see `options`"
            ) from error


class _Reader:
    def __init__(self, made: Any) -> None:
        self._made = made

    def __call__(self, index: int) -> Any:
        # The user's code may import its own modules when it is first asked.
        with current_folder():
            return self._made[index][0]
