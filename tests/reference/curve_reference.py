"""Curves between networks, written out: de Casteljau's construction, and one update of a bend by autograd alone."""

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

from transferscope.frozen import derive_seed


def drawn(seed, epoch, step):
    """The position of an update."""
    return float(np.random.default_rng(derive_seed(seed, "curve", epoch, step)).random())


def on_curve(shape, a, bend, b, t):
    """θ(t): a Bézier curve as lines between points on lines, a chain piece by piece."""
    if shape == "bezier":
        first, second = (1 - t) * a + t * bend, (1 - t) * bend + t * b
        return (1 - t) * first + t * second
    if t <= 0.5:
        return a + 2 * t * (bend - a)
    return bend + (2 * t - 1) * (b - bend)


def length(shape, a, bend, b, t, pieces=4_000):
    """Sum of many chords, in double precision; the kink of a chain is the end of one."""
    at = np.unique([*np.linspace(0, t, pieces + 1), min(t, 0.5)])
    points = np.stack([on_curve(shape, a, bend, b, s) for s in at])
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


def regularised_gradient(model, first, second, shape, t, inputs, labels, decays):
    """d/dφ of loss(θ(t)) + Σ λ/2·‖θ(t)‖², the whole graph from φ on; and the loss without the decay."""
    bend = {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}
    point = {name: on_curve(shape, first[name], bend[name], second[name], t) for name in bend}
    loss = nn.functional.cross_entropy(functional_call(model, point, (inputs,)), labels)
    whole = loss + sum(decays[name] / 2 * point[name].square().sum() for name in bend)
    gradients = torch.autograd.grad(whole, list(bend.values()))
    return dict(zip(bend, gradients, strict=True)), point, loss.detach()
