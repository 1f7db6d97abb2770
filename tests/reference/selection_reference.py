"""Regrets of decision rules on a table of accuracies, by listing every case."""

import itertools
import statistics


def mean_rank_order(others):
    models = range(len(others[0]))

    def rank(row, model):
        better = sum(value > row[model] for value in row)
        equal = sum(value == row[model] for value in row)
        return better + (equal + 1) / 2

    def key(model):
        column = [row[model] for row in others]
        return statistics.fmean(rank(row, model) for row in others), -statistics.fmean(column), model

    return sorted(models, key=key)


def regret(accuracies, order, k):
    return max(accuracies) - max(accuracies[model] for model in order[:k])


def random_regrets(accuracies, k):
    """The regret of every choice of k models."""
    return [max(accuracies) - max(chosen) for chosen in itertools.combinations(accuracies, k)]


def left_out(table, order_of, k):
    """The regret on each target of a rule that sees the others."""
    found = []
    for place, accuracies in enumerate(table):
        others = [row for other, row in enumerate(table) if other != place]
        found.append(regret(accuracies, order_of(others), k))
    return found


def promise(table, place, order_of, k, probability=0.9):
    """Mean and limit of the regrets on the other targets, each ranked without itself."""
    others = [row for other, row in enumerate(table) if other != place]
    regrets = sorted(left_out(others, order_of, k))
    limits = [value for count, value in enumerate(regrets, 1) if count / (len(regrets) + 1) >= probability - 1e-12]
    return statistics.fmean(regrets), limits[0] if limits else None
