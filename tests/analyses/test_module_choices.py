"""What a fine-tuned network can do without: against literal changes, and on networks whose answer is known."""

import copy
import math

import pytest
import torch
from torch import nn

from tests.analyses.test_landscape_focus import batches, network
from tests.analyses.test_module_criticality import moved
from tests.reference.rewind_reference import rewound_outputs
from tests.studies import tiny_network
from transferscope.errors import MeasureError
from transferscope.measures.families import bonferroni_confidence
from transferscope.measures.metrics import metric
from transferscope.methods.evaluation import Evaluation
from transferscope.methods.modules.choices import ChoiceData, module_choices
from transferscope.networks.modules import parts_parameters
from transferscope.plots.export import svg
from transferscope.plots.module_choices import figure

VALIDATION, TEST, TRAIN = batches(1, (40,)), batches(2, (40, 30)), batches(3, (20, 20))


def tiny(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return tiny_network(3).eval()


def accuracy(final: nn.Module, donor: nn.Module, names: list[str], loader: list) -> float:
    outputs = rewound_outputs(final, donor, names, loader, TRAIN)
    return metric(outputs, torch.cat([labels for _, labels in loader]), "top1")


def emptied(final: nn.Module) -> nn.Module:
    other = copy.deepcopy(final)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    return other


def test_losses_are_those_of_networks_changed_by_hand() -> None:
    final = tiny()
    initial = moved(final, 1)
    before = {name: value.clone() for name, value in final.state_dict().items()}
    found = module_choices(
        initial,
        final,
        ChoiceData(VALIDATION, TEST),
        evaluation=Evaluation(recompute_on=TRAIN, device="cpu"),
        head="head",
    )
    parts = parts_parameters(final, "block", "head")
    assert [item.name for item in found.modules] == list(parts)
    own = {"validation": accuracy(final, final, [], VALIDATION), "test": accuracy(final, final, [], TEST)}
    assert found.metric == pytest.approx(own["test"])
    for item in found.modules:
        for donor, change in ((initial, item.reset), (emptied(final), item.zero)):
            names = parts[item.name]
            assert change.validation == pytest.approx(
                own["validation"] - accuracy(final, donor, names, VALIDATION), abs=1e-6
            )
            loss = change.test.loss
            assert loss.value == pytest.approx(own["test"] - accuracy(final, donor, names, TEST), abs=1e-6)
            assert loss.confidence == bonferroni_confidence(len(parts), 0.90)
            assert change.test.verdict == ("kept" if loss.high < 0.005 else "lost" if loss.low > 0.005 else "undecided")
        live, start = dict(final.named_parameters()), dict(initial.named_parameters())
        apart = math.sqrt(sum(float((live[n] - start[n]).detach().double().square().sum()) for n in parts[item.name]))
        norm = math.sqrt(sum(float(start[n].detach().double().square().sum()) for n in parts[item.name]))
        assert item.distance == pytest.approx(apart, rel=1e-5)
        assert item.relative == pytest.approx(apart / norm, rel=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in final.state_dict().items())


def test_lists_are_chosen_on_validation_examples_alone() -> None:
    final = tiny()
    initial = moved(final, 1)
    found = module_choices(
        initial,
        final,
        ChoiceData(VALIDATION, TEST),
        evaluation=Evaluation(recompute_on=TRAIN, device="cpu"),
        head="head",
        margin=0.2,
    )
    again = module_choices(
        initial,
        final,
        ChoiceData(VALIDATION, batches(9, (30,))),
        evaluation=Evaluation(recompute_on=TRAIN, device="cpu"),
        head="head",
        margin=0.2,
    )
    assert (found.reset.names, found.zero.names) == (again.reset.names, again.zero.names)
    assert len(found.reset.names) > 1
    parts = parts_parameters(final, "block", "head")
    changed = [name for module in found.reset.names for name in parts[module]]
    assert found.reset.change.validation <= 0.2
    assert found.reset.change.test.loss.value == pytest.approx(
        found.metric - accuracy(final, initial, changed, TEST), abs=1e-6
    )
    assert found.reset.parameters == sum(dict(final.named_parameters())[name].numel() for name in changed)


@pytest.mark.slow
def test_what_never_moved_can_go_back_and_what_adds_nothing_can_go() -> None:
    final = network("resnet", 0)
    initial = moved(final, 1, scale=3.0)
    initial.layer1.load_state_dict(final.layer1.state_dict())
    with torch.no_grad():  # the last batch norm of a residual branch at 0: the branch adds nothing
        for network_ in (initial, final):
            network_.layer2[1].bn2.weight.zero_()
            network_.layer2[1].bn2.bias.zero_()
    found = module_choices(
        initial, final, ChoiceData(VALIDATION, TEST), evaluation=Evaluation(recompute_on=TRAIN, device="cpu"), head="fc"
    )
    still = next(item for item in found.modules if item.name == "layer1.0")
    assert still.reset.unchanged
    assert (still.reset.test.loss.low, still.reset.test.loss.high, still.reset.test.verdict) == (0.0, 0.0, "kept")
    assert still.mu == 0
    assert "layer1.0" in found.reset.names
    idle = next(item for item in found.modules if item.name == "layer2.1")
    assert (idle.zero.test.loss.value, idle.zero.validation) == (0, 0)
    assert "layer2.1" in found.zero.names
    assert "has this value" in found.text


def test_a_new_head_is_left_out() -> None:
    final = tiny()
    found = module_choices(
        moved(final, 1),
        final,
        ChoiceData(VALIDATION, TEST),
        evaluation=Evaluation(recompute_on=TRAIN, device="cpu"),
        new_head="head",
    )
    assert "head" not in [item.name for item in found.modules]
    assert found.parameters == sum(parameter.numel() for parameter in final.parameters())


def test_the_page_and_the_picture_hold_every_module() -> None:
    final = tiny()
    found = module_choices(
        moved(final, 1),
        final,
        ChoiceData(VALIDATION, TEST),
        evaluation=Evaluation(recompute_on=TRAIN, device="cpu"),
        head="head",
    )
    drawn = svg(figure(found.table, found.metric_name, found.margin).chart())
    for item in found.modules:
        assert f"\n{item.name} " in found.text
        assert f">{item.name}<" in drawn
    assert "70 test examples; top1" in str(found)
    assert "chosen on 40 validation examples" in found.text
    assert found.table.height == 2 * len(found.modules)
    counted = found.table.filter((found.table["change"] == "reset") & (found.table["verdict"] == "kept"))
    told = figure(found.table, "top1", found.margin).description
    assert all(name in told for name in counted["module"])


def test_bad_input_is_named() -> None:
    final = tiny()
    with pytest.raises(MeasureError, match="the margin must be positive"):
        module_choices(
            final,
            final,
            ChoiceData(VALIDATION, TEST),
            evaluation=Evaluation(recompute_on=TRAIN, device="cpu"),
            margin=0.0,
        )
    with pytest.raises(MeasureError, match="no module besides its head"):
        module_choices(
            nn.Sequential(nn.Linear(2, 3)),
            nn.Sequential(nn.Linear(2, 3)),
            ChoiceData(VALIDATION, TEST),
            evaluation=Evaluation(recompute_on=TRAIN, device="cpu"),
            new_head="0",
        )
    torch.manual_seed(0)
    two = tiny_network(2).eval()
    both = [(images, labels % 2) for images, labels in TRAIN]
    one_class = [(torch.zeros(4, 3, 32, 32), torch.zeros(4, dtype=torch.int64))]
    with pytest.raises(MeasureError, match="the metric is not defined on these examples"):
        module_choices(
            moved(two, 1),
            two,
            ChoiceData(one_class, both),
            evaluation=Evaluation(recompute_on=both, metric="auc", device="cpu"),
        )
