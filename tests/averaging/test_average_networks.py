"""Whether networks can be averaged: decided on validation examples, whatever their order."""

import itertools
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from tests.averaging.networks import CLASSES, DATA, TRAIN, batches, evaluation, network, permuted, rescaled, trained
from transferscope.errors import ArchitectureError, MeasureError
from transferscope.methods.averaging.advice import AverageData, AverageStart, average_checkpoints, average_networks
from transferscope.methods.averaging.advice_result import AverageAdvice
from transferscope.methods.averaging.soups import best_single, greedy_soup
from transferscope.methods.averaging.space import AveragingSpace, rank_of
from transferscope.methods.evaluation import Evaluation

BASE = 100
FEW = AverageData(batches(600, 900), batches(1600, 1900))


def siblings(*seeds: int, norm: bool = False) -> list[nn.Module]:
    return [trained(seed, BASE, norm) for seed in seeds]


def states_equal(one: nn.Module, two: nn.Module) -> bool:
    first, second = one.state_dict(), two.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("count", [2, 3])
def test_the_soup_of_one_network_is_the_network_to_the_bit(count: int) -> None:
    one = trained(1)
    found = average_networks([deepcopy(one) for _ in range(count)], FEW, evaluation(), methods=["uniform"])
    assert found.sentence == "yes"
    assert found.chosen is not None
    assert found.chosen.gain.value == found.chosen.proof.value == 0
    assert states_equal(found.network, one)


def test_with_batch_norm_it_is_the_network_with_its_statistics_estimated_anew() -> None:
    one = trained(1, norm=True)
    found = average_networks([one, deepcopy(one)], FEW, evaluation(), methods=["uniform"], margin=0.05)
    assert found.needs == ("re-estimation",)
    parameters = dict(one.named_parameters())
    assert all(torch.equal(tensor, parameters[name]) for name, tensor in found.network.named_parameters())
    assert not torch.equal(found.network[1].running_mean, one[1].running_mean)
    assert found.network[1].num_batches_tracked == len(TRAIN)


def literal_uniform(networks: list[nn.Module]) -> nn.Module:
    made = deepcopy(networks[0])
    with torch.no_grad():
        for name, tensor in made.named_parameters():
            tensor.copy_(sum(dict(of.named_parameters())[name].double() for of in networks) / len(networks))
    return made


def accuracy(model: nn.Module, data: list) -> float:
    right = [(model(inputs).argmax(1) == labels) for inputs, labels in data]
    return float(torch.cat(right).double().mean())


def literal_greedy(networks: list[nn.Module], data: list) -> tuple[int, ...]:
    """Recipe 1 of Wortsman et al., ties by loss, written out."""

    def score(model: nn.Module) -> tuple[float, float]:
        loss = sum(nn.functional.cross_entropy(model(x), y, reduction="sum") for x, y in data)
        return accuracy(model, data), -float(loss)

    with torch.no_grad():
        order = sorted(range(len(networks)), key=lambda place: score(networks[place]), reverse=True)
        soup, best = [order[0]], score(networks[order[0]])
        for place in order[1:]:
            tried = score(literal_uniform([networks[item] for item in (*soup, place)]))
            if tried > best:
                soup, best = [*soup, place], tried
    return tuple(sorted(soup))


def test_uniform_and_greedy_soups_are_the_literal_ones() -> None:
    networks = siblings(1, 2, 3, 4)
    space = AveragingSpace(networks, {"validation": DATA.validation}, evaluation())
    singles = [space.single(place) for place in range(4)]
    order = best_single(space, singles, "validation")
    greedy = greedy_soup(space, order, singles[order[0]], "validation")
    wanted = literal_greedy(networks, DATA.validation)
    assert (order[0],) if greedy is None else greedy.members == wanted
    assert len(wanted) > 1  # else nothing was shown
    assert rank_of(greedy.scores["validation"]) < rank_of(singles[order[0]]["validation"])
    found = average_networks(networks, DATA, evaluation(), methods=["uniform"], force=True)
    literal = literal_uniform(networks)
    for name, tensor in found.network.named_parameters():
        torch.testing.assert_close(tensor, dict(literal.named_parameters())[name], atol=1e-7, rtol=1e-6)
    assert found.made.average.scores["test"].metric == pytest.approx(accuracy(literal, DATA.test), abs=2e-3)


@pytest.mark.parametrize("seeds", [(1, 2, 3), (4, 5, 6, 7), (8, 1)])
@pytest.mark.parametrize("norm", [False, True])
def test_a_greedy_soup_is_never_below_its_best_member_where_it_is_made(seeds: tuple[int, ...], norm: bool) -> None:
    networks = siblings(*seeds, norm=norm)
    space = AveragingSpace(networks, {"validation": FEW.validation}, evaluation())
    singles = [space.single(place) for place in range(len(space))]
    order = best_single(space, singles, "validation")
    found = greedy_soup(space, order, singles[order[0]], "validation")
    if found is not None:
        assert rank_of(found.scores["validation"]) < rank_of(singles[order[0]]["validation"])
        assert found.scores["validation"].metric >= max(of["validation"].metric for of in singles)


@pytest.mark.parametrize("norm", [False, True])
def test_the_order_of_the_networks_makes_no_difference(norm: bool) -> None:
    networks = [*siblings(1, 2, norm=norm), permuted(trained(3, BASE, norm))]
    found = [
        average_networks(
            [networks[place] for place in order], FEW, evaluation(), start=AverageStart(trained(BASE, norm=norm)),
            names=[str(place) for place in order], margin=0.3,
        )
        for order in list(itertools.permutations(range(3)))[:6:2]
    ]  # fmt: skip
    first = found[0]
    for other in found[1:]:
        assert (other.answer, other.reason, other.needs, other.looked_at) == (
            first.answer, first.reason, first.needs, first.looked_at,
        )  # fmt: skip
        assert other.members[other.best].name == first.members[first.best].name
        assert other.chosen.average.method == first.chosen.average.method
        assert states_equal(other.network, first.network)


def test_ties_go_by_loss_then_by_content() -> None:
    one = trained(1)
    colder = deepcopy(one)  # the same answers, more sure of them
    with torch.no_grad():
        colder[5].weight.mul_(1.2)
        colder[5].bias.mul_(1.2)
    for networks in ([one, colder, deepcopy(one)], [colder, deepcopy(one), one]):
        space = AveragingSpace(networks, {"validation": FEW.validation}, evaluation())
        singles = [space.single(place) for place in range(3)]
        assert len({of["validation"].metric for of in singles}) == 1
        order = best_single(space, singles, "validation")
        losses = [singles[place]["validation"].loss for place in order]
        assert losses == sorted(losses)
    pair = [nn.Sequential(nn.Linear(6, 3)), nn.Sequential(nn.Linear(6, 3))]
    with torch.no_grad():  # one function, other bits: a negative zero
        for model, zero in zip(pair, (0.0, -0.0), strict=True):
            model[0].weight.fill_(zero)
            model[0].bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
    firsts = []
    for networks in (pair, pair[::-1]):
        space = AveragingSpace(networks, {"validation": FEW.validation}, evaluation())
        singles = [space.single(place) for place in range(2)]
        firsts.append(space.hashes[best_single(space, singles, "validation")[0]])
    assert firsts[0] == firsts[1]


def factored(model: nn.Sequential, factor: float) -> nn.Sequential:
    """The same function: what enters batch norm is made in two steps, one larger by a factor, the other smaller."""
    first, second = nn.Linear(6, 6), nn.Linear(6, 16)
    rest = deepcopy(model)[1:]
    with torch.no_grad():
        first.weight.copy_(factor * torch.eye(6))
        first.bias.fill_(20 * factor)
        second.weight.copy_(model[0].weight / factor)
        second.bias.zero_()
        rest[0].running_mean += model[0].weight.sum(dim=1) * 20 - model[0].bias
    return nn.Sequential(first, second, *rest).eval()


def test_averaged_statistics_are_at_chance_where_estimated_ones_are_not() -> None:
    one = trained(1, norm=True)
    networks = [factored(one, 10.0), factored(one, 0.1)]
    alone = accuracy(one, DATA.test)
    assert [accuracy(model, DATA.test) for model in networks] == pytest.approx([alone] * 2, abs=0.005)
    made = {}
    for policy in ("interpolate", "recompute"):
        found = average_networks(networks, DATA, evaluation(batch_norm=policy), methods=["uniform"], force=True)
        made[policy] = found.made.average.scores["test"].metric
        assert found.batch_norm == policy
    chance = max(float((torch.cat([labels for _, labels in DATA.test]) == k).double().mean()) for k in range(CLASSES))
    assert made["interpolate"] < chance + 0.05
    assert made["recompute"] > alone - 0.02
    assert found.needs == ("re-estimation",)


def test_a_permuted_copy_is_averaged_after_alignment() -> None:
    one = trained(1)
    found = average_networks([one, permuted(one)], DATA, evaluation(), methods=["uniform"], margin=0.02)
    assert (found.answer, found.needs, found.sentence) == ("yes", ("alignment",), "yes after alignment")
    (way,) = [member.correspondence for member in found.members if member.correspondence is not None]
    assert (way.verdict, way.aligned_verdict, way.aligned) == ("unstable", "stable", True)
    assert found.chosen.average.scores["test"].metric == pytest.approx(accuracy(one, DATA.test), abs=0.002)
    best = {False: one, True: permuted(one)}[found.best == 1]
    for name, tensor in found.network.named_parameters():
        torch.testing.assert_close(tensor, dict(best.named_parameters())[name], atol=1e-5, rtol=1e-4)
    with_norm = trained(1, norm=True)
    found = average_networks([with_norm, permuted(with_norm)], DATA, evaluation(), methods=["uniform"], margin=0.1)
    assert found.needs == ("alignment", "re-estimation")
    assert found.sentence == "yes after alignment and re-estimation"


APART = [trained(6), trained(7), rescaled(trained(6))]


def test_networks_that_are_really_apart_are_refused_with_the_modules_that_block() -> None:
    found = average_networks(APART, DATA, evaluation(), names=["x", "y", "z"], head="5", force=True)
    assert (found.answer, found.reason, found.chosen) == ("no", "barrier", None)
    assert set(found.blocking) <= {"0", "3", "5"}
    assert found.blocking
    assert found.sentence.startswith("no: these modules block it: ")
    for member in found.members:
        if member.correspondence is not None:
            heights = [module.barrier.value for module in member.correspondence.modules]
            assert heights == sorted(heights, reverse=True)
    assert found.looked_at == 0
    assert found.forced.average.method == "uniform"
    assert found.forced.average.members == (0, 1, 2)
    assert isinstance(found.network, nn.Module)
    assert average_networks(APART[:2], DATA, evaluation()).network is None


def test_one_behind_a_barrier_is_left_out() -> None:
    found = average_networks([*siblings(1, 2), rescaled(trained(1, BASE))], DATA, evaluation(), methods=["uniform"])
    (candidate,) = found.candidates
    assert found.best in (0, 1, 2)
    kept = {
        member.name for member in found.members if member.correspondence is None or not member.correspondence.blocked
    }
    assert {str(place) for place in candidate.average.members} == kept
    assert len(kept) == 2


def test_no_decision_when_test_labels_are_permuted() -> None:
    mixed = [(inputs, labels.flip(0)) for inputs, labels in DATA.test]
    for networks in (siblings(1, 2, 3), APART, [trained(1), permuted(trained(1))]):
        one, two = (
            average_networks(networks, replace(DATA, test=test), evaluation(), margin=0.02)
            for test in (DATA.test, mixed)
        )
        assert one.answer == two.answer
        assert one.reason == two.reason
        assert one.best == two.best
        assert [item.average.shares for item in one.candidates] == [item.average.shares for item in two.candidates]
        assert one.ensemble["test"].metric != two.ensemble["test"].metric


def test_towards_the_start_and_model_stock() -> None:
    start, tuned = trained(BASE), trained(1, BASE)
    found = average_networks([tuned], DATA, evaluation(), methods=["wise"], start=AverageStart(start), force=True)
    made = found.made.average
    (share,) = made.shares
    assert made.start_share == pytest.approx(1 - share)
    for name, tensor in found.network.named_parameters():
        between = (1 - share) * dict(start.named_parameters())[name] + share * dict(tuned.named_parameters())[name]
        torch.testing.assert_close(tensor, between)
    found = average_networks(
        siblings(1, 2), DATA, evaluation(), start=AverageStart(start, new_head="5"), methods=["stock"], force=True
    )
    heads = [dict(of.named_parameters())["5.weight"] for of in siblings(1, 2)]
    torch.testing.assert_close(found.network[5].weight, (heads[0] + heads[1]) / 2)
    assert 0 < found.made.average.start_share < 1
    both = average_networks(siblings(1, 2), FEW, evaluation(), start=AverageStart(start, new_head="5"))
    assert set(both.not_tried) == {"wise"}
    assert {item.average.method for item in both.candidates} >= {"uniform", "stock"}


def test_along_a_run_the_last_and_the_moving_average() -> None:
    run = [trained(BASE), trained(1, BASE), trained(2, BASE)]
    found = average_checkpoints(run, DATA, evaluation(), decays=(0.5,))
    by_method = {item.average.method: item.average for item in found.candidates}
    assert by_method["ema"].shares == (0.25, 0.25, 0.5)
    assert by_method["last"].shares in ((0.0, 0.5, 0.5), (1 / 3, 1 / 3, 1 / 3))
    assert found.looked_at == 3


def with_buffer(name: str, value: torch.Tensor, seed: int) -> nn.Module:
    class Adds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer(name, value)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs + getattr(self, name)

    torch.manual_seed(seed)
    return nn.Sequential(Adds(), nn.Linear(6, CLASSES)).eval()


def test_networks_that_do_not_correspond_are_refused_by_name() -> None:
    narrow = nn.Sequential(*list(network())[:5], nn.Linear(16, 2)).eval()
    with pytest.raises(MeasureError, match="'b' does not correspond to 'a'") as error:
        average_networks([trained(1), narrow], FEW, evaluation(), names=["a", "b"])
    assert "5" in error.value.got
    named = nn.Sequential()
    named.add_module("first", nn.Linear(6, CLASSES))
    with pytest.raises(MeasureError, match="does not correspond"):
        average_networks([trained(1), named], FEW, evaluation())
    pruned = [deepcopy(trained(seed)) for seed in (1, 2)]
    for model, amount in zip(pruned, (0.2, 0.5), strict=True):
        prune.l1_unstructured(model[0], "weight", amount=amount)
    with pytest.raises(MeasureError, match="does not correspond") as error:
        average_networks(pruned, FEW, evaluation())
    assert "0.weight_mask" in error.value.got
    with pytest.raises(MeasureError, match="the start does not correspond"):
        average_networks(siblings(1, 2), FEW, evaluation(), start=AverageStart(narrow))


def test_buffers_that_cannot_be_averaged_are_refused_by_name() -> None:
    for one, two in ((torch.tensor([1.0] * 6), torch.tensor([2.0] * 6)), (torch.arange(6), torch.arange(6) + 1)):
        with pytest.raises(ArchitectureError, match="shift"):
            average_networks([with_buffer("shift", one, 0), with_buffer("shift", two, 1)], FEW, evaluation())
    equal = [with_buffer("shift", torch.arange(6), seed) for seed in (0, 1)]
    found = average_networks(equal, FEW, evaluation(), methods=["uniform"], force=True)
    assert found.network[0].shift.tolist() == list(range(6))
    assert found.network[0].shift.dtype == torch.int64


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"methods": ["stock"]}, "cannot be used here"),
        ({"methods": ["wise"], "start": AverageStart(trained(BASE), new_head="5")}, "cannot be used here"),
        ({"methods": ["last"]}, "no way to average"),
        ({"methods": ["mean"]}, "cannot take this as methods"),
        ({"names": ["a"]}, "needs a name"),
    ],
)
def test_methods_that_do_not_apply(options: dict, said: str) -> None:
    with pytest.raises((MeasureError, TypeError, ValueError), match=said):
        average_networks(siblings(1, 2), FEW, evaluation(), **options)


def test_too_few_networks_an_undefined_metric_and_kept_statistics() -> None:
    with pytest.raises(MeasureError, match="nothing to average"):
        average_networks([trained(1)], FEW, evaluation())
    with pytest.raises(MeasureError, match="nothing to average"):
        average_networks([], FEW, evaluation())
    one_class = [(inputs, labels * 0) for inputs, labels in FEW.validation]
    with pytest.raises(MeasureError):
        average_networks(siblings(1, 2), replace(FEW, validation=one_class), evaluation(metric="auc"))
    with pytest.raises(MeasureError, match="depend on the order"):
        average_networks(siblings(1, 2), FEW, evaluation(batch_norm="none"))
    with pytest.raises(MeasureError, match="nothing to recompute"):
        average_networks(siblings(1, 2, norm=True), FEW, Evaluation(device="cpu"))


def test_the_page_says_what_was_found(approved) -> None:
    pages: list[AverageAdvice] = [
        average_networks(siblings(1, 2), DATA, evaluation(), names=["a", "b"], start=AverageStart(trained(BASE))),
        average_networks(APART[:2], DATA, evaluation(), names=["a", "b"]),
        average_networks([trained(1), permuted(trained(1))], DATA, evaluation(), names=["a", "b"], margin=0.02),
    ]
    approved("\n\n".join(str(found) for found in pages))
