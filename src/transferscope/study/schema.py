"""What a study file may hold: as a JSON schema for editors, and as a page for readers."""

import inspect
import re
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from transferscope.data.sources import known_sources
from transferscope.data.spec import Augmentation, SplitSettings
from transferscope.frozen import Frozen
from transferscope.specs.architecture import Architecture, FileWeights, PackageWeights, TimmWeights
from transferscope.specs.pretraining import Pretraining, VariantRecipe
from transferscope.specs.recipe import Recipe
from transferscope.study.analysis_settings import AnalysisSettings
from transferscope.study.candidate import Candidate
from transferscope.study.other_source import OtherSource
from transferscope.study.registry import ANALYSES, BUILT_IN, analysis_type
from transferscope.study.settings import Compute, Source, Study, Target, TrainingSettings
from transferscope.study.tracker_settings import Mlflow, TensorBoard, Wandb


def study_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a study file.

    It accepts what :func:`transferscope.study.file.load_study` accepts, short forms and every analysis with its
    settings included, and carries the meaning of each setting, which editors show beside it. It does not hold what
    concerns several settings at once (seeds that tune and report, for example).
    """
    schema = Study.model_json_schema()
    definitions = schema.setdefault("$defs", {})
    definitions.pop("AnalysisSettings", None)
    for model in _models():
        if model is Study or model.__name__ in definitions:
            _describe(schema if model is Study else definitions[model.__name__], model)
    choices: list[dict[str, Any]] = []
    for name in ANALYSES:
        kind = analysis_type(name)
        # Classes of other people's packages may be called as ours are.
        prefix = "" if name in BUILT_IN else f"{name}."
        settings = kind.model_json_schema(ref_template=f"#/$defs/{prefix}{{model}}")
        definitions.update({prefix + inner: model for inner, model in settings.pop("$defs", {}).items()})
        _describe(settings, kind)
        definitions[prefix + kind.__name__] = settings
        choices.append({"const": name, "description": kind.question})
        choices.append(
            {
                "type": "object",
                "properties": {name: {"anyOf": [{"$ref": f"#/$defs/{prefix}{kind.__name__}"}, {"type": "null"}]}},
                "required": [name],
                "additionalProperties": False,
                "description": kind.question,
            }
        )
    analyses = schema["properties"]["analyses"]
    schema["properties"]["analyses"] = {
        "title": analyses.get("title", "Analyses"),
        "description": analyses.get("description", ""),
        "type": "array",
        "items": {"anyOf": choices},
    }
    architecture = definitions["Architecture"]
    definitions["Architecture"] = {
        "description": architecture.get("description", ""),
        "anyOf": [{"type": "string"}, architecture],
    }
    weights = definitions["Source"]["properties"]["weights"]
    weights["anyOf"] = [{"type": "string"}, *weights["anyOf"]]
    trackers = schema["properties"]["trackers"]
    names = [kind.model_fields["kind"].default for kind in _TRACKERS]
    trackers["items"] = {"anyOf": [{"enum": names}, trackers["items"]]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def study_reference() -> str:
    """The reference of the study file as Markdown: every setting with its type, default and meaning.

    ``docs/study.md`` is this text; ``transferscope schema --markdown`` prints it.
    """
    parts = [_INTRODUCTION]
    for title, models in _sections().items():
        parts.append(f"## {title}\n")
        for heading, model in models:
            parts.append(_section(heading, model))
    return "\n".join(parts).rstrip() + "\n"


def setting_meanings(model: type[Frozen]) -> dict[str, str]:
    """What each setting means, from the ``Attributes`` in the docstrings of ``model`` and its bases."""
    meanings: dict[str, str] = {}
    for kind in reversed((*model.__mro__, *_SAME_MEANING.get(model, ()))):
        text = inspect.cleandoc(kind.__doc__ or "")
        _, _, section = text.partition("Attributes:\n")
        section = re.split(r"\n(?=\S)", section)[0]
        for name, meaning in re.findall(r"^    (\w+): (.*(?:\n {6,}.*)*)", section, re.MULTILINE):
            meanings[name] = " ".join(meaning.split())
    return {name: meanings[name] for name in model.setting_names() if name in meanings}


def first_line(kind: type) -> str:
    """The first line of a class's docstring."""
    return inspect.cleandoc(kind.__doc__ or "").partition("\n")[0]


_TRACKERS: tuple[type[Frozen], ...] = (Mlflow, TensorBoard, Wandb)
_SAME_MEANING: dict[type, tuple[type, ...]] = {VariantRecipe: (Recipe,)}
_PLAIN = {int: "whole number", float: "number", str: "text", bool: "true / false"}


def _sections() -> dict[str, list[tuple[str, type[Frozen]]]]:
    sources: list[tuple[str, type[Frozen]]] = [
        (f"`data: {{kind: {name}}}`", kind) for name, kind in known_sources().items()
    ]
    analyses: list[tuple[str, type[Frozen]]] = [(f"`{name}`", analysis_type(name)) for name in ANALYSES]
    return {
        "The study": [("Top level", Study)],
        "`source`: the pre-trained network": [
            ("`source`", Source),
            ("`source.architecture`", Architecture),
            ("`source.weights: {kind: package}`", PackageWeights),
            ("`source.weights: {kind: timm}`", TimmWeights),
            ("`source.weights: {kind: file}`", FileWeights),
            ("`source.pretrain`", Pretraining),
        ],
        "`target`: the task": [("`target`", Target), ("`splits`", SplitSettings)],
        "Data": sources,
        "`training`": [
            ("`training`", TrainingSettings),
            ("`recipe`", VariantRecipe),
            ("`recipe.augmentation`", Augmentation),
        ],
        "`analyses`": [
            *analyses,
            ("`control: {unrelated: ...}`", OtherSource),
            ("`start: {candidates: [...]}`", Candidate),
        ],
        "`compute`": [("`compute`", Compute)],
        "`trackers`": [(f"`{{kind: {kind.model_fields['kind'].default}}}`", kind) for kind in _TRACKERS],
    }


def _models() -> list[type[Frozen]]:
    return [model for models in _sections().values() for _, model in models]


def _describe(schema: dict[str, Any], model: type[Frozen]) -> None:
    """Puts settings in order, the meaning of each where editors look for it, and the first paragraph on top."""
    text = inspect.cleandoc(model.__doc__ or "")
    schema["description"] = " ".join(text.partition("\n\n")[0].split())
    if "properties" in schema:
        schema["properties"] = {name: schema["properties"][name] for name in model.setting_names()}
    for name, meaning in setting_meanings(model).items():
        schema["properties"][name]["description"] = meaning


def _section(heading: str, model: type[Frozen]) -> str:
    text = inspect.cleandoc(model.__doc__ or "").partition("Attributes:")[0].strip()
    lines = [f"### {heading}", ""]
    if issubclass(model, AnalysisSettings):
        lines += [f"**{model.title}.** {model.question}", ""]
    lines += [_markdown(text), ""]
    meanings = setting_meanings(model)
    rows = [
        f"| `{name}` | {_type(info)} | {_default(info)} | {_markdown(meanings.get(name, ''))} |"
        for name, info in ((name, model.model_fields[name]) for name in model.setting_names())
        if name != "kind"
    ]
    if rows:
        lines += ["| setting | value | default | meaning |", "|---|---|---|---|"]
        lines += rows
    else:
        lines.append("No settings.")
    return "\n".join([*lines, ""])


def _markdown(text: str) -> str:
    """A docstring's words as Markdown, in the words of a study file.

    >>> _markdown("``a`` of :class:`x.y.Recipe`; None takes all")
    '`a` of `Recipe`; `null` takes all'
    """
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text)
    return re.sub(r"\bNone\b", "`null`", text.replace("``", "`"))


def _type(info: FieldInfo) -> str:
    first, comma, others = _words(info.annotation).partition(", or ")
    bounds = [bound for bound in map(_bound, info.metadata) if bound]
    return " ".join([first, ", ".join(bounds)]).strip() + comma + others


def _bound(item: Any) -> str:
    for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
        value = getattr(item, name, None)
        if value is not None:
            return f"{sign} {value:g}"
    least = getattr(item, "min_length", None)
    return f"at least {least} item{'s' * (least > 1)}" if least else ""


def _words(annotation: Any) -> str:
    """A type in plain words.

    >>> _words(tuple[int, ...] | Literal["none", "all"] | None)
    'list of whole numbers, or `none`, or `all`, or `null`'
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        bounds = ", ".join(bound for bound in map(_bound, _metadata(arguments[1:])) if bound)
        return _words(arguments[0]) + (f" {bounds}" if bounds else "")
    if origin in (Union, types.UnionType):
        models = [item for item in arguments if isinstance(item, type) and issubclass(item, Frozen)]
        if len(models) > 1:
            short = "`timm`, or `package:NAME`, or a path, or " if FileWeights in models else ""
            short = "names, or " if Mlflow in models else short
            return f"{short}settings with a `kind`" + (", or `null`" if type(None) in arguments else "")
        return ", or ".join(dict.fromkeys(_words(item) for item in arguments))
    if origin is Literal:
        return ", or ".join(f"`{item}`" for item in arguments)
    if origin in (list, tuple, set, frozenset):
        if origin is tuple and Ellipsis not in arguments:
            return f"list of {len(arguments)}: {_words(arguments[0])}"
        item = _words(arguments[0])
        return f"list of {item.replace('number', 'numbers') if 'number' in item else item}"
    if origin is dict:
        return f"`name: {_words(arguments[1])}`"
    if annotation is type(None):
        return "`null`"
    if annotation is Any:
        return "any value"
    if isinstance(annotation, type) and issubclass(annotation, AnalysisSettings):
        return "names, or `name: {settings}`"
    if annotation is Architecture:
        return "name, or settings"
    if isinstance(annotation, type) and issubclass(annotation, Frozen):
        return "settings"
    return _PLAIN.get(annotation, str(annotation))


def _metadata(items: Any) -> list[Any]:
    return [part for item in items for part in (item.metadata if isinstance(item, FieldInfo) else [item])]


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, Frozen):
        return "see below"
    if value is None:
        return "`null`"
    if isinstance(value, tuple) and any(isinstance(item, AnalysisSettings) for item in value):
        value = [item.name for item in value]
    if isinstance(value, bool):
        value = str(value).lower()
    if isinstance(value, (tuple, list)):
        value = f"[{', '.join(str(item) for item in value)}]"
    return f"`{value}`"


_INTRODUCTION = """\
# The study file

A study is one YAML file. `transferscope init FOLDER` writes one for your images; this page lists every
setting. (It is made from the program itself: `transferscope schema --markdown`. For completion and checks
while you type, point your editor to the JSON schema that `transferscope schema` prints.)

```yaml
name: solar-cells
source:
  architecture: timm:tf_efficientnet_lite0
  weights: package:efficientnet-lite0
target:
  data: {kind: elpv}
  image_size: 64
training:
  recipe: {epochs: 10, batch_size: 32}
  learning_rates: [0.003, 0.01, 0.03, 0.1]
seeds: [0, 1, 2]
analyses: [learning_curves, mistakes, similarity, distance, path]
```

- **Short forms.** `architecture: NAME` stands for `architecture: {name: NAME}`. `weights: timm` stands for
  `{kind: timm}`, `weights: package:NAME` for `{kind: package, name: NAME}`, any other text is the path of a
  file. An analysis is a name, or `name: {settings}`. A tracker is a name, or settings with a `kind`.
- **Paths** start at the folder of the study file; those given with `--set` at the current folder.
- **One value from the command line:** `--set target.image_size=96`, `--set 'seeds=[0, 1]'`, `--set
  seeds.0=7`, `--set analyses.mistakes.SETTING=VALUE`. Values are YAML; all are merged before the study is
  checked.
- **Words** are those of YAML 1.2: `true` and `false` are the only truth values, `1e-4` is a number, `no` is
  text.
- **Errors** come all at once, each with its line, its setting, what was expected and what came.
"""
