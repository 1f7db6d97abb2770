"""Losses and metrics, as literally as they are defined: one example, one pair at a time."""

import math


def cross_entropy(logits: list[float], label: int) -> float:
    largest = max(logits)
    total = sum(math.exp(value - largest) for value in logits)
    return -(logits[label] - largest - math.log(total))


def binary_cross_entropy(logits: list[float], labels: list[int]) -> float:
    total = 0.0
    for logit, label in zip(logits, labels, strict=True):
        signed = logit if label else -logit
        total += math.log1p(math.exp(-abs(signed))) + max(0.0, -signed)
    return total / len(logits)


def top_k(logits: list[list[float]], labels: list[int], k: int) -> float:
    right = 0
    for row, label in zip(logits, labels, strict=True):
        ranked = sorted(range(len(row)), key=lambda index: (-row[index], index))
        right += label in ranked[:k]
    return right / len(labels)


def auc(scores: list[float], positive: list[bool], weights: list[float] | None = None) -> float | None:
    weights = weights or [1.0] * len(scores)
    won = pairs = 0.0
    for i in range(len(scores)):
        for j in range(len(scores)):
            if positive[i] and not positive[j]:
                pair = weights[i] * weights[j]
                pairs += pair
                won += pair * (1.0 if scores[i] > scores[j] else 0.5 if scores[i] == scores[j] else 0.0)
    return won / pairs if pairs else None
