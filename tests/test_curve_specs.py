"""The bend of a curve as a network: its key, its parents, what does not fit."""

import pytest
from pydantic import ValidationError

from tests.test_specs import PRETRAINED, RI_T, network
from transferscope.specs.network import Checkpoint, Curve, NetworkSpec, Random

P_T = network(PRETRAINED)
OTHER = network(PRETRAINED, seed=2)


def test_the_key_never_changes():
    assert network(Curve(a=P_T, b=OTHER)).key == "7aea2be2ba15ecb528cdfd7c944a5f9d"
    assert network(Curve(a=P_T, b=OTHER, shape="chain"), trained=False).key == "d2ce87e31c3c9cdd31e6215e53d9c584"


def test_the_identity_names_ends_by_their_keys():
    identity = network(Curve(a=P_T, b=OTHER)).identity()
    assert identity["start"] == {"kind": "curve", "a": P_T.key, "b": OTHER.key, "shape": "bezier", "version": 1}


def test_every_choice_is_part_of_the_key():
    starts = [
        Curve(a=P_T, b=OTHER),
        Curve(a=OTHER, b=P_T),
        Curve(a=P_T, b=OTHER, shape="chain"),
        Curve(a=P_T, b=RI_T),
        Curve(a=P_T, b=OTHER.untrained()),
        Checkpoint(of=P_T),
    ]
    networks = [network(start, trained) for start in starts for trained in (True, False)]
    assert len({spec.key for spec in networks}) == len(networks)


def test_both_ends_come_before_the_bend():
    child = network(Checkpoint(of=RI_T))
    bend = network(Curve(a=child, b=P_T))
    assert bend.parents == (child, P_T)
    assert bend.ancestors == (RI_T, child, P_T)
    # Before training it is their midpoint: the ends are needed all the same.
    assert bend.untrained().parents == (child, P_T)
    assert not bend.untrained().trained


def test_json_and_back():
    bend = network(Curve(a=network(Checkpoint(of=RI_T, epoch="best")), b=P_T, shape="chain"))
    again = NetworkSpec.model_validate_json(bend.model_dump_json())
    assert again == bend
    assert again.key == bend.key


@pytest.mark.parametrize("changes", [{"classes": 3}, {"architecture": "timm:resnet34"}])
def test_ends_of_another_architecture_do_not_fit(changes):
    settings = {"architecture": "timm:resnet18", "classes": 2, "start": Random(), **changes}
    with pytest.raises(ValidationError, match="the ends of a curve and its bend are of one architecture"):
        network(Curve(a=P_T, b=NetworkSpec.model_validate(settings)))


def test_an_unknown_shape_is_refused():
    with pytest.raises(ValidationError, match="'bezier' or 'chain'"):
        Curve(a=P_T, b=OTHER, shape="spline")
