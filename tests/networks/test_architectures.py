import random
import sys

import numpy as np
import pytest
import torch
from torch import nn

from transferscope.errors import ArchitectureError, ModuleNameError
from transferscope.networks.architectures import (
    build,
    check_architecture,
    head_name,
    input_stats,
    known_architectures,
    reset_head,
    split_name,
)
from transferscope.networks.initialisation import isolated_randomness
from transferscope.specs.architecture import Architecture, PackageWeights

FACTORIES = """
import random
import numpy as np
import torch
from torch import nn


def tiny(num_classes, width=4, noise=False):
    net = nn.Sequential(nn.Conv2d(3, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))
    if noise:
        net[0].bias.data.fill_(random.random() + float(np.random.rand()))
    return net


def ignores_classes(num_classes):
    return nn.Linear(3, 10)


def broken(num_classes):
    raise ZeroDivisionError("inside the factory")


def no_module(num_classes):
    return "not a network"


def headless(num_classes):
    return nn.Conv2d(3, num_classes, 3)


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))


def unusual(num_classes):
    return nn.Sequential(nn.Linear(3, 3), Scale(), nn.ReLU())
"""


@pytest.fixture
def factories(tmp_path, monkeypatch):
    """A module of the user's own in the current folder, which is not on the import path."""
    (tmp_path / "own_nets.py").write_text(FACTORIES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    yield "own_nets"
    sys.modules.pop("own_nets", None)


def arch(name, **fields):
    return Architecture(name=name, **fields)


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("timm:resnet18", "fc"),
        ("resnet18.a1_in1k", "fc"),
        ("timm:tf_efficientnet_lite0", "classifier"),
        ("timm:vit_tiny_patch16_224", "head"),
        ("timm:convnext_atto", "head.fc"),
        ("torchvision:resnet18", "fc"),
        ("torchvision:mobilenet_v2", "classifier.1"),
        ("torchvision:squeezenet1_1", "classifier.1"),
    ],
)
def test_head_is_found_and_fits(name, head):
    model = build(arch(name), classes=5, seed=0)
    assert head_name(model, arch(name)) == head
    module = model.get_submodule(head)
    outputs = [m.out_features for m in module.modules() if isinstance(m, nn.Linear)] or [module.out_channels]
    assert outputs == [5]


def test_same_seed_same_bits_and_other_seed_other_trunk():
    a, b, c = (build(arch("timm:resnet10t"), 3, seed).state_dict() for seed in (1, 1, 2))
    assert equal(a, b)
    assert not torch.equal(a["layer1.0.conv1.weight"], c["layer1.0.conv1.weight"])
    assert not torch.equal(a["fc.weight"], c["fc.weight"])


def test_trunk_has_the_architectures_own_initialisation():
    from transferscope.frozen import derive_seed

    with torch.random.fork_rng(devices=[]):
        import timm

        torch.manual_seed(derive_seed(7, "init"))
        expected = timm.create_model("resnet10t", num_classes=3).state_dict()
    got = build(arch("timm:resnet10t"), 3, 7).state_dict()
    different = [name for name in expected if not torch.equal(expected[name], got[name])]
    assert different == ["fc.weight", "fc.bias"]


def test_same_seed_same_head_whatever_the_trunk():
    heads = [build(arch(name), 4, 5).fc.state_dict() for name in ("timm:resnet18", "timm:resnet34")]
    assert equal(*heads)
    trained = build(arch("timm:resnet18"), 4, 9)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(1.0)
    trunk = trained.conv1.weight.clone()
    reset_head(trained, "fc", 5)
    assert equal(trained.fc.state_dict(), heads[0])
    assert torch.equal(trained.conv1.weight, trunk)


def test_reset_head_keeps_flags_dtype_and_parameter_objects():
    model = build(arch("timm:resnet10t"), 4, 0).to(torch.bfloat16)
    model.fc.weight.requires_grad_(False)
    before = model.fc.weight
    reset_head(model, "fc", 1)
    assert model.fc.weight is before
    assert before.dtype == torch.bfloat16
    assert not before.requires_grad


def test_global_randomness_is_neither_used_nor_changed(factories):
    name = f"{factories}:tiny"
    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    expected = torch.rand(1).item(), random.random(), np.random.rand()
    first = build(arch(name, options={"noise": True}), 2, 3).state_dict()
    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    second = build(arch(name, options={"noise": True}), 2, 3).state_dict()
    assert (torch.rand(1).item(), random.random(), np.random.rand()) == expected
    assert equal(first, second)


def test_isolation_ends_after_an_exception():
    torch.manual_seed(4)
    expected = torch.rand(1)
    torch.manual_seed(4)
    with pytest.raises(RuntimeError, match="Expected reduction dim"), isolated_randomness(0):
        torch.rand(0).max() if torch.rand(3).sum() > 0 else None
    assert torch.equal(torch.rand(1), expected)


def test_options_reach_the_constructor(factories):
    assert build(arch(f"{factories}:tiny", options={"width": 6}), 2, 0)[0].out_channels == 6
    assert build(arch("timm:resnet10t", options={"in_chans": 1}), 2, 0).conv1[0].in_channels == 1


def test_own_factory_leaves_the_import_path_alone(factories):
    before = list(sys.path)
    model = build(arch(f"{factories}:tiny"), 2, 0)
    assert sys.path == before
    assert head_name(model, arch(f"{factories}:tiny")) == "3"


def test_named_head_wins_and_is_checked(factories):
    model = build(arch("timm:resnet10t"), 4, 0)
    assert head_name(model, arch("timm:resnet10t", head="layer4")) == "layer4"
    with pytest.raises(ModuleNameError, match=r"no module named 'layer44'(?s:.*)did you mean 'layer4'"):
        head_name(model, arch("timm:resnet10t", head="layer44"))
    with pytest.raises(ModuleNameError, match="no module named 'fd'"):
        reset_head(model, "fd", 0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:resnet81", r"timm has no architecture named 'resnet81'(?s:.*)did you mean 'resnet18'"),
        ("resnt50", r"did you mean 'resnet50"),
        ("timm:resnet50.a1_in2k", r"no weights tagged 'a1_in2k'(?s:.*)did you mean 'a1_in1k'"),
        ("torchvision:mobilenet_v4", r"torchvision has no(?s:.*)did you mean 'mobilenet_v"),
        ("torchvision:fasterrcnn_resnet50_fpn", "torchvision has no classification network"),
        ("tim:resnet18", r"cannot import the module(?s:.*)timm:NAME"),
        ("no_such_package_xyz.nets:make", "cannot import the module(?s:.*)ModuleNotFoundError"),
        ("math:", "needs a module and a function"),
        ("math:sqr", r"has no function 'sqr'(?s:.*)did you mean 'sqrt'"),
        ("math:pi", "has no function 'pi'"),
    ],
)
def test_unknown_architectures(name, message):
    with pytest.raises(ArchitectureError, match=message):
        check_architecture(arch(name))


@pytest.mark.parametrize(
    ("function", "message", "cause"),
    [
        ("broken", "cannot be built: ZeroDivisionError: inside the factory", ZeroDivisionError),
        ("no_module", r"is not a network(?s:.*)str", None),
        ("ignores_classes", r"does not fit the data(?s:.*)3 outputs(?s:.*)10 outputs", None),
        ("headless", "no classifying module was found", None),
        ("tiney", r"has no function 'tiney'(?s:.*)did you mean 'tiny'", None),
    ],
)
def test_factories_that_cannot_be_used(factories, function, message, cause):
    with pytest.raises(ArchitectureError, match=message) as caught:
        build(arch(f"{factories}:{function}"), 3, 0)
    assert cause is None or isinstance(caught.value.__cause__, cause)


def test_heads_that_cannot_be_drawn_again(factories):
    with pytest.raises(ArchitectureError, match=r"cannot be drawn again(?s:.*)Scale at '1'"):
        build(arch(f"{factories}:unusual", head="1"), 3, 0)
    with pytest.raises(ArchitectureError, match="has no parameters to draw again"):
        build(arch(f"{factories}:unusual", head="2"), 3, 0)


def test_options_that_are_not_the_architectures():
    with pytest.raises(ArchitectureError, match="set what transferscope sets itself: pretrained"):
        check_architecture(arch("timm:resnet18", options={"pretrained": True}))
    with pytest.raises(ArchitectureError, match="sets itself: weights"):
        check_architecture(arch("torchvision:resnet18", options={"weights": "DEFAULT"}))
    with pytest.raises(ArchitectureError, match="cannot be built: TypeError") as caught:
        build(arch("torchvision:resnet18", options={"depth": 3}), 2, 0)
    assert isinstance(caught.value.__cause__, TypeError)


def test_a_second_head_counts_only_where_it_is():
    # timm declares both heads for both; only the distilled network has the second.
    single = arch("timm:repvit_m1", options={"distillation": False})
    assert head_name(build(single, 5, 0), single) == "head.head.l"


def test_two_heads_are_refused():
    with pytest.raises(ArchitectureError, match="has 2 classifying modules: head, head_dist"):
        build(arch("timm:deit_tiny_distilled_patch16_224"), 3, 0)


def test_known_names():
    names = known_architectures()
    assert {"timm:resnet50", "timm:tf_efficientnet_lite0", "torchvision:resnet50"} <= set(names)
    assert names == sorted(set(names))
    assert split_name(arch("torchvision:resnet50")) == ("torchvision", "resnet50")


def test_input_statistics():
    lite, half = arch("timm:tf_efficientnet_lite0"), ((0.5,) * 3, (0.5,) * 3)
    mean, std = input_stats(lite, PackageWeights(name="efficientnet-lite0"))
    x = torch.rand(3)
    torch.testing.assert_close((x - torch.tensor(mean)) / torch.tensor(std), (255 * x - 127) / 128)
    assert input_stats(lite, None) == half
    assert input_stats(arch("vit_tiny_patch16_224.augreg_in21k"), None) == half
    assert input_stats(arch("torchvision:resnet18"), None)[0] == (0.485, 0.456, 0.406)
    assert input_stats(arch("my.own:net"), None)[1] == (0.229, 0.224, 0.225)
