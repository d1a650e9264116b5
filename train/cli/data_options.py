"""Options for labelled texts: a settings file with its folder, or one file and its columns."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from train.datasets.delimited import Layout
from train.datasets.examples import Example
from train.datasets.splits import read_set
from train.errors import SettingsFileError, TrainError
from train.evaluation.evaluate import read_sets
from train.settings import FileSettings, read_settings

_DELIMITERS = {"tab": "\t", "\\t": "\t"}
_OF_ONE_FILE = (
    *("text_column", "label_column", "label_names", "drop_labels"),
    *("skip_bad_rows", "delimiter", "encoding", "no_header"),
)


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add the options to the parser of a command."""
    group = parser.add_argument_group(
        "data", "With --config, --data is the folder of its files; without, it is the labelled texts."
    )
    group.add_argument("--config", type=Path, metavar="FILE", help="the run's settings, TOML")
    group.add_argument("--data", required=True, metavar="PATH", help="folder, file or address of the texts")
    group.add_argument("--text-column", metavar="NAME", help="default: text, or 1 with --no-header")
    group.add_argument("--label-column", metavar="NAME", help="default: label, or 2 with --no-header")
    group.add_argument(
        "--label-names",
        "--label-map",
        nargs="+",
        metavar="VALUE=LABEL",
        help="what the label column's values mean; default: they are the labels",
    )
    group.add_argument("--drop-labels", nargs="+", metavar="VALUE", help="their rows are left out")
    group.add_argument(
        "--skip-bad-rows",
        type=int,
        metavar="N",
        help="rows of a file that may be left out: without a text or a known label (default: 0)",
    )
    add_layout(group)


class _Options(Protocol):
    """Object to which options can be added: a parser, or a group of one."""

    def add_argument(self, *names: str, **settings: Any) -> argparse.Action: ...


def add_layout(parser: _Options) -> None:
    """Add the options for the layout of a CSV file."""
    parser.add_argument("--delimiter", metavar="C", help="of a CSV, `tab` for \\t (default: by its header)")
    parser.add_argument("--encoding", metavar="NAME", help="of a CSV, such as cp1252 (default: utf-8)")
    parser.add_argument(
        "--no-header",
        action="store_true",
        help="a CSV's columns have no names and are called 1, 2, …",
    )


def layout_from(args: argparse.Namespace) -> Layout:
    """Return the layout that the options of `add_layout` describe."""
    delimiter = _DELIMITERS.get(args.delimiter, args.delimiter)
    return Layout(delimiter, args.encoding, has_header=not args.no_header)


def file_settings(args: argparse.Namespace) -> tuple[FileSettings, str]:
    """Return the set that the options describe without a settings file, and its folder or URI."""
    root, _, file = args.data.rstrip("/").rpartition("/")
    layout = layout_from(args)
    source = FileSettings(
        name=re.sub(r"[^A-Za-z0-9._+-]+", "-", file.partition(".")[0]).lstrip("-._+") or "texts",
        file=file,
        text=args.text_column or ("1" if args.no_header else "text"),
        label=args.label_column or ("2" if args.no_header else "label"),
        label_names=dict(label_pair(pair) for pair in args.label_names or ()),
        drop_labels=tuple(args.drop_labels or ()),
        skip_bad_rows=args.skip_bad_rows or 0,
        delimiter=layout.delimiter,
        encoding=layout.encoding,
        header=layout.has_header,
    )
    return source, root


def labelled_sets(
    args: argparse.Namespace, labels: Sequence[str], columns: Sequence[str] = ()
) -> dict[str, Sequence[Example]]:
    """Return the evaluation sets by name: held-out and test sets of the settings, or all texts of a file.

    Args:
        args: Options of `add_data`.
        labels: Labels of the model, in the order of its logits.
        columns: Further columns to keep with each text.

    Raises:
        TrainError: The settings or the data are invalid.
    """
    if args.config is None:
        source, root = file_settings(args)
        return {source.name: read_set(source, labels, root, columns)}
    refuse_with_config(args)
    settings = read_settings(args.config)
    if set(settings.labels) != set(labels):
        raise TrainError(f"the model has the labels {list(labels)}, {args.config} {list(settings.labels)}")
    return read_sets(settings.model_copy(update={"labels": tuple(labels)}), args.data, columns)


def refuse_with_config(args: argparse.Namespace) -> None:
    """Refuse the options of one file together with a settings file. Raises SettingsFileError."""
    for option in _OF_ONE_FILE:
        if getattr(args, option, None):
            raise SettingsFileError(
                f"--{option.replace('_', '-')} and --config exclude each other; it is in the file"
            )


def label_pair(text: str) -> tuple[str, str]:
    """Return the value and its label of an option `VALUE=LABEL`. Raises SettingsFileError."""
    value, equals, label = text.partition("=")
    if not equals or not label:
        raise SettingsFileError(f"--label-names takes VALUE=LABEL, such as 0=NEGATIVE, got {text!r}")
    return value, label
