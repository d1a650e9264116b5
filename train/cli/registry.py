"""Commands of the registry: `register`, `list`, `show`, `compare`, `alias`, `export`, `import`."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from train.registry import Registry, Version

_LOST_THE_RACE = 3
_REGISTRY_HELP = (
    "The registry is MLflow. By default it is the file registry/registry.db in the working directory,\n"
    "with its artifacts beside it; for a team, a tracking server with artifacts in S3. A replica never\n"
    "asks it: it is told the address that `show` prints."
)
_EXIT = "exit codes: 0 done, 1 failed or refused"


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parsers of the commands."""
    register = _add_command(
        commands,
        "register",
        _register,
        "add a version, with its evidence",
        "Add what `fit --out RUN` wrote (or a bundle alone) as an immutable version. The bundle is copied,\n"
        "its manifest last, read back and verified, and only then registered: a copy that breaks off or is\n"
        "damaged leaves no version, and the same command again puts it right. RUN/report.json and\n"
        "RUN/evaluation become the version's parameters, figures and files.",
        "examples:\n"
        "  python -m train register runs/mine\n"
        "  python -m train register runs/mine --version 8 --parent senti@champion",
    )
    register.add_argument("path", type=Path, metavar="RUN", help="a run's folder, or a bundle's")
    register.add_argument("--parent", metavar="REF", help="what it was trained from (default: the report's)")
    _add_identity(register)

    imported = _add_command(
        commands,
        "import",
        _import,
        "add a model from elsewhere",
        "Make a bundle of any sequence-classification model with safetensors weights, see that it answers,\n"
        "and register it. A PEFT adapter needs --base, the model that it was trained on.",
        "examples:\n"
        "  python -m train import hf:organisation/model@revision --name reviews --version 1\n"
        "  python -m train import models/mine --name reviews --version 2 --labels NEGATIVE POSITIVE\n"
        "  python -m train import adapters/mine --base hf:organisation/model --name reviews --version 3\n"
        "  python -m train import builtin:",
    )
    imported.add_argument("source", metavar="SOURCE", help="a folder, s3://…, hf:…, or builtin:")
    imported.add_argument("--labels", nargs="+", metavar="LABEL", help="new names of the classes, in order")
    _add_identity(imported)

    listed = _add_command(
        commands, "list", _list, "every version", "Every version, or those of one model.", ""
    )
    listed.add_argument("name", nargs="?", metavar="NAME", help="one model's (default: all)")

    shown = _add_command(
        commands,
        "show",
        _show,
        "a version and where it comes from",
        "A version: its address for serving, lineage, figures, parameters and files. By alias, also every\n"
        "move of the alias.",
        "examples:\n"
        "  python -m train show senti/7\n"
        "  python -m train show senti@champion --json | jq -r .uri",
    )
    shown.add_argument("reference", metavar="REF", help="NAME/VERSION or NAME@ALIAS")

    compared = _add_command(
        commands,
        "compare",
        _compare,
        "two versions side by side",
        "What differs between two versions: figures, lineage, parameters.",
        "example:\n  python -m train compare senti@champion senti/8",
    )
    compared.add_argument("one", metavar="A", help="NAME/VERSION or NAME@ALIAS")
    compared.add_argument("other", metavar="B")

    alias = _add_command(
        commands,
        "alias",
        _alias,
        "move champion, canary or another alias",
        "Let an alias point to a version. Moving champion makes what it was `previous`, in the same step.\n"
        "Of two who move an alias at once, one wins and the other is told who did; --expect also refuses if\n"
        "the alias is not what you take it for.",
        "examples:\n"
        "  python -m train alias senti@canary 8 --expect none\n"
        "  python -m train alias senti@champion 8 --expect 7\n"
        "  python -m train alias senti@canary --delete\n\n"
        f"{_EXIT}, {_LOST_THE_RACE} the alias is another version than expected, or somebody else was first",
    )
    alias.add_argument("reference", metavar="NAME@ALIAS")
    target = alias.add_mutually_exclusive_group(required=True)
    target.add_argument("version", nargs="?", metavar="VERSION", help="what it shall point to")
    target.add_argument("--delete", action="store_true", help="let it point to nothing")
    alias.add_argument("--expect", metavar="VERSION", help="what it must point to now; `none`: nothing")

    exported = _add_command(
        commands,
        "export",
        _export,
        "a verified copy of a version's bundle",
        "Copy a version's bundle into a new folder, every file verified.",
        "example:\n  python -m train export senti@champion models/senti",
    )
    exported.add_argument("reference", metavar="REF", help="NAME/VERSION or NAME@ALIAS")
    exported.add_argument("to", type=Path, metavar="DIR", help="must not be there yet")


def _add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[["Registry", argparse.Namespace], int],
    summary: str,
    description: str,
    epilog: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=epilog if "exit codes" in epilog else f"{epilog}\n\n{_EXIT}".strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    group = parser.add_argument_group("registry", _REGISTRY_HELP)
    group.add_argument(
        "--registry",
        metavar="URI",
        help="sqlite:///path.db or http://host:port (default: MLFLOW_TRACKING_URI, else that file)",
    )
    group.add_argument(
        "--artifacts",
        metavar="URI",
        help="s3://bucket/prefix or a folder (default: SENTIMENT_REGISTRY_ARTIFACTS, else beside the file)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.set_defaults(run=lambda args: run(_open(args), args))
    return parser


def _add_identity(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", metavar="NAME", help="the model's name (default: its own)")
    parser.add_argument("--version", metavar="VERSION", help="the version (default: its own)")
    parser.add_argument(
        "--base", metavar="URI", help="where an adapter's base lies (default: where its bundle says)"
    )


def _open(args: argparse.Namespace) -> "Registry":
    from train.registry import open_registry

    return open_registry(
        args.registry, args.artifacts, say=lambda line: print(line, file=sys.stderr, flush=True)
    )


def _register(registry: "Registry", args: argparse.Namespace) -> int:
    version = registry.register(
        args.path, name=args.name, version=args.version, base=args.base, parent=args.parent
    )
    return _print_version(version, args)


def _import(registry: "Registry", args: argparse.Namespace) -> int:
    version = registry.import_model(
        args.source, name=args.name, version=args.version, labels=args.labels, base=args.base
    )
    return _print_version(version, args)


def _list(registry: "Registry", args: argparse.Namespace) -> int:
    from train.registry import tables

    versions = registry.versions(args.name)
    if args.json:
        return _print_json([tables.as_json(version) for version in versions])
    print(tables.list_table(versions))
    return 0


def _show(registry: "Registry", args: argparse.Namespace) -> int:
    from train.registry import tables
    from train.registry.references import parse_reference

    version = registry.get(args.reference)
    parameters, files = registry.parameters(version), registry.files(version)
    alias = parse_reference(args.reference).alias
    moves = registry.history(version.name, alias) if alias else ()
    if args.json:
        found = {**tables.as_json(version), "parameters": parameters, "files": files}
        if alias:
            found["history"] = [move.model_dump(mode="json", exclude={"write_id"}) for move in moves]
        return _print_json(found)
    print(tables.version_table(version))
    if version.metrics:
        print(f"\n{tables.numbers_table(version.metrics)}")
    if parameters:
        print(f"\n{tables.parameters_table(parameters)}")
    if files:
        print("\nfiles of the run:", *files, sep="\n  ")
    if moves:
        print(f"\n{tables.history_table(moves)}")
    return 0


def _compare(registry: "Registry", args: argparse.Namespace) -> int:
    from train.registry import tables

    one, other = registry.get(args.one), registry.get(args.other)
    parameters = registry.parameters(one), registry.parameters(other)
    if args.json:
        pairs = zip((one, other), parameters, strict=True)
        return _print_json([{**tables.as_json(version), "parameters": of} for version, of in pairs])
    print(tables.compare_table(one, other))
    print(f"\n{tables.lineage_table(one, other)}")
    print(f"\n{tables.settings_table(one, other, *parameters)}")
    return 0


def _alias(registry: "Registry", args: argparse.Namespace) -> int:
    from train.errors import AliasConflictError, RegistryRequestError
    from train.registry import Expect
    from train.registry.references import parse_reference

    wanted = parse_reference(args.reference)
    if wanted.alias is None:
        raise RegistryRequestError(f"{args.reference!r} names no alias; write NAME@ALIAS")
    expect = {None: Expect.ANYTHING, "none": Expect.NOTHING}.get(args.expect, args.expect)
    try:
        if args.delete:
            move = registry.delete_alias(wanted.name, wanted.alias, expect=expect)
        else:
            move = registry.set_alias(wanted.name, wanted.alias, args.version, expect=expect)
    except AliasConflictError as error:
        print(f"error: {error}", file=sys.stderr)
        return _LOST_THE_RACE
    if args.json:
        return _print_json(move.model_dump(mode="json", exclude={"write_id"}))
    before, now = move.before or "nothing", move.version or "nothing"
    print(f"{wanted.name}@{wanted.alias} points to {now}, before to {before} (move {move.sequence})")
    return 0


def _export(registry: "Registry", args: argparse.Namespace) -> int:
    version = registry.export(args.reference, args.to)
    if args.json:
        return _print_version(version, args)
    print(f"{args.to} holds {version}, verified")
    return 0


def _print_version(version: "Version", args: argparse.Namespace) -> int:
    from train.registry import tables

    if args.json:
        return _print_json(tables.as_json(version))
    print(tables.version_table(version))
    return 0


def _print_json(value: Any) -> int:
    print(json.dumps(value, indent=2))
    return 0
