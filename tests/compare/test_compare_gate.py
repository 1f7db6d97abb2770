"""``transferscope compare`` as it is called: forms of output, exit codes."""

import json
from pathlib import Path

import pytest
import torch

from tests.commands.calling import call
from tests.compare.checkpoints import adapter, decoder, moved, normal, written


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    a = decoder()
    return str(written(tmp_path / "a.safetensors", a)), str(written(tmp_path / "b|`<i>.pt", moved(a)))


def test_all_forms_show_the_same_keys_and_values(files: tuple[str, str], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    text, _ = call("compare", *files, "--html", str(page), "--quiet")
    document = json.loads(call("compare", *files, "--json", "--quiet")[0])
    markdown, _ = call("compare", *files, "--markdown", "--quiet")
    html = page.read_text()
    assert document["format"] == 1
    assert document["condition"] is None
    totals = [item for item in document["estimates"] if not item["at"]]
    assert {item["quantity"] for item in totals} >= {
        "relative_change",
        "cosine",
        "tensors_gone",
        "batch_norm_mean_drift",
    }
    for item in totals:
        shown = "not defined" if item["value"] is None else f"{item['value']:.3g}"
        for form in (text, markdown, html):
            line = next(line for line in form.splitlines() if item["quantity"] in line)
            assert shown in line
    modules = {item["at"]["module"] for item in document["estimates"] if item["at"]}
    for form in (text, markdown, html):
        assert all(name in form for name in modules)
    assert "<i>" not in markdown
    assert "<i>" not in html.replace(html[: html.index("<body>")], "")
    assert "<script" not in html
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows[:16]} == {4}


def test_exit_codes(files: tuple[str, str], tmp_path: Path) -> None:
    assert call("compare", *files, "--quiet", "--fail-if", "relative_change > 0.5")[1] == ""
    out, err = call("compare", *files, "--quiet", "--fail-if", "relative_change > 0.01", code=3)
    assert "FAILED: relative_change > 0.01 holds (relative_change = 0.09" in out
    assert "FAILED" in err
    out, _ = call("compare", *files, "--quiet", "--json", "--fail-if", "relative_change > 0.01", code=3)
    assert json.loads(out)["condition"]["holds"] is True
    out, _ = call("compare", *files, "--quiet", "--markdown", "--fail-if", "relative_change > 0.5")
    assert "**passed: relative_change > 0.5 does not hold" in out
    for condition, word in {
        "error_barrier > 0.02": "--data PATH",
        "churn > 0.01": "--data PATH",
        "chrun > 0.01": "did you mean churn",
        "__import__('os') > 1": "cannot be read",
    }.items():
        _, err = call("compare", *files, "--quiet", "--fail-if", condition, code=2)
        assert word in err
    _, err = call("compare", *files, "--no-ranks", "--fail-if", "max_module_stable_rank > 3", code=2)
    assert "--no-ranks" in err
    broken = moved(decoder())
    broken["lm_head.weight"][0, 0] = torch.nan
    path = written(tmp_path / "broken.pt", broken)
    out, err = call("compare", files[0], str(path), "--quiet", "--fail-if", "relative_change > 0.5", code=1)
    assert "cannot be judged" in err
    assert "not_finite" in out
    assert call("compare", files[0], str(path), "--quiet", "--fail-if", "not_finite > 0", code=3)
    _, err = call("compare", files[0], str(tmp_path / "none.pt"), code=2)
    assert "does not exist" in err


def test_options_that_do_not_go_together(files: tuple[str, str]) -> None:
    _, err = call("compare", *files, "--json", "--markdown", code=2)
    assert "two forms of one output" in err
    for option in (["--model", "timm:resnet18"], ["--fast"], ["--image-size", "32"], ["--old-head", files[0]]):
        _, err = call("compare", *files, *option, code=2)
        assert option[0] in err
        assert "--data" in err


def test_an_adapter_from_the_command_line(tmp_path: Path) -> None:
    base = written(tmp_path / "base.safetensors", decoder())
    lora = adapter(tmp_path / "lora", {"lm_head": (normal(2, 24), normal(50, 2))}, r=2, lora_alpha=4)
    out, _ = call("compare", str(base), str(lora), "--quiet")
    assert "b is an adapter, not merged" in out
    assert "lm_head" in out
