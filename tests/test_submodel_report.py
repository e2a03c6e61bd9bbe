"""The report: one page that needs nothing else, says the numbers, and can be read by a parser."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from synthetic_validation import calibrated, recorded, result

from submodel.case.quantities import seconds
from submodel.report import page as report
from submodel.report.wording import amount, count, error_table, facts, percent, size, verdict
from submodel.validate.result import GeneratorInfo, ValidationResult

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; every tag must be closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing, at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def attributes(self, name: str) -> list[str]:
        return [value for _, attributes in self.tags if (value := attributes.get(name)) is not None]


PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
NAMES = ("error-over-time", "worst-snapshots", "best-snapshots", "worst-traces", "worst-space-time", "samples")


def page(validated: ValidationResult) -> Page:
    """The page with a pixel for every picture: drawing them is tested elsewhere."""
    return Page(report.render(validated, dict.fromkeys((*NAMES, "training"), PIXEL)))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report.write_report(result(), tmp_path_factory.mktemp("report") / "new")


def test_the_page_needs_nothing_but_itself(written: Path) -> None:
    html = written.read_text(encoding="utf-8")
    found = Page(html)
    assert found.open == []
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in found.tags}
    assert all(value.startswith("data:image/png;base64,") for value in found.attributes("src"))
    assert len(found.attributes("src")) == 7
    assert all(value.startswith("#") for value in found.attributes("href"))
    assert not re.search(r"https?:|url\(|@import|srcset", html)


def test_links_lead_somewhere_and_pictures_have_a_text(written: Path) -> None:
    found = Page(written.read_text(encoding="utf-8"))
    assert {value[1:] for value in found.attributes("href")} <= set(found.attributes("id"))
    assert len(found.attributes("id")) == len(set(found.attributes("id")))
    assert all(attributes.get("alt") for tag, attributes in found.tags if tag == "img")


def test_pictures_lie_beside_the_page_and_are_those_inside(written: Path) -> None:
    inside = [base64.b64decode(uri.partition(",")[2]) for uri in Page(written.read_text("utf-8")).attributes("src")]
    beside = {path.stem: path.read_bytes() for path in (written.parent / "pictures").iterdir()}
    assert set(beside) == {*NAMES, "training"}
    assert sorted(inside) == sorted(beside.values())
    assert all(content.startswith(b"\x89PNG") for content in inside)


def test_the_numbers_of_the_json_stand_on_the_page() -> None:
    validated = result()
    said, text = validated.to_json(), page(validated).text
    for stage in ("before", "after"):
        for field in ("displacement", "velocity"):
            assert percent(said[stage][field]["epsilon"]) in text
            assert percent(said[stage][field]["relative_l2"]) in text
    assert f"worst {percent(said['worst']['epsilon'])}, sample {said['worst']['sample']}" in text
    assert f"{said['levels_left_out']} of {3 * 25} time levels" in text
    assert count(86420) in text


def test_the_page_says_what_was_run_and_how_to_do_it_again() -> None:
    text = page(result()).text
    for words in (
        "submodel validate cases/corner.toml",
        "128 × 128 cells, each cut into triangles",
        "conv1.5d-boundary",
        "3 epochs, weights of epoch 2 kept",
        "2 min 28 s",
        "3.1 ms",
        "The FE grid itself is 0.78 % off the PDE.",
        "[A] eq. 22",
        "one-way",
    ):
        assert words in text


def test_traces_are_shown_for_the_worst_and_the_median_sample() -> None:
    validated = calibrated()
    assert (validated.worst.index, validated.median_index) == (1, 3)
    drawn = report.draw_pictures(validated)
    assert {"worst-traces", "median-traces", "bounds"} <= set(drawn)
    text = Page(report.render(validated, drawn)).text
    assert "Worst sample (1): " in text and "Median sample (3): " in text
    assert "median-traces" not in report.draw_pictures(result())  # not kept


def test_the_bound_is_on_the_page_with_the_share_that_it_held_for() -> None:
    validated = calibrated()
    html = report.render(validated, dict.fromkeys((*NAMES, "median-traces", "bounds", "training"), PIXEL))
    found = Page(html)
    assert found.open == [] and "bound" in found.attributes("id")
    text = " ".join(found.text.split())
    assert "to hold for 90 % of fresh samples (split conformal on 70 runs)" in text
    assert "It held for 3 of 4 samples, 75.0 %" in text
    assert validated.bounds is not None
    assert all(percent(value) in text for value in validated.bounds.values)
    lines = "\n".join(error_table(validated))
    assert "90 % coverage promised: held for 3 of 4 samples" in lines and "(split conformal on 70 runs)" in lines
    assert ", 0.90 of the true mean" in lines
    worst = validated.epsilon.max() / validated.epsilon.mean()
    assert f"worst sample 1: epsilon {percent(validated.epsilon.max())}, {worst:.2g} times the mean" in lines
    bare = page(result())
    assert "bound" not in bare.attributes("id") and "conformal" not in bare.text
    assert "promised" not in "\n".join(error_table(result()))


def test_what_else_is_to_be_said_of_a_generator_is_in_its_table() -> None:
    generator = GeneratorInfo("g.safetensors", "operator", 9, ("displacement",), details=(("rays", "the direct one"),))
    assert "the direct one" in page(result(generator=generator)).text


def test_a_recorded_boundary_has_no_generator_on_its_page() -> None:
    found = page(recorded())
    assert "generator" not in found.attributes("id")
    assert "Fed with the recorded trace" in found.text
    assert "recorded in the full run" in found.text


def test_one_sample_is_neither_best_nor_worst() -> None:
    single = result((0.02,))
    assert "best-snapshots" not in report.draw_pictures(single)
    text = page(single).text
    assert "Worst sample" not in text
    assert "best" not in re.findall(r"\d(best|worst)", text)
    assert "1 test sample;" in text


def test_a_training_split_is_called_one() -> None:
    assert "trained on: the numbers say how well it fits" in page(result(split="train")).text
    assert "how well it fits" not in page(result()).text


def test_what_a_user_named_is_escaped() -> None:
    generator = GeneratorInfo("<b>g</b>.safetensors", "conv2d-boundary", 1, ("displacement",))
    html = report.render(result(generator=generator, commands=("a && b > c",)), dict.fromkeys(NAMES, PIXEL))
    assert "&lt;b&gt;g&lt;/b&gt;" in html
    assert "a &amp;&amp; b &gt; c" in html


def test_progress_counts_the_pictures() -> None:
    seen: list[tuple[int, int]] = []
    report.draw_pictures(recorded(), progress=lambda done, total: seen.append((done, total)))
    total = len(NAMES)  # no training curve; with equal errors the first sample is best and worst: one less
    assert seen == [(done, total - 1) for done in range(1, total)]


def test_numbers_in_words() -> None:
    fractions = {0.0123456: "1.23 %", 0.75e-2: "0.750 %", 1.0: "100 %", 3.3e-17: "3.3·10⁻¹⁵ %", 9.9996: "1000 %"}
    assert {value: percent(value) for value in fractions} == fractions
    assert [amount(value) for value in (0.0, 12345.6, 9.999e-7, 2.5e9)] == ["0", "12346", "1.0·10⁻⁶", "2.5·10⁹"]
    assert count(1234567) == "1\u202f234\u202f567"
    assert [seconds(value) for value in (5e-6, 0.0123, 6.2, 148.3, 7325.0)] == [
        "5 µs",
        "12.3 ms",
        "6.2 s",
        "2 min 28 s",
        "2 h 2 min",
    ]
    assert [size(value) for value in (412_345, 2_500_000)] == ["412 kB", "2.5 MB"]


def test_verdict_has_the_numbers() -> None:
    said = r"on average \d\.\d+ % away from full FE in displacement .* worst .* sample 1\)"
    assert re.search(said, verdict(result()))


def test_facts_of_a_case_name_units() -> None:
    said = dict(facts(result()))
    assert said["wave speed"] == "1 m/s"
    assert said["domain Ω"].startswith("[−1, 1] × [−1, 1] m")
    assert said["interface Γ"] == "32 nodes on 1 closed curve"
