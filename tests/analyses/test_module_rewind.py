"""Rewinding of modules: against full passes, and what must hold for any network."""

import copy

import pytest
import torch
from torch import nn

from tests.analyses.test_landscape_focus import batches, network
from tests.analyses.test_module_criticality import moved
from tests.callers import gathered
from tests.reference.rewind_reference import rewound_outputs
from transferscope.errors import MeasureError, ModuleNameError
from transferscope.measures.metrics import metric, per_example_loss
from transferscope.methods.evaluation import Evaluation
from transferscope.methods.modules.rewind import ALL, UNMOVED, ModuleSelection, group_name, rewind
from transferscope.networks.modules import parts_parameters

DATA = {"train": batches(1), "test": batches(2)}


def test_every_point_is_that_of_full_passes_to_the_last_bit() -> None:
    final = network("resnet", 0)
    initial, fresh, between = moved(final, 1), network("resnet", 9), moved(final, 2)
    parts = parts_parameters(final, "block")
    listed = list(parts)
    names = (listed[0], listed[4], listed[-1])
    found = rewind(
        initial,
        final,
        DATA,
        random=fresh,
        checkpoints={3: between},
        modules=ModuleSelection(names=names),
        evaluation=Evaluation(recompute_on=batches(3), device="cpu"),
    )
    assert list(dict.fromkeys(item.name for item in found.rewound)) == [*names, ALL]
    assert len(found.rewound) == 3 * 4
    for name in names:
        for to, epoch, donor in (("initial", None, initial), ("random", None, fresh), ("epoch", 3, between)):
            item = found.at(name, to, epoch)
            for split, loader in DATA.items():
                outputs = rewound_outputs(final, donor, parts[name], loader, batches(3))
                labels = torch.cat([labels for _, labels in loader])
                assert torch.equal(torch.from_numpy(item.points[split].losses), per_example_loss(outputs, labels))
                assert item.points[split].metric == metric(outputs, labels, "top1")
                drop = found.drop(item, split, draws=100).value
                assert drop == pytest.approx(found.final[split].metric - item.points[split].metric)
    assert found.at(names[-1]).evaluation.startswith("kept before")
    assert found.batch_norm == "recompute"


def test_all_modules_at_once_are_the_initial_network() -> None:
    final, initial = network("resnet", 0), network("resnet", 1)
    found = rewind(
        initial,
        final,
        DATA,
        modules=ModuleSelection(names=["fc"]),
        evaluation=Evaluation(recompute_on=batches(3), device="cpu"),
    )
    alone = rewind(
        initial,
        initial,
        DATA,
        modules=ModuleSelection(names=["fc"]),
        evaluation=Evaluation(recompute_on=batches(3), device="cpu"),
    )
    for split in DATA:
        assert (found.at(ALL).points[split].losses == alone.final[split].losses).all()
        assert (found.at(ALL).points[split].losses != found.final[split].losses).any()
    assert found.at(ALL).parameters == sum(parameter.numel() for parameter in final.parameters())


def test_what_is_equal_to_the_final_value_changes_nothing() -> None:
    final = network("resnet", 0)
    initial = moved(final, 1)
    initial.conv1.load_state_dict(final.conv1.state_dict())
    found = rewind(
        initial,
        final,
        DATA,
        modules=ModuleSelection(names=["conv1", "layer1.0"]),
        checkpoints={4: copy.deepcopy(final)},
        evaluation=Evaluation(recompute_on=batches(3), device="cpu"),
    )
    still = found.at("conv1")
    assert (still.distance, still.evaluation) == (0.0, UNMOVED)
    for item in [still, *(item for item in found.rewound if item.epoch == 4)]:
        for split in DATA:
            assert (item.points[split].losses == found.final[split].losses).all()
            assert found.drop(item, split, draws=100).value == 0
    assert found.at("layer1.0").distance > 0


def test_a_module_that_is_ignored_drops_nothing() -> None:
    class Ignored(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used = nn.Linear(3 * 32 * 32, 3)
            self.ignored = nn.Linear(3, 3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            out = self.used(images.flatten(1))
            return out + 0.0 * self.ignored(out)

    torch.manual_seed(0)
    final = Ignored().eval()
    data = {"test": [(images, final(images).argmax(1)) for images, _ in batches(1)]}
    found = rewind(
        moved(final, 1, 1.0),
        final,
        data,
        modules=ModuleSelection(granularity="layer"),
        evaluation=Evaluation(device="cpu"),
    )
    assert found.drop(found.at("ignored"), "test", draws=100).value == 0
    assert found.drop(found.at("used"), "test", draws=100).value > 0
    assert found.batch_norm == "no batch norm"


def test_groups_are_put_back_together() -> None:
    final, initial = network("resnet", 0), network("resnet", 1)
    parts = parts_parameters(final, "stage")
    names = list(parts)
    pair = (names[1], names[-1])
    found = rewind(
        initial,
        final,
        DATA,
        modules=ModuleSelection(names=names[:4], groups=[pair], cumulative=True, granularity="stage"),
        evaluation=Evaluation(recompute_on=batches(3), device="cpu"),
    )
    item = found.at(group_name(pair))
    assert item.modules == pair
    outputs = rewound_outputs(final, initial, [name for part in pair for name in parts[part]], DATA["test"], batches(3))
    labels = torch.cat([labels for _, labels in DATA["test"]])
    assert torch.equal(torch.from_numpy(item.points["test"].losses), per_example_loss(outputs, labels))
    assert found.at("(first 2)").modules == tuple(names[:2])
    assert found.at("(last 2)").modules == tuple(names[2:4])
    cumulative = [item.name for item in found.rewound if item.name.startswith(("(first", "(last"))]
    assert len(cumulative) == 2 * 2


def test_without_recomputing_the_final_statistics_stay() -> None:
    final, initial = network("resnet", 0), moved(network("resnet", 0), 1)
    kept = rewind(
        initial,
        final,
        DATA,
        modules=ModuleSelection(names=["layer2.0"]),
        evaluation=Evaluation(batch_norm="none", device="cpu"),
    )
    assert kept.batch_norm == "none"
    for split in DATA:
        assert (kept.final[split].losses == kept.own[split].losses).all()
    names = parts_parameters(final, "block")["layer2.0"]
    outputs = rewound_outputs(final, initial, names, DATA["test"], None)
    labels = torch.cat([labels for _, labels in DATA["test"]])
    losses = kept.at("layer2.0").points["test"].losses
    assert torch.equal(torch.from_numpy(losses), per_example_loss(outputs, labels))


def test_outputs_that_are_not_finite_have_no_auc() -> None:
    final = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)).eval()
    broken = copy.deepcopy(final)
    with torch.no_grad():
        broken[1].weight.fill_(float("nan"))
    data = {"test": [(images, labels % 2) for images, labels in batches(1)]}
    found = rewind(broken, final, data, evaluation=Evaluation(metric="auc", device="cpu"))
    assert found.at("1").points["test"].metric is None
    drop = found.drop(found.at("1"), "test")
    assert drop.value is None
    assert "not finite" in drop.note


def test_the_callers_networks_are_left_as_they_are() -> None:
    final, initial = network("resnet", 0).train(), network("resnet", 1)
    before = [{name: value.clone() for name, value in net.state_dict().items()} for net in (final, initial)]
    rewind(
        initial,
        final,
        DATA,
        modules=ModuleSelection(names=["layer1.0"]),
        evaluation=Evaluation(recompute_on=batches(3), device="cpu"),
    )
    for net, state in zip((final, initial), before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert final.training


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"names": ["layer9"]}, ModuleNameError, "there is no module 'layer9'"),
        ({"groups": [["conv1", "layer9"]]}, ModuleNameError, "there is no module 'layer9'"),
        ({"groups": [[]]}, MeasureError, "a group holds modules, each once"),
        ({"groups": [["conv1", "conv1"]]}, MeasureError, "a group holds modules, each once"),
        ({"recompute_on": None}, MeasureError, "nothing to recompute"),
        ({"random": network("vit", 0)}, MeasureError, "parameters or buffers differ"),
    ],
)
def test_bad_input_is_named(options, error, match) -> None:
    final = network("resnet", 0)
    with pytest.raises(error, match=match):
        rewind(
            moved(final, 1), final, DATA, **gathered(rewind, **{"device": "cpu", "recompute_on": batches(3), **options})
        )


def test_what_was_not_measured_is_named() -> None:
    final = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 3)).eval()
    found = rewind(moved(final, 1), final, DATA, evaluation=Evaluation(device="cpu"))
    with pytest.raises(MeasureError, match="rewinding '1' to random was not measured"):
        found.at("1", "random")
