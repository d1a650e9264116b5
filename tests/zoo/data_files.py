"""Files of labelled texts in formats of real users, each with its expected rows or error message.

`python -m tests.zoo.data_files FOLDER` writes all files.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

ROWS = [("the room was good", "POSITIVE"), ("the food was bad; and cold", "NEGATIVE"), ("fine", "POSITIVE")]
LONG = "good " * 250_000
ACCENTS = [("Das Café war schön", "POSITIVE"), ("très mauvais, 5 €", "NEGATIVE")]
Write = Callable[[Path], None]


@dataclass(frozen=True)
class DataFile:
    """File with the options for reading it, and its expected rows or error message."""

    name: str
    write: Write
    rows: list[tuple[str, str]] | None = None
    message: str = ""
    """Regular expression of the expected error message."""
    options: Mapping[str, Any] = field(default_factory=dict)


def lines(*rows: str, end: str = "\n", encoding: str = "utf-8") -> Write:
    return lambda path: path.write_bytes("".join(row + end for row in rows).encode(encoding)) and None


def table(rows: list[tuple[str, str]], delimiter: str = ",", **how: str) -> Write:
    def quoted(value: str) -> str:
        return f'"{value}"' if delimiter in value or "\n" in value else value

    return lines(*(delimiter.join(map(quoted, row)) for row in [("text", "label"), *rows]), **how)


def objects(rows: list[Mapping[str, Any]], *, array: bool = False, **dumped: Any) -> Write:
    content = json.dumps(rows) if array else "".join(json.dumps(row) + "\n" for row in rows)
    return lambda path: path.write_bytes(content.encode()) and None


def packed(write: Write) -> Write:
    def compressed(path: Path) -> None:
        write(path)
        path.write_bytes(gzip.compress(path.read_bytes()))

    return compressed


def frame(**columns: list[Any]) -> Write:
    def write(path: Path) -> None:
        of_columns = pd.DataFrame(columns)
        of_columns.to_parquet(path) if path.suffix == ".parquet" else of_columns.to_csv(path, index=False)

    return write


def records(rows: list[tuple[str, str]]) -> list[Mapping[str, Any]]:
    return [{"text": text, "label": label} for text, label in rows]


def in_folder(files: Mapping[str, Write]) -> Write:
    def write(path: Path) -> None:
        for name, of_file in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            of_file(path / name)

    return write


MAPPED = {"label_names": {"0": "NEGATIVE", "1": "POSITIVE", "4": "POSITIVE"}}
DATA_FILES = [
    DataFile("plain.csv", table(ROWS), ROWS),
    DataFile("crlf.csv", table(ROWS, end="\r\n"), ROWS),
    DataFile("old_mac.csv", table(ROWS, end="\r"), ROWS),
    DataFile("bom.csv", table(ROWS, encoding="utf-8-sig"), ROWS),
    DataFile("utf16.csv", table(ACCENTS, encoding="utf-16"), ACCENTS),
    DataFile("semicolons.csv", table(ROWS, ";"), ROWS),
    DataFile("bars.csv", table(ROWS, "|"), ROWS),
    DataFile("tabs.csv", table(ROWS, "\t"), ROWS),
    DataFile("tabs.tsv", table(ROWS, "\t"), ROWS),
    DataFile("UPPER.CSV", table(ROWS), ROWS),
    DataFile("hashes.csv", table(ROWS, "#"), message="no column 'text'.*--text-column"),
    DataFile("hashes_said.csv", table(ROWS, "#"), ROWS, options={"delimiter": "#"}),
    DataFile("windows.csv", table(ACCENTS, encoding="cp1252"), message="not utf-8.*--encoding.*cp1252"),
    DataFile("windows_said.csv", table(ACCENTS, encoding="cp1252"), ACCENTS, options={"encoding": "cp1252"}),
    DataFile("unknown_encoding.csv", table(ROWS), message="not a known enc", options={"encoding": "cp99999"}),
    DataFile("packed.csv.gz", packed(table(ROWS)), ROWS),
    DataFile("packed.tsv.gz", packed(table(ROWS, "\t")), ROWS),
    DataFile("cut_off.csv.gz", lines("no gzip at all"), message=r"cut_off\.csv\.gz cannot be read"),
    DataFile(
        "no_header.csv",
        lines("good,POSITIVE", "bad,NEGATIVE"),
        [("good", "POSITIVE"), ("bad", "NEGATIVE")],
        options={"header": False, "text": "1", "label": "2"},
    ),
    DataFile("headless.csv", lines("good,POSITIVE", "bad,NEGATIVE"), message="no column 'text'"),
    DataFile(
        "other_columns.csv",
        lines("votes,text,label,when", "1,good,POSITIVE,2020", "many,bad,NEGATIVE,", "3.5,fine,POSITIVE,x"),
        [("good", "POSITIVE"), ("bad", "NEGATIVE"), ("fine", "POSITIVE")],
    ),
    DataFile(
        "two_lines.csv",
        lines("text,label", '"good,\nand ""cheap""",POSITIVE', "bad,NEGATIVE"),
        [('good,\nand "cheap"', "POSITIVE"), ("bad", "NEGATIVE")],
    ),
    DataFile(
        "ends_in_a_line.jsonl",
        objects(records([("good, and cheap\n", "POSITIVE"), ROWS[1]])),
        [("good, and cheap\n", "POSITIVE"), ROWS[1]],
    ),
    DataFile("long.csv", table([(LONG, "POSITIVE"), ROWS[1]]), [(LONG, "POSITIVE"), ROWS[1]]),
    DataFile("empty_lines.csv", lines("text,label", "", "good,POSITIVE", "", "bad,NEGATIVE", ""), None),
    DataFile(
        "unclosed.csv",
        lines("text,label", "fine,POSITIVE", '"good,POSITIVE', "bad,NEGATIVE"),
        message="row 1 .*a quote is not closed",
    ),
    DataFile(
        "swallowed.csv",
        lines("text,label", '"good,POSITIVE', "bad,NEGATIVE", 'fine",POSITIVE', "ok,POSITIVE"),
        message="row 0 column 'text': the text contains 2 further rows, because a quote in it is not closed",
    ),
    DataFile(
        "quote_inside.csv",
        lines("text,label", '"a "good" one",POSITIVE'),
        message="row 0 .*double quotes inside a quoted value",
    ),
    DataFile(
        "too_many.csv",
        lines("text,label", "good,POSITIVE", "bad, and cold,NEGATIVE"),
        message=r"row 1 \(ends in line 3\): 3 values; expected 2 .*--delimiter",
    ),
    DataFile("nothing.csv", lines(), message="no column 'text'"),
    DataFile("nul.csv", table(ROWS, encoding="utf-16-le"), message="cannot be read|no column"),
    DataFile("plain.jsonl", objects(records(ROWS)), ROWS),
    DataFile("plain.ndjson", objects(records(ROWS)), ROWS),
    DataFile("packed.jsonl.gz", packed(objects(records(ROWS))), ROWS),
    DataFile("array.json", objects(records(ROWS), array=True), ROWS),
    DataFile("lines.json", objects(records(ROWS)), ROWS),
    DataFile("one_object.json", lines('{"data": []}'), message="no column 'text'"),
    DataFile("broken.json", lines('[{"text": "good", '), message="cannot be read as json"),
    DataFile("numbers.jsonl", lines("1", "2"), message="row 0: expected an object"),
    DataFile("floats.csv", frame(text=["good", "bad"], label=[1.0, 0.0]), None, options=MAPPED),
    DataFile(
        "floats.parquet",
        frame(text=["good", "bad", "fine"], label=[1.0, 0.0, None]),
        message="row 2 column 'label': no label",
        options=MAPPED,
    ),
    DataFile(
        "booleans.parquet",
        frame(text=["good", "bad"], label=[True, False]),
        [("good", "POSITIVE"), ("bad", "NEGATIVE")],
        options={"label_names": {"True": "POSITIVE", "False": "NEGATIVE"}},
    ),
    DataFile(
        "booleans.csv",
        lines("text,label", "good,TRUE", "bad,false"),
        [("good", "POSITIVE"), ("bad", "NEGATIVE")],
        options={"label_names": {"true": "POSITIVE", "false": "NEGATIVE"}},
    ),
    DataFile("spaces.csv", lines("text,label", "good, POSITIVE ", "bad,NEGATIVE "), None),
    DataFile("spaces_in_names.csv", lines("text , label", "good,POSITIVE", "bad,NEGATIVE"), None),
    DataFile("zero_four.csv", lines("text,label", "good,4", "bad,0"), None, options=MAPPED),
    DataFile("stars.csv", lines("text,label", "good,5 stars", "bad,0"), message="'5 stars'", options=MAPPED),
    DataFile(
        "bad_map.csv",
        table(ROWS),
        message=r"has the label 'NEG'.*expected one of \['NEGATIVE', 'POSITIVE'\].*--label-map",
        options={"label_names": {"0": "NEG"}},
    ),
    DataFile(
        "bad_rows.csv",
        lines("text,label", *[",POSITIVE"] * 7, *["ok,MAYBE"] * 6, "good,POSITIVE"),
        message="row 0 column 'text': the text is empty.*row 9 column 'label': label 'MAYBE'.*"
        "13 invalid rows in total.*--skip-bad-rows 13",
    ),
    DataFile(
        "skipped_rows.csv",
        lines("text,label", ",POSITIVE", "ok,MAYBE", "good,POSITIVE", "bad,NEGATIVE"),
        [("good", "POSITIVE"), ("bad", "NEGATIVE")],
        options={"skip_bad_rows": 2},
    ),
    DataFile(
        "numbers_as_texts.parquet",
        frame(text=[1, 2], label=["POSITIVE", "NEGATIVE"]),
        message="row 0 column 'text': the text has the type int.*2 invalid rows",
    ),
    DataFile(
        "no_text.parquet",
        frame(text=["good", None], label=["POSITIVE", "NEGATIVE"]),
        message="row 1 column 'text': the text is empty",
    ),
    DataFile(
        "by_label",
        in_folder(
            {
                "label=POSITIVE/part-0.parquet": frame(text=["good"]),
                "label=NEGATIVE/part-0.csv": lines("text", "bad"),
            }
        ),
        [("bad", "NEGATIVE"), ("good", "POSITIVE")],
    ),
    DataFile(
        "mixed",
        in_folder(
            {"a.csv": table(ROWS[:1]), "b.jsonl": objects(records(ROWS[1:])), "notes.docx": lines("x")}
        ),
        ROWS,
    ),
    DataFile("no_data", in_folder({"notes.docx": lines("x")}), message=r"has no file.*it has notes\.docx"),
]
TWO_ROWS = [("good", "POSITIVE"), ("bad", "NEGATIVE")]
"""Expected rows of a file for which `rows` is None."""


def arguments_of(file: DataFile, *, labels: bool = True, rows: bool = True) -> list[str]:
    """Return a file's options as command-line arguments, optionally without those for labels and bad rows."""
    options = dict(file.options)
    of_line = []
    for name, option in {"delimiter": "--delimiter", "encoding": "--encoding"}.items():
        of_line += [option, options[name]] if name in options else []
    if labels and (names := options.get("label_names")):
        of_line += ["--label-map", *(f"{value}={label}" for value, label in names.items())]
    if rows and "skip_bad_rows" in options:
        of_line += ["--skip-bad-rows", str(options["skip_bad_rows"])]
    return of_line + (["--no-header"] if options.get("header") is False else [])


def settings_toml(base: str, *files: DataFile) -> str:
    """Return the settings of a run with one data set per file: `zoo0`, `zoo1` and so on."""
    text = f'name = "zoo"\nversion = "1"\nbase = {json.dumps(base)}\nlabels = ["NEGATIVE", "POSITIVE"]\n'
    for number, file in enumerate(files):
        options = {"name": f"zoo{number}", "file": file.name, "held_out": 0.0, **file.options}
        names = options.pop("label_names", {})
        text += "[[data]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in options.items())
        if names:
            pairs = ", ".join(f"{json.dumps(value)} = {json.dumps(label)}" for value, label in names.items())
            text += f"label_names = {{ {pairs} }}\n"
    return text


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in DATA_FILES:
        file.write(folder / file.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
