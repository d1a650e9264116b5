"""Model registry: the versions of a model, their lineage, and their aliases.

opening.py      opens the registry from arguments and environment
registry.py     operations of the registry, in an order of steps that keeps it consistent
versions.py     versions and references to them
aliases.py      the record of an alias: current version and history of moves
pointers.py     alias store: reads and moves aliases, and mirrors them in MLflow
copies.py       artifacts: upload with the manifest last, verification, download
evidence.py     metadata of a training run: parameters, metrics and files
restating.py    changes a bundle's name, version, base URI or labels
place.py        object store of files and records: a folder (folder_place.py) or S3 (s3_place.py)
tags.py         conversion of versions to and from MLflow's tags
tracking.py     adapter to MLflow, the only module that imports it
tables.py       tables that the commands print
"""

from train.registry.aliases import Expect, Move
from train.registry.opening import open_registry
from train.registry.registry import Registry
from train.registry.versions import Parent, Version

__all__ = ["Expect", "Move", "Parent", "Registry", "Version", "open_registry"]
