"""Model registry: the versions of a model, their lineage, and their aliases.

factory.py         opens the registry from arguments and environment
registry.py        operations of the registry, in an order of steps that keeps it consistent
references.py      versions and references to them
aliases.py         the record of an alias: current version and history of moves
alias_store.py     alias store: reads and moves aliases, and mirrors them in MLflow
artifacts.py       artifacts: upload with the manifest last, verification, download
run_metadata.py    metadata of a training run: parameters, metrics and files
rebundle.py        changes a bundle's name, version, base URI or labels
adapters.py        converts a PEFT adapter to a bundle
mlflow_backend.py  adapter to MLflow and its tags; the only module that imports it
tables.py          tables that the commands print
"""

from train.registry.aliases import Expect, Move
from train.registry.factory import open_registry
from train.registry.references import ParentVersion, Version
from train.registry.registry import Registry

__all__ = ["Expect", "Move", "ParentVersion", "Registry", "Version", "open_registry"]
