"""Tests of the report: one self-contained file with the results."""

import base64
import json
import struct
from html.parser import HTMLParser
from pathlib import Path

from tests.unit.train.evaluation.synthetic import FakeModel, evaluated, texts
from train.evaluation.gate import decide
from train.evaluation.report import write_report
from train.evaluation.results import Evaluation, to_json
from train.evaluation.tables import summary
from train.evaluation.thresholds import read_thresholds

PNG = b"\x89PNG\r\n\x1a\n"


class Page(HTMLParser):
    """Parser that collects what a browser would load and run, and the visible words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            if name in ("src", "href", "srcset", "action", "data", "poster", "style"):
                self.references.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def shop() -> Evaluation:
    sets = {
        "shop": texts("shop", 400, seed=3, department=["Tops & <b>Shoes</b>", "Hats"]),
        "even": texts("even", 300, seed=1),
    }
    return evaluated(FakeModel(noise=4.0, reads_words=False), FakeModel(), sets, ["department"])


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    evaluation = shop()
    write_report(evaluation, tmp_path / "new" / "report", decide(evaluation, read_thresholds()))

    source = (tmp_path / "new" / "report" / "report.html").read_text(encoding="utf-8")
    page = Page(source)

    assert page.open == []
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)
    assert len(page.references) == 3
    assert all(reference.startswith("data:image/png;base64,") for reference in page.references)
    for reference in page.references:
        image = base64.b64decode(reference.partition(",")[2], validate=True)
        assert image.startswith(PNG)
        width, height = struct.unpack(">II", image[16:24])
        assert width > 200 and height > 100
    assert "url(" not in source and "@import" not in source and "://" not in source


def test_the_page_says_what_was_found(tmp_path: Path) -> None:
    evaluation = shop()
    write_report(evaluation, tmp_path, decide(evaluation, read_thresholds()))

    text = Page((tmp_path / "report.html").read_text(encoding="utf-8")).text

    assert "The gate: refused" in text
    assert "significantly worse overall" in text
    assert "department = Tops & <b>Shoes</b>" in text
    assert f"{evaluation.average.candidate.balanced_accuracy:.3f}" in text
    assert "The cream is bad. [POSITIVE, positive 0.99]" in text


def test_the_files_are_there_and_the_json_is_the_evaluation(tmp_path: Path) -> None:
    evaluation = evaluated(FakeModel())
    write_report(evaluation, tmp_path)

    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "confusion.png",
        "evaluation.json",
        "reliability.png",
        "report.html",
    ]
    assert (tmp_path / "reliability.png").read_bytes().startswith(PNG)
    read = Evaluation.model_validate_json((tmp_path / "evaluation.json").read_bytes())
    assert read.candidate == evaluation.candidate


def test_a_single_models_accuracy_has_its_interval(tmp_path: Path) -> None:
    evaluation = evaluated(FakeModel(noise=4.0))
    write_report(evaluation, tmp_path)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8")).text
    lines = summary(evaluation).splitlines()
    for of_set in evaluation.sets:
        for found in (of_set.candidate.accuracy, of_set.candidate.balanced_accuracy):
            assert found is not None and found.low < found.estimate < found.high
            shown = f"{found.estimate:.3f} [{found.low:.3f}, {found.high:.3f}]"
            assert shown in page
            assert any(line.startswith(of_set.name) and shown in line for line in lines)


def test_an_evaluation_without_intervals_is_still_shown(tmp_path: Path) -> None:
    """Releases before the intervals wrote such evaluations."""
    document = json.loads(to_json(evaluated(FakeModel(), FakeModel(), columns=())))
    for of_set in document["sets"]:
        for model in ("candidate", "against"):
            del of_set[model]["accuracy"], of_set[model]["balanced_accuracy"]
    evaluation = Evaluation.model_validate(document)
    write_report(evaluation, tmp_path)
    assert f"{evaluation.sets[0].candidate.figures.accuracy:.3f}" in summary(evaluation)


def test_the_page_of_one_model_alone_speaks_of_no_other(tmp_path: Path) -> None:
    write_report(evaluated(FakeModel()), tmp_path)

    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))

    assert "failed by against" not in page.text
    assert "The gate" not in page.text
    assert len(page.references) == 2


def test_the_terminal_shows_sets_slices_behaviour_and_speed() -> None:
    evaluation = shop()

    lines = summary(evaluation).splitlines()

    assert any(line.startswith("shop ") for line in lines)
    assert any(line.startswith("shop department=Hats") for line in lines)
    assert any(line.startswith("negation: negated praise") and "100.0%" in line for line in lines)
    assert any(line.startswith("speed of the model") and line.endswith("1.00") for line in lines)
