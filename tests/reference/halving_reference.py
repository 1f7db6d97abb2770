"""Successive halving written out: every rung as a list that is sorted and cut by hand."""

import math


def search(arms, rungs, factor, scores):
    """Trainings by rung, what was dropped after which rung and why, and who is left, best first.

    ``scores[arm][rung]`` is (metric, standard error, loss, diverged).
    """
    trained, dropped = {}, {}
    alive = list(arms)
    table = []
    for position in range(len(rungs)):
        rung = rungs[position]
        trained[rung] = sorted(alive)
        table = []
        for arm in alive:
            metric, error, loss, diverged = scores[arm][rung]
            if diverged or (metric is None and loss is None):
                dropped[arm] = (rung, "diverged")
            else:
                worse = math.inf if metric is None else -metric
                table.append((worse, math.inf if loss is None else loss, arm, error))
        table.sort()
        if position == len(rungs) - 1:
            break
        going_on = []
        places = len(alive) // factor
        if (position == 0 and len(alive) % factor > 0) or places == 0:
            places += 1
        for worse, loss, arm, error in table:
            if position > 0 and not math.isinf(worse) and not math.isinf(table[0][0]):
                earlier = scores[arm][rungs[position - 1]][0]
                if earlier is not None:
                    gain = -worse - earlier if -worse > earlier else 0.0
                    if -worse + gain + error < -table[0][0] - table[0][3]:
                        dropped[arm] = (rung, "behind")
                        continue
            going_on.append((worse, loss, arm, error))
        for _, _, arm, _ in going_on[places:]:
            dropped[arm] = (rung, "no_place")
        table = going_on[:places]
        alive = [arm for _, _, arm, _ in table]
        if len(alive) < 2:
            break
    return trained, dropped, [arm for _, _, arm, _ in table]
