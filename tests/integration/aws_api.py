"""AWS stand-in: moto's server, with the calls that Terraform makes and moto does not implement.

    python -m tests.integration.aws_api PORT

It checks that requests are well formed and refer to each other; nothing runs. Lambda is not invoked, alarms
are not evaluated, pipelines do not move.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, unquote

import moto.codebuild.responses as codebuild
import moto.eks.models as eks
import moto.s3.models as s3
import moto.sagemaker.models as sagemaker
from moto.cloudwatch.responses import CloudWatchResponse
from moto.ec2 import ec2_backends
from moto.iam.access_control import PermissionResult
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

ACCOUNT = "123456789012"
G5_VCPUS = {"L-DB2E81BA": 64.0, "L-3819A6DF": 0.0}
"""Simulated service quotas: vCPUs of G instances on demand, and of spot ones."""
_DATED = re.compile(
    rb'"(creationDate|lastModifiedDate|created|updated|startTime|lastUpdateTime)": ?"(\d{4}-[^"]+)"'
)
_IDENTITIES = "pod-identity-associations"
_IN_SECONDS = ("CodeCommit", "CodePipeline")
"""Services for which moto writes dates as text, where AWS writes seconds."""

Answer = dict[str, Any]
Start = Callable[..., Any]


class MissingResourceError(Exception):
    """Requested object that does not exist."""


def application() -> Gaps:
    """Return moto with the additional calls."""
    _give_clusters_a_security_group()
    _accept_what_aws_accepts()
    # moto stores composite alarms like other alarms, and lacks only the call.
    CloudWatchResponse.put_composite_alarm = CloudWatchResponse.put_metric_alarm
    return Gaps(DomainDispatcherApplication(create_backend_app))


class Gaps:
    """WSGI middleware that answers the calls that moto lacks, and forwards the others."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._eks, self._tags = Eks(), Tags()

    def __call__(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        signature = environ.get("HTTP_AUTHORIZATION", "")
        answer: Answer | None = None
        status = "200 OK"
        try:
            if target:
                answer = self._tags.answer(target, json.loads(_body(environ) or b"{}"))
            elif "/eks/" in signature:
                path, _, query = (environ.get("RAW_URI") or environ["PATH_INFO"]).partition("?")
                query = query or environ.get("QUERY_STRING", "")
                body = json.loads(_body(environ) or b"{}")
                answer = self._eks.answer(
                    _region(signature), environ["REQUEST_METHOD"], path, body, parse_qs(query)
                )
        except MissingResourceError as missing:
            answer = {"__type": "ResourceNotFoundException", "message": str(missing)}
            status = "404 Not Found"
        if answer is not None:
            return _send(answer, status, start)
        if target.startswith(_IN_SECONDS):
            return self._with_dates_in_seconds(environ, start)
        handed_on: Iterable[bytes] = self._app(environ, start)
        return handed_on

    def _with_dates_in_seconds(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        told: list[Any] = []
        content = b"".join(self._app(environ, lambda status, headers, *_: told.extend((status, headers))))
        content = _DATED.sub(_seconds, content)
        headers = [(name, value) for name, value in told[1] if name.lower() != "content-length"]
        start(told[0], [*headers, ("Content-Length", str(len(content)))])
        return [content]


class Tags:
    """Calls with a target: tags of repositories, and the service quotas of G instances."""

    def __init__(self) -> None:
        self._of: dict[str, dict[str, str]] = {}

    def answer(self, target: str, body: Mapping[str, Any]) -> Answer | None:
        service, _, call = target.partition(".")
        if service.startswith("ServiceQuotas") and body.get("QuotaCode") in G5_VCPUS:
            return {"Quota": {"QuotaCode": body["QuotaCode"], "Value": G5_VCPUS[body["QuotaCode"]]}}
        if not service.startswith("CodeCommit"):
            return None
        arn = body.get("resourceArn", "")
        if call == "ListTagsForResource":
            return {"tags": self._of.get(arn, {})}
        if call == "TagResource":
            self._of.setdefault(arn, {}).update(body["tags"])
            return {}
        return None


_ADDON_VERSION = "v1.0.0-eksbuild.1"
_WRAPPED = {
    "addons": ("addon", "addons"),
    "access-entries": ("accessEntry", "accessEntries"),
    _IDENTITIES: ("association", "associations"),
}
"""Names of one and of several objects of a kind in EKS answers."""


class Eks:
    """EKS add-ons, access entries and pod identities."""

    _PATH = re.compile(
        r"/clusters/(?P<cluster>[^/]+)/(?P<kind>addons|access-entries|pod-identity-associations)"
        r"(?:/(?P<name>[^/]+))?(?P<policies>/access-policies)?$"
    )

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, str, str], dict[str, Any]] = {}
        self._policies: dict[tuple[str, str, str], dict[str, dict[str, Any]]] = {}

    def answer(
        self,
        region: str,
        method: str,
        path: str,
        body: Mapping[str, Any],
        query: Mapping[str, Sequence[str]],
    ) -> Answer | None:
        if path == "/addons/supported-versions":
            return {"addons": [_offered(addon) for addon in query.get("addonName", ())]}
        found = self._PATH.match(path)
        if found is None:
            return None
        cluster, kind, name = found["cluster"], found["kind"], unquote(found["name"] or "")
        one, several = _WRAPPED[kind]
        if found["policies"]:
            return self._access(region, method, cluster, name, body)
        if method == "POST" and not name:
            key, made = self._make(region, cluster, kind, body)
            self._kept[region, cluster, kind, key] = made
            return {one: made}
        if method == "GET" and not name:
            names = [
                kept if kind == _IDENTITIES else key[3]
                for key, kept in self._kept.items()
                if key[:3] == (region, cluster, kind)
            ]
            return {several: names}
        kept = self._kept.get((region, cluster, kind, name))
        if kept is None:
            raise MissingResourceError(f"{kind} {name} of {cluster}")
        if method == "DELETE":
            del self._kept[region, cluster, kind, name]
        return {one: kept}

    def _make(
        self, region: str, cluster: str, kind: str, body: Mapping[str, Any]
    ) -> tuple[str, dict[str, Any]]:
        now = time.time()
        made = {"clusterName": cluster, "createdAt": now, "modifiedAt": now, **body}
        made.setdefault("tags", {})
        if kind == "addons":
            name = body["addonName"]
            made |= {"status": "ACTIVE", "health": {"issues": []}, "addonVersion": _ADDON_VERSION}
            bound = [
                self._make(region, cluster, _IDENTITIES, {"namespace": "kube-system", **one})
                for one in body.get("podIdentityAssociations", ())
            ]
            self._kept |= {(region, cluster, _IDENTITIES, key): one for key, one in bound}
            made["podIdentityAssociations"] = [one["associationArn"] for _, one in bound]
            made["addonArn"] = _arn("eks", region, f"addon/{cluster}/{name}/x")
        elif kind == "access-entries":
            name = body["principalArn"]
            made |= {"type": body.get("type", "STANDARD"), "username": name}
            made.setdefault("kubernetesGroups", [])
            made["accessEntryArn"] = _arn("eks", region, f"access-entry/{cluster}/{uuid.uuid4().hex}")
        else:
            name = f"a-{uuid.uuid4().hex[:16]}"
            made["associationId"] = name
            made["associationArn"] = _arn("eks", region, f"podidentityassociation/{cluster}/{name}")
        return name, made

    def _access(
        self, region: str, method: str, cluster: str, principal: str, body: Mapping[str, Any]
    ) -> Answer:
        kept = self._policies.setdefault((region, cluster, principal), {})
        if method == "POST":
            now = time.time()
            kept[body["policyArn"]] = {**body, "associatedAt": now, "modifiedAt": now}
            return {"clusterName": cluster, "associatedAccessPolicy": kept[body["policyArn"]]}
        return {
            "clusterName": cluster,
            "principalArn": principal,
            "associatedAccessPolicies": list(kept.values()),
        }


def _offered(addon: str) -> Answer:
    """Return an add-on with one version, which is the default."""
    version = {"addonVersion": _ADDON_VERSION, "compatibilities": [{"defaultVersion": True}]}
    return {"addonName": addon, "addonVersions": [version]}


def _give_clusters_a_security_group() -> None:
    """Create a security group for every cluster, in its subnets' VPC, as EKS does and moto does not."""
    make = eks.Cluster.__init__

    def make_with_group(self: Any, *given: Any, **named: Any) -> None:
        make(self, *given, **named)
        ec2 = ec2_backends[named["account_id"]][named["region_name"]]
        vpc = ec2.get_subnet(self.resources_vpc_config["subnetIds"][0]).vpc_id
        group = ec2.create_security_group(f"eks-cluster-sg-{self.name}", "EKS's own", vpc)
        self.resources_vpc_config |= {"vpcId": vpc, "clusterSecurityGroupId": group.id}

    eks.Cluster.__init__ = make_with_group


def _accept_what_aws_accepts() -> None:
    """Remove three checks of moto that differ from AWS."""

    def any_ml_type(self: object, kind: str) -> None:
        assert kind.startswith("ml."), kind

    for name in dir(sagemaker):
        made = getattr(sagemaker, name)
        if isinstance(made, type) and "validate_instance_type" in vars(made):
            made.validate_instance_type = any_ml_type

    # A source that CodePipeline provides has no location of its own.
    for name in ("_validate_required_params_source", "_validate_required_params_artifacts"):
        checks = getattr(codebuild, name)
        setattr(
            codebuild,
            name,
            lambda given, checks=checks: None if given["type"] == "CODEPIPELINE" else checks(given),
        )

    # moto ignores a Condition in a bucket's policy: a refusal of requests without TLS would refuse
    # everything.
    permission = s3.FakeBucket.get_permission

    def without_conditions(self: Any, action: str, resource: str) -> PermissionResult:
        policy = self.policy
        if not policy:
            return permission(self, action, resource)
        document = json.loads(policy)
        document["Statement"] = [one for one in document["Statement"] if not one.get("Condition")]
        if not document["Statement"]:
            return PermissionResult.NEUTRAL
        self.policy = json.dumps(document).encode()
        try:
            return permission(self, action, resource)
        finally:
            self.policy = policy

    s3.FakeBucket.get_permission = without_conditions


def _body(environ: dict[str, Any]) -> bytes:
    """Return the request's body, and keep it readable for moto."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    content: bytes = environ["wsgi.input"].read(length) if length else b""
    environ["wsgi.input"] = io.BytesIO(content)
    return content


def _send(answer: Answer, status: str, start: Start) -> list[bytes]:
    content = json.dumps(answer).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
    if not status.startswith("200"):
        headers.append(("x-amzn-ErrorType", answer["__type"]))
    start(status, headers)
    return [content]


def _seconds(found: re.Match[bytes]) -> bytes:
    when = dt.datetime.fromisoformat(found[2].decode().replace("Z", "+00:00"))
    return b'"%s": %d' % (found[1], when.replace(tzinfo=when.tzinfo or dt.UTC).timestamp())


def _region(signature: str) -> str:
    """Return the region in `Credential=KEY/DATE/REGION/SERVICE/aws4_request`."""
    return signature.partition("Credential=")[2].split("/")[2]


def _arn(service: str, region: str, resource: str) -> str:
    return f"arn:aws:{service}:{region}:{ACCOUNT}:{resource}"


if __name__ == "__main__":
    run_simple("127.0.0.1", int(sys.argv[1]), application(), threaded=True)
