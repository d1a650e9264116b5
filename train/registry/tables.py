"""Output of the registry commands: Markdown tables, and values for JSON."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from train.registry.aliases import Move
from train.registry.references import Version

_HEADLINE = ("held_out.", ".balanced_accuracy")
_LINEAGE = ("registered", "parent", "source", "data digest", "code commit")
_SHORT_HEX = 12


def list_table(versions: Sequence[Version]) -> str:
    """Return a table with one version per row."""
    head = ("version", "aliases", "registered", "balanced accuracy", "parent", "data", "commit")
    return _table(head, ([str(version), *_row(version)] for version in versions))


def version_table(version: Version) -> str:
    """Return a table of a version's properties and lineage, one property per row."""
    return _table(("property", "value"), properties(version).items())


def numbers_table(numbers: Mapping[str, float]) -> str:
    """Return a table of metrics by name."""
    return _table(("figure", "value"), ((name, _number(value)) for name, value in sorted(numbers.items())))


def parameters_table(parameters: Mapping[str, str]) -> str:
    """Return a table of parameters by name."""
    return _table(("parameter", "value"), sorted(parameters.items()))


def history_table(moves: Sequence[Move]) -> str:
    """Return a table of an alias' moves, the oldest first."""
    head = ("move", "at (UTC)", "from", "to", "digest")
    return _table(
        head,
        (
            (
                str(move.sequence),
                f"{move.at:%Y-%m-%d %H:%M:%S}",
                move.before or "-",
                move.version or "-",
                _short(move.digest),
            )
            for move in moves
        ),
    )


def compare_table(one: Version, other: Version) -> str:
    """Return a table of the metrics of two versions, and their differences."""
    rows = []
    for name in sorted({*one.metrics, *other.metrics}):
        a, b = one.metrics.get(name), other.metrics.get(name)
        change = "-" if a is None or b is None else f"{b - a:+.4g}"
        rows.append((name, _number(a), _number(b), change))
    return _table(("figure", str(one), str(other), "change"), rows)


def lineage_table(one: Version, other: Version) -> str:
    """Return a table of the differences in the lineage of two versions."""
    known = [
        {key: value for key, value in properties(version).items() if key in _LINEAGE}
        for version in (one, other)
    ]
    return _differences("lineage", (one, other), known[0], known[1])


def settings_table(
    one: Version, other: Version, parameters: Mapping[str, str], other_parameters: Mapping[str, str]
) -> str:
    """Return a table of the parameters that differ between two versions."""
    return _differences("parameter", (one, other), parameters, other_parameters)


def properties(version: Version) -> dict[str, str]:
    """Return a version's properties and lineage as text, without unknown ones."""
    said = {
        "version": str(version),
        "aliases": ", ".join(version.aliases),
        "uri": version.uri,
        "digest": version.digest,
        "registered": f"{version.created_at:%Y-%m-%d %H:%M:%S} UTC",
        "parent": str(version.parent) if version.parent else "",
        "source": version.source or "",
        "data digest": version.data_digest or "",
        "code commit": version.code_commit or "",
        "MLflow run": version.run_id,
        "MLflow version": str(version.number),
    }
    return {name: value for name, value in said.items() if value}


def as_json(version: Version) -> dict[str, Any]:
    """Return a value that can be serialised as JSON."""
    return {
        **asdict(version),
        "created_at": version.created_at.isoformat(),
        "aliases": list(version.aliases),
        "reference": str(version),
    }


def _differences(
    what: str, versions: tuple[Version, Version], one: Mapping[str, str], other: Mapping[str, str]
) -> str:
    rows = [
        (key, one.get(key, "-"), other.get(key, "-"))
        for key in sorted({*one, *other})
        if one.get(key) != other.get(key)
    ]
    return _table((what, *map(str, versions)), rows)


def _row(version: Version) -> Sequence[str]:
    start, end = _HEADLINE
    found = [
        value for name, value in version.metrics.items() if name.startswith(start) and name.endswith(end)
    ]
    return (
        ", ".join(version.aliases) or "-",
        f"{version.created_at:%Y-%m-%d %H:%M}",
        f"{fmean(found):.3f}" if found else "-",
        str(version.parent or "-"),
        _short(version.data_digest),
        _short(version.code_commit),
    )


def _short(digest: str | None) -> str:
    return digest[:_SHORT_HEX] if digest else "-"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value == int(value) and abs(value) >= 1 else f"{value:.4g}"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *map(list, rows)])
