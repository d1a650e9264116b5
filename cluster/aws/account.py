"""Adapter to boto3: identity, quotas, instance types and existing resources of the AWS account."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from cluster.errors import AwsCredentialsError, AwsRequestError
from cluster.kuberay.manifests.node_limits import peak
from cluster.kuberay.settings import Capacity, Environment

QUOTAS = {"on-demand": "L-DB2E81BA", "spot": "L-3819A6DF"}
"""Codes of Service Quotas for vCPUs of G and VT instances: running on-demand instances, and spot requests."""
_CONFIG = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 3})
_VERSIONED = {"Status": "Enabled"}
_PRIVATE = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Identity and region of the AWS calls."""

    account: str
    arn: str
    region: str


@dataclass(frozen=True, slots=True)
class Quota:
    """Quota of vCPUs of G instances: the number that all pods need, and the allowed one (None if unknown)."""

    capacity: str
    needed: int
    allowed: int | None

    @property
    def enough(self) -> bool:
        """Whether the quota is sufficient for all pods."""
        return self.allowed is not None and self.allowed >= self.needed


class Account:
    """AWS account as the command line uses it.

    Args:
        region: Region of all resources.
    """

    def __init__(self, region: str) -> None:
        self._session = boto3.session.Session(region_name=region)
        self._region = region

    def identity(self) -> Identity:
        """Return the caller's identity. Raises AwsCredentialsError without usable credentials."""
        with _translated("sts:GetCallerIdentity"):
            answer = self._client("sts").get_caller_identity()
        return Identity(answer["Account"], answer["Arn"], self._region)

    def offered(self, types: Sequence[str]) -> Sequence[str]:
        """Return the instance types that are available in the region."""
        with _translated("ec2:DescribeInstanceTypeOfferings"):
            pages = self._client("ec2").get_paginator("describe_instance_type_offerings")
            filters = [{"Name": "instance-type", "Values": list(types)}]
            found = {
                offer["InstanceType"]
                for page in pages.paginate(LocationType="region", Filters=filters)
                for offer in page["InstanceTypeOfferings"]
            }
        return [kind for kind in types if kind in found]

    def quotas(self, needed: int) -> Sequence[Quota]:
        """Return the quotas of vCPUs of G instances, on demand and spot, with the needed number."""
        client = self._client("service-quotas")
        found = []
        for capacity, code in QUOTAS.items():
            with _translated("servicequotas:GetServiceQuota"):
                try:
                    value = client.get_service_quota(ServiceCode="ec2", QuotaCode=code)["Quota"]["Value"]
                except client.exceptions.NoSuchResourceException:
                    value = None
            found.append(Quota(capacity, needed, None if value is None else int(value)))
        return found

    def gpu_nodes(self, cluster: str) -> Sequence[str]:
        """Return the instances that Karpenter runs for the cluster, which Terraform does not manage."""
        filters = [
            {"Name": f"tag:kubernetes.io/cluster/{cluster}", "Values": ["owned"]},
            {"Name": "tag-key", "Values": ["karpenter.sh/nodepool"]},
            {"Name": "instance-state-name", "Values": ["pending", "running", "stopping"]},
        ]
        with _translated("ec2:DescribeInstances"):
            pages = self._client("ec2").get_paginator("describe_instances").paginate(Filters=filters)
            return [
                one["InstanceId"]
                for page in pages
                for group in page["Reservations"]
                for one in group["Instances"]
            ]

    def alarms(self, names: Sequence[str]) -> Mapping[str, str]:
        """Return the state of each alarm: OK, ALARM or INSUFFICIENT_DATA."""
        with _translated("cloudwatch:DescribeAlarms"):
            client = self._client("cloudwatch")
            answers = [
                client.describe_alarms(AlarmNames=list(names), AlarmTypes=[kind])[f"{kind}s"]
                for kind in ("MetricAlarm", "CompositeAlarm")
            ]
        return {one["AlarmName"]: one["StateValue"] for found in answers for one in found}

    def pipelines(self, names: Sequence[str]) -> Mapping[str, str]:
        """Return the state of each pipeline's last execution."""
        client, found = self._client("codepipeline"), {}
        for name in names:
            with _translated("codepipeline:ListPipelineExecutions"):
                runs = client.list_pipeline_executions(pipelineName=name, maxResults=1)
            summaries = runs["pipelineExecutionSummaries"]
            found[name] = summaries[0]["status"] if summaries else "never ran"
        return found

    def cluster(self, name: str) -> str:
        """Return the state of the EKS cluster."""
        with _translated("eks:DescribeCluster"):
            status: str = self._client("eks").describe_cluster(name=name)["cluster"]["status"]
        return status

    def has_bucket(self, bucket: str) -> bool:
        """Return whether the bucket exists."""
        with _translated("s3:HeadBucket"):
            try:
                self._client("s3").head_bucket(Bucket=bucket)
            except ClientError as error:
                if error.response["Error"]["Code"] != "404":
                    raise
                return False
        return True

    def make_state_bucket(self, bucket: str) -> None:
        """Create the bucket of Terraform's state: versioned and private."""
        s3 = self._client("s3")
        with _translated("s3:CreateBucket"):
            # S3 rejects us-east-1 as a location constraint.
            location: Any = {"CreateBucketConfiguration": {"LocationConstraint": self._region}}
            s3.create_bucket(Bucket=bucket, **({} if self._region == "us-east-1" else location))
            s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=_PRIVATE)
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=_VERSIONED)

    def _client(self, service: str) -> Any:
        return self._session.client(service, config=_CONFIG)


def most_vcpus(environment: Environment, capacity: Capacity | None = None) -> int:
    """Return the vCPUs of the nodes for all pods at once, during an upgrade and including the training.

    Args:
        environment: Environment of the pods.
        capacity: Count only pods that need this capacity type; default: all pods.
    """
    return peak(environment, lambda kind: kind.vcpus, capacity)


@contextmanager
def _translated(call: str) -> Iterator[None]:
    """Translate boto3's errors into the control plane's."""
    try:
        yield
    except NoCredentialsError as error:
        raise AwsCredentialsError(
            f"{call}: no AWS credentials; set AWS_PROFILE, or sign in with `aws sso login`, then retry"
        ) from error
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if call.startswith("sts:"):
            raise AwsCredentialsError(
                f"{call}: AWS rejects the credentials ({code}); sign in again"
            ) from error
        raise AwsRequestError(f"{call}: {error}") from error
    except BotoCoreError as error:
        raise AwsRequestError(f"{call}: {error}; check the region and the network") from error
