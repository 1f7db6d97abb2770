"""One offline page of a look, on the theme and the mechanisms of the report."""

from typing import Any, Final

from transferscope.look.result import Look
from transferscope.plots.export import inline_svg
from transferscope.plots.label_curve import label_curve
from transferscope.plots.theme import OTHERS, colour, metric_name, themed
from transferscope.report.gallery import galleries
from transferscope.report.look_words import (
    FEATURES,
    conflict_lines,
    data_rows,
    model_words,
    number_rows,
    preparation_rows,
    preprocessing_rows,
    sentences,
    step_words,
)
from transferscope.report.numbers import metric_words, value_words
from transferscope.report.render import document

__all__ = ["look_page"]

_COLOURS: Final = {"pretrained": colour("P"), "random": colour("RI"), "pixels": OTHERS[3]}
_LISTED: Final = 40
_OPEN_CLASSES: Final = 12


def look_page(found: Look) -> str:
    """The look as one HTML document that needs no network and no other file; names are escaped by the template."""
    pictures = {}
    for name in ("duplicates", "suspects", "confusions"):
        file = f"{name}.gallery.json"
        files = {key: data for key, data in found.files.items() if key == file or key.endswith(".jpg")}
        pictures[name] = galleries("look", files)[0] if file in files else None
    figures = [
        (
            figure,
            [inline_svg(themed(panel, legend=False), f"labels-{place}") for place, panel in enumerate(figure.panels)],
        )
        for figure in label_curve(found.curve(), found.metric, _COLOURS, FEATURES)
    ]
    data, worth, ahead = sentences(found)
    return document(
        "look.html.j2",
        found=found,
        data=data,
        worth=worth,
        ahead=ahead,
        steps=[step_words(step) for step in found.steps],
        classes=_classes(found),
        open_classes=_OPEN_CLASSES,
        facts=data_rows(found),
        conflicts=conflict_lines(found),
        listed=_LISTED,
        pictures=pictures,
        board=_board(found),
        metric=metric_name(found.metric),
        figures=figures,
        confused=_confused(found),
        models=[(model_words(model), preparation_rows(model)) for model in found.models],
        costs=preprocessing_rows(found),
        numbers=number_rows(found),
    )


def _classes(found: Look) -> dict[str, Any]:
    splits = [
        split
        for split in ("train", "validation", "test")
        if any(found.find("class_images", label=name, split=split) for name in found.classes)
    ]
    largest = max((found.value("class_images", label=name) for name in found.classes), default=1.0)
    rows = []
    for name in found.classes:
        total = found.value("class_images", label=name)
        parts = [value_words(int(found.value("class_images", label=name, split=split))) for split in splits]
        rows.append((name, value_words(int(total)), parts, round(total / max(largest, 1.0), 4)))
    return {"splits": splits, "rows": rows}


def _board(found: Look) -> dict[str, Any]:
    items = [item for item in found.all("probe") if item.at["method"] == "linear"]
    models = {str(item.at["model"]) for item in items}
    # Pixels are the same for every network.
    shown = {
        (item.at["features"] if item.at["features"] == "pixels" else tuple(item.at.values())): item for item in items
    }
    ends = [end for item in items for end in (item.value, item.low, item.high) if end is not None]
    low = max(0.0, int((min(ends, default=0.0) - 0.02) * 10) / 10)
    width = max(min(1.0, -int(-(max(ends, default=1.0) + 0.02) * 10 // 1) / 10) - low, 0.1)

    def place(value: float | None) -> float | None:
        return None if value is None else round(100 * min(1.0, max(0.0, (value - low) / width)), 2)

    lines = []
    for item in shown.values():
        model, features = str(item.at["model"]), str(item.at["features"])
        near = found.find("probe", model=model, features=features, method="knn")
        has = item.low is not None and item.high is not None
        ours = features != "pixels" and len(models) > 1
        lines.append(
            {
                "name": model if ours else FEATURES[features],
                "meaning": FEATURES[features] if ours else "",
                "colour": _COLOURS[features],
                "value": metric_words(item.value, found.metric),
                "interval": f"{metric_words(item.low, found.metric)} to {metric_words(item.high, found.metric)}"
                if has
                else "",
                "basis": f"95 %, {value_words(item.n)} images",
                "note": f"10 nearest neighbours: {metric_words(near.value, found.metric)}" if near else "",
                "at": place(item.value),
                "from": place(item.low) if has else None,
                "to": place(item.high) if has else None,
            }
        )
    ticks = [metric_words(value, found.metric) for value in (low, low + width / 2, low + width)]
    return {"lines": lines, "scale": ticks}


def _confused(found: Look) -> list[tuple[str, str, str, str]]:
    return [
        (
            pair.label,
            pair.rival,
            value_words(pair.count),
            metric_words(found.value("confused_share", label=pair.label, rival=pair.rival), "top1"),
        )
        for pair in found.confusions
    ]
