"""Every command line that the product prints or its documents show is one that the real command line takes."""

from __future__ import annotations

import html
import re
import shlex
from pathlib import Path
from typing import Any, get_args

import pytest
import typer.main
from roof_problems import done, toy

from networks import checkpoint
from submodel.cli.app import app
from submodel.cli.commands import demo

ROOT = Path(__file__).parents[1]
GROUP: Any = typer.main.get_command(app)
OPERATOR = {
    "model": 'model = "operator"',
    "variant": "",
    "batch_size": "size = {frequencies = 16, width = 16, rank = 4}",
    "fields": "",
    "validation": "",
}


def parse(line: str) -> tuple[str, dict[str, Any]]:
    """Name and values of a command line, as the real parser reads them."""
    words = shlex.split(line)
    words = words[words.index("submodel") + 1 :]
    command = GROUP.commands[words[0]]
    return words[0], command.make_context(words[0], words[1:]).params


def lines_of(text: str) -> list[str]:
    """The command lines of code blocks and of code in tables."""
    joined = re.sub(r"\\\n\s*", " ", text)
    blocks = re.findall(r"^    (?:\./run )?((?:mpirun|torchrun|submodel) .*)$", joined, re.M)
    return [
        line
        for line in blocks + re.findall(r"`\./run ([^`]+)`", joined)
        if "submodel " in line and "submodel dataset, " not in line and "submodel shard, " not in line
    ]


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in ROOT.glob("docs/*.md"))])
def test_the_commands_of_a_page_are_right(page: str) -> None:
    lines = lines_of((ROOT / page).read_text())
    assert lines or page != "README.md"
    for line in lines:
        parse(line.partition(" #")[0].replace("--seed S", "--seed 1"))


def test_the_examples_of_the_help_are_right() -> None:
    for name, command in GROUP.commands.items():
        example = " ".join(command.epilog.split()).removeprefix("Example: ")
        assert parse(re.split(r"\.(?= |$)", example)[0])[0] == name


def test_the_commands_of_the_demonstration_are_right(tmp_path: Path) -> None:
    plans = {kind: demo.steps(kind, tmp_path / "a.toml", tmp_path) for kind in get_args(demo.Kind)}
    lines = {kind: [shlex.join(command) for _, command in plan] for kind, plan in plans.items()}
    assert lines["plate"].pop(0).startswith("python3 ")
    names = {kind: [parse(line)[0] for line in each] for kind, each in lines.items()}
    assert names["plate"] == ["build", "zoom", "generate", "validate"]
    assert names["paper"] == ["generate", "train", "compress", "zoom", "generate", "validate"]


def reproduced(page: Path) -> list[str]:
    """Command lines of a report."""
    (block,) = re.findall(r"<pre>(.*?)</pre>", page.read_text(), re.S)
    folder, *lines = html.unescape(block).strip().splitlines()
    assert folder == "mkdir -p again"
    return lines


def test_a_report_leads_to_the_same_generator_and_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    toy(Path(), **OPERATOR, seed="seed = 5")
    done("generate", "toy.toml", "-o", "toy.h5", "--train", 0, "--test", 1)
    done("generate", "toy.toml", "-o", "responses.h5", "--reciprocal", "--train", 12)
    done("train", "toy.toml", "--dataset", "responses.h5", "-o", "toy.safetensors", "--epochs", 2, "--seed", 3)
    done("validate", "toy.toml", "--dataset", "toy.h5", "--generator", "toy.safetensors", "--report", "report")
    lines = reproduced(Path("report/report.html"))
    assert [parse(line)[0] for line in lines] == ["generate", "generate", "train", "validate"]
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    Path("again").mkdir()
    for line in lines:
        words = shlex.split(line)
        done(*words[words.index("submodel") + 1 :])
    assert all(path.read_bytes() == content for path, content in before.items())
    first, again = (checkpoint.load(path)[0].state_dict() for path in ("toy.safetensors", "again/toy.safetensors"))
    assert all((first[name] == again[name]).all() for name in first)


def test_a_report_names_how_a_generator_was_compressed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    toy(Path())
    done("generate", "toy.toml", "-o", "toy.h5", "--train", 4, "--test", 1)
    done("train", "toy.toml", "--dataset", "toy.h5", "-o", "dense.safetensors", "--variant", "sl", "--seconds", 1)
    small = ("-o", "small.safetensors", "--method", "ctd", "--rank", "3,2")
    done("compress", "dense.safetensors", *small, "--fine-tune", 1, "--dataset", "toy.h5")
    done("validate", "toy.toml", "--dataset", "toy.h5", "--generator", "small.safetensors", "--report", "report")
    parsed = [parse(line) for line in reproduced(Path("report/report.html")) if not line.startswith("#")]
    assert [name for name, _ in parsed] == ["generate", "train", "compress", "validate"]
    values = dict(parsed)
    assert values["generate"]["train"] == 4 and values["train"]["variant"] == "sl" and values["train"]["seconds"] == 1
    assert values["compress"]["rank"] == "3,2" and values["compress"]["fine_tune"] == 1
    assert str(values["compress"]["output"]) == "again/small.safetensors"
