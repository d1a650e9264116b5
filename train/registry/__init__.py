"""The registry: which versions of a model there are, what each one comes from, and which one is live.

opening.py      where it is, from arguments and environment
registry.py     what can be asked of it; the order of steps that keeps it whole
versions.py     a version, and how it is referred to
aliases.py      an alias' record: where it points, and every move before
pointers.py     the aliases of a registry: read, moved, and shown by MLflow
copies.py       a bundle's copy: sent manifest last, read back, brought home
evidence.py     what a training run leaves behind, as parameters, figures and files
restating.py    a bundle under another name, version, base address or labels
place.py        where files and records lie, on a folder (folder_place.py) or S3 (s3_place.py)
tags.py         a version as MLflow's tags, and back
tracking.py     MLflow, and the only file that imports it
tables.py       what the verbs print
"""

from train.registry.aliases import Expect, Move
from train.registry.opening import open_registry
from train.registry.registry import Registry
from train.registry.versions import Parent, Version

__all__ = ["Expect", "Move", "Parent", "Registry", "Version", "open_registry"]
