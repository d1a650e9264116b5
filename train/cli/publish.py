"""Command `publish`: copies a bundle into the folder of the shipped model."""

import argparse
from pathlib import Path


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "publish",
        help="copy a bundle into the folder that ships",
        description="Copy a bundle's files and write bundle.json anew, to cover what else lies there, such\n"
        "as the card. Run it again after the card has changed.",
        epilog="example:\n"
        "  python -m train publish --bundle runs/builtin/bundle --to serve_app/model/builtin",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="what fit wrote")
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="made if missing")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from train.packaging import publish

    manifest = publish(args.bundle, args.to)
    print(f"{args.to} holds {manifest.name} {manifest.version}, {len(manifest.files)} files")
    return 0
