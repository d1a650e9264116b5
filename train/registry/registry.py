"""Operations of the registry, in an order of steps that keeps it consistent if a writer dies.

To register a version, its files are uploaded, read back and verified (artifacts.py); then its name and
version are claimed for its digest; then it is added to MLflow. To move an alias, its record is moved, and
then MLflow is updated (alias_store.py). Reads use the records, and update MLflow if it is outdated.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from serve_app.model.bundle import BundleManifest, read_manifest, verify
from serve_app.model.resolver import fetch, fetch_folder
from train.errors import DamagedArtifactError, RegistryRequestError, UnknownVersionError, VersionConflictError
from train.registry import aliases, artifacts
from train.registry.adapters import complete, is_bare_adapter
from train.registry.alias_store import AliasStore
from train.registry.aliases import CHAMPION, PREVIOUS, Expect, Move
from train.registry.mlflow_backend import TAG, Entry, Tracking, as_tags, as_version
from train.registry.rebundle import rebundle
from train.registry.references import ParentVersion, Version, parse_reference
from train.registry.run_metadata import RunMetadata, find_bundle, read_evidence
from train.storage.base import ARTIFACTS_VARIABLE, Place, Stored


class Registry:
    """Registry of versions and aliases. Safe for threads and processes."""

    def __init__(
        self,
        tracking: Tracking,
        place: Place,
        *,
        now: Callable[[], datetime],
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._tracking, self._place, self._say = tracking, place, say
        self._alias_store = AliasStore(tracking, place, now=now, numbers=self._numbers)

    def register(
        self,
        run_or_bundle: Path,
        *,
        name: str | None = None,
        version: str | None = None,
        base: str | None = None,
        parent: str | None = None,
    ) -> Version:
        """Add a version, or verify and return the existing one with the same digest.

        Args:
            run_or_bundle: Folder of `fit --out`, or of a bundle.
            name: Name to use instead of the bundle's; it changes the digest.
            version: Version to use instead of the bundle's; it changes the digest.
            base: URI of the adapter's base, if it differs from the bundle's; the files must be the same.
            parent: Reference of the version it was trained from; by default the one in the run's report.

        Raises:
            RegistryRequestError: There is no bundle, or it could not be served from the registry.
            VersionConflictError: Another bundle has the name and version.
            DamagedArtifactError: The uploaded files differ when read back; nothing was registered.
            RegistryUnavailableError: MLflow, S3 or the disk failed; a retry continues.
            serve_app.errors.BundleError: The bundle does not match its manifest.
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
            changed = rebundle(folder, manifest, copy, name=name, version=version, base=base)
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
        """Create a bundle of a model, check that it can be served, and register it.

        Args:
            source: URI as for `serve_app.model.resolver.fetch`: a folder, `s3://…`,
                `hf:organisation/model@revision`.
            name: Name; by default the bundle's, the folder's or the hub's.
            version: Version; by default the bundle's, the hub's commit, or a hash of the files.
            labels: Labels in the order of the logits; by default the model's own.
            base: As for `register`; for an adapter in PEFT's format, its base model.

        Raises:
            serve_app.errors.BundleError: The model does not exist, or cannot be served.
            TrainError: As for `register`.
        """
        with TemporaryDirectory(prefix="registry-") as staging:
            self._say(f"fetching {source}")
            cache, copy = Path(staging) / "cache", Path(staging) / "bundle"
            folder = fetch_folder(source, cache_dir=cache)
            if base is not None and is_bare_adapter(folder):
                manifest = complete(folder, base, copy, name=name, version=version, labels=labels)
            else:
                found = fetch(source, cache_dir=cache)
                manifest = rebundle(
                    found.folder, found.manifest, copy, name=name, version=version, base=base, labels=labels
                )
            artifacts.check_base(manifest, self._place)
            self._say("loading the model, to check it")
            _check_it_answers(copy, cache)
            evidence = read_evidence(copy, None)
            return self._add(copy, manifest, evidence, source=_absolute(source))

    def get(self, reference: str) -> Version:
        """Return the version of a reference, `NAME/VERSION` or `NAME@ALIAS`, with or without `registry:`.

        Raises:
            RegistryRequestError: The text is not a reference.
            UnknownVersionError: The version does not exist, or the alias points to none.
            RegistryUnavailableError: MLflow or the artifacts cannot be read.
        """
        wanted = parse_reference(reference)
        versions = {entry.version: entry for entry in self._versions(wanted.name)}
        if not versions:
            known = ", ".join(self._tracking.names()) or "none yet"
            raise UnknownVersionError(f"no model {wanted.name!r} in the registry; it has: {known}")
        version = wanted.version
        if wanted.alias is not None:
            pointed = self._alias_store.pointed(wanted.name)
            version = pointed.get(wanted.alias)
            if version is None:
                are = ", ".join(sorted(alias for alias, at in pointed.items() if at)) or "none"
                raise UnknownVersionError(
                    f"{wanted.name}@{wanted.alias} points to no version; its aliases are: {are}"
                )
        if version not in versions:
            raise UnknownVersionError(
                f"no version {version!r} of {wanted.name}; it has: {', '.join(versions)}"
            )
        return versions[version]

    def versions(self, name: str | None = None) -> Sequence[Version]:
        """Return the versions of one or all models, by name and in the order of registration."""
        names = [name] if name is not None else self._tracking.names()
        return [version for each in names for version in self._versions(each)]

    def parameters(self, version: Version) -> Mapping[str, str]:
        """Return the parameters of a version's training run, by dotted name."""
        return self._tracking.parameters(version.run_id)

    def files(self, version: Version) -> Sequence[str]:
        """Return the URIs of the run's files: its report, plots and evaluation."""
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
        """Move an alias to a version. Moving `champion` changes `previous` in the same step.

        Args:
            name: Name of the model.
            alias: champion, canary, or another name of lower-case letters, digits, _ and -.
            version: New version.
            expect: Expected current version or state; otherwise the move fails.
            undo: Whether to revert the last move, if it started at this version; this restores `previous`.

        Returns:
            The move, or the last one if the alias already points to the version.

        Raises:
            UnknownVersionError: The version does not exist.
            RegistryRequestError: The alias cannot be set.
            AliasConflictError: The alias is not as expected, or another writer was first; nothing changed.
            RegistryUnavailableError: MLflow or the artifacts failed.
        """
        aliases.check_alias(alias)
        target = self.get(f"{name}/{version}")
        return self._alias_store.move(name, alias, target.version, target.digest, expect, undo=undo)

    def delete_alias(self, name: str, alias: str, *, expect: str | Expect = Expect.ANYTHING) -> Move:
        """Remove an alias and keep its history. Arguments and errors as for `set_alias`."""
        aliases.check_alias(alias)
        return self._alias_store.move(name, alias, None, None, expect)

    def history(self, name: str, alias: str) -> Sequence[Move]:
        """Return the moves of an alias, the oldest first; for `previous`, those of `champion`."""
        return self._alias_store.record(name, CHAMPION if alias == PREVIOUS else alias).moves

    def export(self, reference: str, to: Path) -> Version:
        """Download a version's bundle to a new folder, and verify it.

        Raises:
            RegistryRequestError: `to` exists and is not empty.
            UnknownVersionError: The version does not exist.
            DamagedArtifactError: The registry's files differ from those that were registered.
            RegistryUnavailableError: MLflow, the artifacts or the disk failed.
        """
        version = self.get(reference)
        self._say(f"copying {version.uri}")
        artifacts.bring(version.uri, version.digest, to)
        return version

    def _add(
        self, folder: Path, manifest: BundleManifest, evidence: RunMetadata, *, source: str | None
    ) -> Version:
        artifacts.check_base(manifest, self._place)
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
            uri = self._place.uri(artifacts.key_of(manifest))
            made = self._tracking.create(manifest.name, uri=uri, run_id=run_id, tags=tags)
            if self._own(manifest.name)[manifest.version].number != made.number:
                self._tracking.remove(made)  # the same bundle, registered at the same moment
        return self.get(f"{manifest.name}/{manifest.version}")

    def _send(self, folder: Path, manifest: BundleManifest, *, repair: bool) -> None:
        uri = self._place.uri(artifacts.key_of(manifest))
        if repair:
            try:
                return artifacts.check(uri, manifest.digest)
            except DamagedArtifactError as error:
                self._say(f"{error}; uploading it again")
        artifacts.send(self._place, folder, manifest, self._say)
        self._say("verifying the upload")
        try:
            artifacts.check(uri, manifest.digest)
        except DamagedArtifactError as error:
            raise DamagedArtifactError(f"{error}; nothing was registered: fix this and retry") from error

    def _own(self, name: str) -> dict[str, Entry]:
        """Return the model's versions with this project's tags; of duplicates, the first."""
        own: dict[str, Entry] = {}
        here = self._place.uri("bundles/")
        for entry in self._tracking.entries(name):
            if f"{TAG}digest" not in entry.tags:
                continue
            if not entry.uri.startswith(here):
                raise RegistryRequestError(
                    f"version {entry.number} of {name} is at {entry.uri}, outside of {here}; set the "
                    f"artifact store that belongs to the registry (--artifacts or {ARTIFACTS_VARIABLE})"
                )
            own.setdefault(entry.tags[f"{TAG}version"], entry)
        return own

    def _numbers(self, name: str) -> dict[str, int]:
        return {version: entry.number for version, entry in self._own(name).items()}

    def _versions(self, name: str) -> Sequence[Version]:
        entries = self._own(name)
        if not entries:
            return []
        pointed = self._alias_store.mirror(name)
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
    """Raise `VersionConflictError` if the name and version are claimed for another digest."""
    if claim is not None and (digest := claim.content.decode()) != manifest.digest:
        raise VersionConflictError(
            f"{manifest.name}/{manifest.version} is the bundle {digest}, and this one is {manifest.digest}. "
            "Versions are immutable: use another one with --version"
        )


def _check_it_answers(bundle: Path, cache: Path) -> None:
    """Load the bundle as a replica does, with the acceptance check; raises `BundleError` as a replica."""
    from serve_app.model.classifier import Classifier

    Classifier(fetch(str(bundle), cache_dir=cache), device="cpu")


def _as_parent(version: Version) -> ParentVersion:
    return ParentVersion(version.name, version.version, version.digest)


def _absolute(source: str) -> str:
    return source if ":" in source else Path(source).absolute().as_uri()
