"""What can be asked of the registry, and the order of steps that keeps it whole whenever a writer dies.

A version: its files go up (copies.py), are read back and verified; its name and version are then claimed for
its digest; only then MLflow learns of it. An alias: its record is moved, and MLflow is made to show it
(pointers.py). What is read goes by the records, and puts MLflow right where it lags.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from serve_app.model.bundle import BundleManifest, read_manifest, verify
from serve_app.model.store import fetch, fetch_folder
from train.errors import CopyDamaged, RegistryRefused, VersionConflict, VersionUnknown
from train.registry import aliases, copies
from train.registry.adapters import complete, is_bare_adapter
from train.registry.aliases import CHAMPION, PREVIOUS, Expect, Move
from train.registry.evidence import Evidence, find_bundle, read_evidence
from train.registry.place import ARTIFACTS_VARIABLE, Place, Stored
from train.registry.pointers import Pointers
from train.registry.restating import restate
from train.registry.tags import TAG, as_tags, as_version
from train.registry.tracking import Entry, Tracking
from train.registry.versions import Parent, Version, parse_reference


class Registry:
    """Versions and aliases. Safe for threads and processes; see the module's first lines."""

    def __init__(
        self,
        tracking: Tracking,
        place: Place,
        *,
        now: Callable[[], datetime],
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._tracking, self._place, self._say = tracking, place, say
        self._pointers = Pointers(tracking, place, now=now, numbers=self._numbers)

    def register(
        self,
        run_or_bundle: Path,
        *,
        name: str | None = None,
        version: str | None = None,
        base: str | None = None,
        parent: str | None = None,
    ) -> Version:
        """Add a version; one that is there already, with the same digest, is verified and returned.

        Args:
            run_or_bundle: What `fit --out` wrote, or a bundle's folder.
            name: Register it under another name than the bundle's; it changes the digest.
            version: The same for the version.
            base: Where the adapter's base lies, if elsewhere than the bundle says: the same files.
            parent: Reference of the version it was trained from; by default what the run's report says.

        Raises:
            RegistryRefused: There is no bundle, or it could not be served from the registry.
            VersionConflict: The name and version are another bundle's.
            CopyDamaged: What was sent is not what can be read back; nothing was registered.
            RegistryUnavailable: MLflow, S3 or the disk failed; registering again goes on.
            serve_app.errors.BundleError: The bundle is not what its manifest says.
        """
        folder, run = find_bundle(run_or_bundle)
        manifest = read_manifest(folder)
        verify(folder, manifest)
        evidence = read_evidence(folder, run)
        if parent is not None:
            evidence = replace(evidence, parent=_as_parent(self.get(parent)))
        if name is None and version is None and base is None:
            return self._add(folder, manifest, evidence, source=None)
        with TemporaryDirectory(prefix="registry-") as staging:
            copy = Path(staging)
            changed = restate(folder, manifest, copy, name=name, version=version, base=base)
            return self._add(copy, changed, evidence, source=None)

    def import_model(
        self,
        source: str,
        *,
        name: str | None = None,
        version: str | None = None,
        labels: Sequence[str] | None = None,
        base: str | None = None,
    ) -> Version:
        """Make a bundle of any model that can be served, see that it answers, and register it.

        Args:
            source: As in `serve_app.model.store.fetch`: a folder, `s3://…`, `hf:organisation/model@revision`.
            name: By default the bundle's, the folder's or the hub's.
            version: By default the bundle's, the hub's commit, or a hash of the files.
            labels: Names of the classes in the order of the logits; by default the model's own.
            base: As in `register`; for an adapter as PEFT writes it, the model that it was trained on.

        Raises:
            serve_app.errors.BundleError: There is no such model, or it cannot be served.
            TrainError: As in `register`.
        """
        with TemporaryDirectory(prefix="registry-") as staging:
            self._say(f"fetching {source}")
            cache, copy = Path(staging) / "cache", Path(staging) / "bundle"
            folder = fetch_folder(source, cache_dir=cache)
            if base is not None and is_bare_adapter(folder):
                manifest = complete(folder, base, copy, name=name, version=version, labels=labels)
            else:
                found = fetch(source, cache_dir=cache)
                manifest = restate(
                    found.folder, found.manifest, copy, name=name, version=version, base=base, labels=labels
                )
            copies.check_base(manifest, self._place)
            self._say("loading it, to see that it answers")
            _check_it_answers(copy, cache)
            evidence = read_evidence(copy, None)
            return self._add(copy, manifest, evidence, source=_absolute(source))

    def get(self, reference: str) -> Version:
        """The version that `NAME/VERSION` or `NAME@ALIAS` names, with or without `registry:` in front.

        Raises:
            RegistryRefused: It is not a reference.
            VersionUnknown: There is no such version, or the alias points to none.
            RegistryUnavailable: MLflow or the artifacts cannot be read.
        """
        wanted = parse_reference(reference)
        versions = {found.version: found for found in self._versions(wanted.name)}
        if not versions:
            known = ", ".join(self._tracking.names()) or "none yet"
            raise VersionUnknown(f"no model {wanted.name!r} in the registry; there are: {known}")
        version = wanted.version
        if wanted.alias is not None:
            pointed = self._pointers.pointed(wanted.name)
            version = pointed.get(wanted.alias)
            if version is None:
                are = ", ".join(sorted(alias for alias, at in pointed.items() if at)) or "none"
                raise VersionUnknown(
                    f"{wanted.name}@{wanted.alias} points to no version; its aliases are: {are}"
                )
        if version not in versions:
            raise VersionUnknown(f"no version {version!r} of {wanted.name}; there are: {', '.join(versions)}")
        return versions[version]

    def versions(self, name: str | None = None) -> Sequence[Version]:
        """Every version, by name and in the order of registration; of one model, or of all."""
        names = [name] if name is not None else self._tracking.names()
        return [version for each in names for version in self._versions(each)]

    def parameters(self, version: Version) -> Mapping[str, str]:
        """The parameters of the run that made a version, by dotted name."""
        return self._tracking.parameters(version.run_id)

    def files(self, version: Version) -> Sequence[str]:
        """Addresses of what is kept of the run: its report, plots and evaluation."""
        return self._tracking.files(version.run_id)

    def set_alias(
        self,
        name: str,
        alias: str,
        version: str,
        *,
        expect: str | Expect = Expect.ANYTHING,
        undo: bool = False,
    ) -> Move:
        """Let an alias point to a version. Moving `champion` moves `previous` in the same step.

        Args:
            name: The model.
            alias: champion, canary, or another of small letters, digits, _ and -.
            version: The version.
            expect: What the alias must be for the move to be made.
            undo: Take the last move back, if that came from this version: `previous` is then what it was.

        Returns:
            The move; the last one if the alias pointed there already.

        Raises:
            VersionUnknown: No such version.
            RegistryRefused: An alias that cannot be set.
            AliasConflict: It is not what was expected, or another writer was first; nothing was changed.
            RegistryUnavailable: MLflow or the artifacts failed.
        """
        aliases.check_alias(alias)
        target = self.get(f"{name}/{version}")
        return self._pointers.move(name, alias, target.version, target.digest, expect, undo=undo)

    def delete_alias(self, name: str, alias: str, *, expect: str | Expect = Expect.ANYTHING) -> Move:
        """Let an alias point to nothing; its history stays. Arguments and errors as in `set_alias`."""
        aliases.check_alias(alias)
        return self._pointers.move(name, alias, None, None, expect)

    def history(self, name: str, alias: str) -> Sequence[Move]:
        """Every move of an alias, the oldest first; of `previous`, those of `champion`, which it follows."""
        return self._pointers.record(name, CHAMPION if alias == PREVIOUS else alias).moves

    def export(self, reference: str, to: Path) -> Version:
        """Put a verified copy of a version's bundle into a new folder.

        Raises:
            RegistryRefused: There is something at `to`.
            VersionUnknown: No such version.
            CopyDamaged: The registry's files are not those that were registered.
            RegistryUnavailable: MLflow, the artifacts or the disk failed.
        """
        version = self.get(reference)
        self._say(f"copying {version.uri}")
        copies.bring(version.uri, version.digest, to)
        return version

    def _add(
        self, folder: Path, manifest: BundleManifest, evidence: Evidence, *, source: str | None
    ) -> Version:
        copies.check_base(manifest, self._place)
        there = self._own(manifest.name).get(manifest.version)
        claim_key = f"versions/{manifest.name}/{manifest.version}"
        claim = self._place.read(claim_key)
        _refuse_other(manifest, claim)
        self._send(folder, manifest, repair=there is not None)
        if claim is None and not self._place.swap(claim_key, manifest.digest.encode(), tag=None):
            _refuse_other(manifest, self._place.read(claim_key))
        if there is None:
            tags = as_tags(manifest, evidence, source)
            run_id = self._tracking.record_run(manifest.name, manifest.version, evidence, tags)
            uri = self._place.uri(copies.key_of(manifest))
            made = self._tracking.create(manifest.name, uri=uri, run_id=run_id, tags=tags)
            if self._own(manifest.name)[manifest.version].number != made.number:
                self._tracking.remove(made)  # the same bundle, registered at the same moment
        return self.get(f"{manifest.name}/{manifest.version}")

    def _send(self, folder: Path, manifest: BundleManifest, *, repair: bool) -> None:
        uri = self._place.uri(copies.key_of(manifest))
        if repair:
            try:
                return copies.check(uri, manifest.digest)
            except CopyDamaged as error:
                self._say(f"{error}; sending it again")
        copies.send(self._place, folder, manifest, self._say)
        self._say("reading it back")
        try:
            copies.check(uri, manifest.digest)
        except CopyDamaged as error:
            raise CopyDamaged(
                f"{error}; nothing was registered: put that right and register again"
            ) from error

    def _own(self, name: str) -> dict[str, Entry]:
        """The model's versions that are bundles of ours; of two of a kind, the first."""
        own: dict[str, Entry] = {}
        here = self._place.uri("bundles/")
        for entry in self._tracking.entries(name):
            if f"{TAG}digest" not in entry.tags:
                continue
            if not entry.uri.startswith(here):
                raise RegistryRefused(
                    f"version {entry.number} of {name} lies at {entry.uri}, outside of {here}; give the "
                    f"registry the artifacts that belong to it (--artifacts or {ARTIFACTS_VARIABLE})"
                )
            own.setdefault(entry.tags[f"{TAG}version"], entry)
        return own

    def _numbers(self, name: str) -> dict[str, int]:
        return {version: entry.number for version, entry in self._own(name).items()}

    def _versions(self, name: str) -> Sequence[Version]:
        entries = self._own(name)
        if not entries:
            return []
        pointed = self._pointers.mirror(name)
        figures = self._tracking.figures(name)
        return [
            as_version(
                entry,
                tuple(sorted(alias for alias, at in pointed.items() if at == version)),
                figures.get(entry.run_id, {}),
            )
            for version, entry in entries.items()
        ]


def _refuse_other(manifest: BundleManifest, claim: Stored | None) -> None:
    """Raise `VersionConflict` if the name and version are claimed for another digest."""
    if claim is not None and (digest := claim.content.decode()) != manifest.digest:
        raise VersionConflict(
            f"{manifest.name}/{manifest.version} is the bundle {digest}; this one is {manifest.digest}. "
            "Versions do not change: give this one another with --version"
        )


def _check_it_answers(bundle: Path, cache: Path) -> None:
    """Load it as a replica does, with the admission check; raises `BundleError` where a replica would."""
    from serve_app.model.classifier import Classifier

    Classifier(fetch(str(bundle), cache_dir=cache), device="cpu")


def _as_parent(version: Version) -> Parent:
    return Parent(version.name, version.version, version.digest)


def _absolute(source: str) -> str:
    return source if ":" in source else Path(source).absolute().as_uri()
