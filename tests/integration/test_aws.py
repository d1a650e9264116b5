"""Tests of the AWS objects from the command line: price, buckets, events, functions, pipelines, alarms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from moto.events.models import EventPattern

from cluster.aws.functions import pipeline_trigger
from cluster.kuberay.manifests.karpenter import DISCOVERY_TAG
from cluster.kuberay.manifests.render import service_documents, training_documents
from cluster.kuberay.settings import Environment, read_environment
from cluster.monitoring.agent import NAME as AGENT
from cluster.monitoring.agent import agent_documents, log_group
from cluster.monitoring.catalog import read_catalog
from tests import aws_events as events
from tests.conftest import ROOT
from tests.iam import allowed
from tests.integration.aws_api import ACCOUNT
from tests.integration.installed import DATA, MODELS, REGION, Installed


@pytest.fixture(scope="module")
def prod() -> Environment:
    return read_environment("prod")


def test_quota_and_price_are_said_before_anything_is_made(installed: Installed) -> None:
    quota = installed.said.index("all pods need 600 vCPUs of G instances; the quota is 64 on-demand, 0 spot")
    price = installed.said.index("total with maximum pods")
    assert quota < price < installed.said.index("Creating...")


def test_without_quota_nothing_is_made(installed: Installed) -> None:
    ended = installed.cluster("up", "--yes")
    assert ended.returncode == 1
    assert "nothing was changed: all pods need 600 vCPUs" in ended.stderr


def test_the_state_lies_in_a_private_versioned_bucket(installed: Installed) -> None:
    s3, bucket = installed.client("s3"), f"sentiment-tfstate-{ACCOUNT}-{REGION}"
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    assert all(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())
    state = json.load(s3.get_object(Bucket=bucket, Key="sentiment.tfstate")["Body"])
    assert str(ROOT) not in json.dumps(state)  # the state is the same from any machine


@pytest.mark.parametrize("bucket", [DATA, MODELS, f"sentiment-artifacts-{ACCOUNT}-{REGION}"])
def test_buckets_are_private_encrypted_and_hear_tls_alone(installed: Installed, bucket: str) -> None:
    s3 = installed.client("s3")
    assert all(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())
    rules = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    statements = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
    everyone = [{**one, "Effect": "Allow"} for one in statements if one["Effect"] == "Deny"]
    plain = {"aws:SecureTransport": "false"}
    assert allowed(everyone, "s3:GetObject", f"arn:aws:s3:::{bucket}/x", plain)  # as a denial
    assert not allowed(everyone, "s3:GetObject", f"arn:aws:s3:::{bucket}/x", {"aws:SecureTransport": "true"})


def test_captured_texts_are_forgotten_and_models_kept(installed: Installed) -> None:
    s3 = installed.client("s3")

    def expiring(bucket: str) -> dict[str, int]:
        rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
        return {
            rule["Filter"]["Prefix"]: rule["Expiration"]["Days"] for rule in rules if "Expiration" in rule
        }

    assert expiring(DATA) == {"captured/predictions/": 180, "captured/feedback/": 180, "marks/": 3}
    assert expiring(MODELS) == {}
    assert s3.get_bucket_versioning(Bucket=MODELS)["Status"] == "Enabled"


EVENTS: Mapping[str, tuple[events.Event, str | None]] = {
    "a verdict": (events.object_created(DATA, "drift/20261126T140000Z/verdict.json"), "drift-check"),
    "a drift report": (events.object_created(DATA, "drift/20261126T140000Z/report.html"), None),
    "a prediction": (events.object_created(DATA, "captured/predictions/date=2026-11-26/x.parquet"), None),
    "a mark": (events.object_created(DATA, "marks/0123.json"), None),
    "an entry": (events.object_created(DATA, "rollout/entries/00000007.json"), "rollout-watcher"),
    "a lock": (events.object_created(DATA, "rollout/lock"), None),
    "a version": (events.object_created(MODELS, "registry/versions/senti/7"), "pipeline-trigger"),
    "an artifact": (events.object_created(MODELS, "registry/bundles/senti/7/bundle.json"), None),
    "another's bucket": (events.object_created("other", "registry/versions/senti/7"), None),
    "retrain": (
        {
            **events.alarm(),
            "resources": [f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:sentiment-retrain"],
        },
        "pipeline-trigger",
    ),
    "another alarm": (events.alarm(), None),
    "an end": (events.pipeline("FAILED", "sentiment-commit"), "rollout-watcher"),
    "a start": (events.pipeline("STARTED", "sentiment-commit"), None),
    "another's pipeline": (events.pipeline("FAILED", "billing"), None),
    "a rejection": (events.approval("FAILED", "sentiment-retrain"), "pipeline-trigger"),
    "an approval": (events.approval("SUCCEEDED", "sentiment-retrain"), None),
}


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_reaches_its_function_and_no_other(installed: Installed, name: str) -> None:
    event, function = EVENTS[name]
    client = installed.client("events")
    reached = [
        target["Arn"]
        for rule in client.list_rules()["Rules"]
        if rule.get("EventPattern") and EventPattern.load(rule["EventPattern"]).matches_event(event)
        for target in client.list_targets_by_rule(Rule=rule["Name"])["Targets"]
    ]
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:sentiment-{function}"
    assert reached == ([arn] if function else [])


def test_a_commit_on_the_branch_starts_its_pipeline(installed: Installed) -> None:
    client = installed.client("events")
    pattern = EventPattern.load(client.describe_rule(Name="sentiment-commit")["EventPattern"])
    detail = {"event": "referenceUpdated", "referenceType": "branch", "referenceName": "main"}
    event: Any = {
        "source": "aws.codecommit",
        "detail-type": "CodeCommit Repository State Change",
        "resources": [f"arn:aws:codecommit:{REGION}:{ACCOUNT}:sentiment"],
        "detail": detail,
    }
    assert pattern.matches_event(event)
    assert not pattern.matches_event({**event, "detail": {**detail, "referenceName": "try"}})
    [target] = client.list_targets_by_rule(Rule="sentiment-commit")["Targets"]
    assert target["Arn"].endswith(":sentiment-commit")
    assert allowed(
        installed.statements("sentiment-pipeline-start"), "codepipeline:StartPipelineExecution", target["Arn"]
    )


def test_every_function_has_its_variables_and_a_timeout(installed: Installed) -> None:
    client = installed.client("lambda")
    for name in ("probe", "drift_check", "pipeline_trigger", "rollout_watcher"):
        found = client.get_function_configuration(FunctionName=f"sentiment-{name.replace('_', '-')}")
        assert found["Handler"] == f"cluster.aws.functions.{name}.handler"
        assert found["Timeout"] <= 30
        # Every setting that its source reads exists; only `probe` stores no marks.
        source = (ROOT / "cluster" / "aws" / "functions" / f"{name}.py").read_text()
        asked = {part.partition('"')[0] for part in source.split('setting("')[1:]}
        optional = {"PROBE_TEXTS", "PROBE_TIMEOUT_MS", "PROBE_API_KEY_SECRET", "OWN_VERSIONS"}
        assert asked - optional <= set(found["Environment"]["Variables"])


def test_what_starts_a_pipeline_starts_one_that_is_there(
    installed: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = installed.client("lambda").get_function_configuration(
        FunctionName="sentiment-pipeline-trigger"
    )["Environment"]["Variables"]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    statements = installed.statements("sentiment-function-pipeline_trigger")
    for name in ("retrain", "a version", "a rejection"):
        start = pipeline_trigger.wanted(EVENTS[name][0])
        assert start is not None
        if start.kind == "pipeline":
            pipeline = installed.client("codepipeline").get_pipeline(name=start.name)["pipeline"]
            assert {one["name"] for one in pipeline.get("variables", ())} >= set(start.variables)
            arn = f"arn:aws:codepipeline:{REGION}:{ACCOUNT}:{start.name}"
            assert allowed(statements, "codepipeline:StartPipelineExecution", arn)
        else:
            [project] = installed.client("codebuild").batch_get_projects(names=[start.name])["projects"]
            assert allowed(statements, "codebuild:StartBuild", project["arn"])


def test_pipelines_go_their_way_and_builds_find_their_steps(installed: Installed) -> None:
    client = installed.client("codepipeline")
    end = ["Canary", "Approve", "Promote"]
    ways = {"commit": ["Test", "Image", "Upgrade", "Train"], "retrain": ["Retrain"], "release": []}
    projects = set()
    for name, way in ways.items():
        stages = client.get_pipeline(name=f"sentiment-{name}")["pipeline"]["stages"]
        assert [stage["name"] for stage in stages] == ["Source", *way, *end]
        actions = [action["configuration"] for stage in stages for action in stage["actions"]]
        projects |= {action["ProjectName"] for action in actions if "ProjectName" in action}
        verbs = [
            variable["value"]
            for action in actions
            for variable in json.loads(action.get("EnvironmentVariables", "[]"))
            if variable["name"] == "ROLLOUT_VERB"
        ]
        assert verbs == ["start", "promote"]
    outside = {"sentiment-drift", "sentiment-abort"}
    found = installed.client("codebuild").batch_get_projects(names=[*projects, *outside])["projects"]
    assert len(found) == len(projects | outside)
    buildspecs = (ROOT / "cluster" / "aws" / "buildspecs").glob("*.yml")
    assert {project["source"]["buildspec"] for project in found} == {
        path.relative_to(ROOT).as_posix() for path in buildspecs
    }
    for project in found:
        # A pipeline provides the source of its builds; the others fetch it themselves.
        expected = "CODECOMMIT" if project["name"] in outside else "CODEPIPELINE"
        assert project["source"]["type"] == expected


def test_the_alarms_and_the_dashboard_are_the_catalogs(installed: Installed, prod: Environment) -> None:
    client, catalog = installed.client("cloudwatch"), read_catalog()
    found = {
        one["AlarmName"].removeprefix("sentiment-"): one
        for one in client.describe_alarms(AlarmTypes=["MetricAlarm"])["MetricAlarms"]
    }
    dead = found.pop("functions-dead")
    assert (dead["Namespace"], dead["MetricName"]) == ("AWS/SQS", "ApproximateNumberOfMessagesVisible")
    assert found.keys() == catalog.alarms.keys()
    for name, alarm in catalog.alarms.items():
        one = found[name]
        autoscaled = prod.serve.scaling.max_requests_per_minute
        assert (one["Threshold"], one["DatapointsToAlarm"], one["EvaluationPeriods"]) == (
            autoscaled if alarm.threshold is None else alarm.threshold,
            alarm.breaking,
            alarm.looked_at,
        )
        asked = {
            query["MetricStat"]["Metric"]["MetricName"] for query in one["Metrics"] if "MetricStat" in query
        }
        assert asked == {query.metric for query in alarm.queries.values()}
        assert one["AlarmActions"] == [f"arn:aws:sns:{REGION}:{ACCOUNT}:sentiment-alerts"]
    body = json.loads(client.get_dashboard(DashboardName="sentiment")["DashboardBody"])
    shown = [one for widget in body["widgets"] for one in widget["properties"]["metrics"]]
    named = {one[1] for one in shown if isinstance(one[0], str)}
    assert named == catalog.metrics.keys()  # no metric is sent without being shown
    assert {one[0] for one in shown if isinstance(one[0], str)} == {catalog.namespace}
    lines = {
        line["value"]
        for widget in body["widgets"]
        for line in widget["properties"].get("annotations", {}).get("horizontal", ())
    }
    promised = {catalog.promise.requests_per_minute, catalog.promise.offered_per_minute}
    assert promised | {prod.serve.scaling.max_requests_per_minute} <= lines


def test_terraform_and_the_manifests_name_the_same_things(installed: Installed, prod: Environment) -> None:
    assert prod.nodes is not None
    eks, iam, ec2 = installed.client("eks"), installed.client("iam"), installed.client("ec2")
    cluster = eks.describe_cluster(name=prod.nodes.eks_cluster)["cluster"]
    iam.get_role(RoleName=prod.nodes.role)
    tag = {"Name": f"tag:{DISCOVERY_TAG}", "Values": [prod.nodes.eks_cluster]}
    assert len(ec2.describe_subnets(Filters=[tag])["Subnets"]) == 3
    [group] = ec2.describe_security_groups(Filters=[tag])["SecurityGroups"]
    assert group["GroupId"] == cluster["resourcesVpcConfig"]["clusterSecurityGroupId"]
    # There is a role for every service account that a manifest names, and none for others.
    bound = {
        (one["namespace"], one["serviceAccount"])
        for one in eks.list_pod_identity_associations(clusterName="sentiment")["associations"]
    }
    agent = agent_documents(prod, read_catalog(), region=REGION)
    rendered = {
        (document["metadata"]["namespace"], document["metadata"]["name"])
        for document in [*service_documents(prod), *training_documents(prod)[-1:], *agent]
        if document["kind"] == "ServiceAccount"
    }
    assert (prod.network.monitoring, AGENT) in rendered
    of_addons = {"karpenter", "ebs-csi-controller-sa", "aws-load-balancer-controller"}
    assert bound - {("kube-system", account) for account in of_addons} == rendered
    groups = installed.client("logs").describe_log_groups(logGroupNamePrefix=log_group(prod.name))[
        "logGroups"
    ]
    assert [one["logGroupName"] for one in groups] == [log_group(prod.name)]


def test_the_image_is_the_same_everywhere(installed: Installed) -> None:
    repository = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/sentiment-service"
    task = installed.client("ecs").describe_task_definition(taskDefinition="sentiment")["taskDefinition"]
    [container] = task["containerDefinitions"]
    model = installed.client("sagemaker").describe_model(ModelName="sentiment-0-1-0-cuda")
    assert container["image"] == model["PrimaryContainer"]["Image"] == f"{repository}:0.1.0-cuda"
    assert container["healthCheck"]["command"] == ["CMD", "sentiment", "healthy"]  # as in the Dockerfile
    assert '"sentiment", "healthy"' in (ROOT / "cluster" / "Dockerfile").read_text()
    sagemaker = installed.client("sagemaker")
    endpoint = sagemaker.describe_endpoint(EndpointName="sentiment")
    [variant] = sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])[
        "ProductionVariants"
    ]
    assert variant["InferenceAmiVersion"] == "al2023-ami-sagemaker-inference-gpu-4-1"  # driver 580, CUDA 13


def test_status_says_what_is_wrong(installed: Installed) -> None:
    installed.client("cloudwatch").set_alarm_state(
        AlarmName="sentiment-errors", StateValue="ALARM", StateReason="tried"
    )
    ended = installed.cluster("status", "--json")
    assert ended.returncode == 1
    document = json.loads(ended.stdout)
    assert document["well"] is False
    assert document["cluster"] == {"sentiment": "ACTIVE"}
    assert {name for name, state in document["alarms"].items() if state != "OK"} == {"sentiment-errors"}
    assert document["pipelines"]["sentiment-commit"] == "never ran"


def test_data_goes_only_when_told_twice(installed: Installed) -> None:
    for told in (["--with-data"], ["--with-data", "--confirm", MODELS], []):
        ended = installed.cluster("down", *told)
        assert ended.returncode == 1
        assert "othing was changed" in ended.stderr
    installed.client("s3").head_bucket(Bucket=DATA)
    # Without the option for data, its module and the repository are not even in the plan.
    assert "will be destroyed" in ended.stdout
    assert "module.data." not in _destroyed(ended.stdout) and "module.source." not in _destroyed(ended.stdout)


def _destroyed(plan: str) -> str:
    return "\n".join(line for line in plan.splitlines() if "will be destroyed" in line)


def test_nothing_is_destroyed_under_running_nodes(installed: Installed) -> None:
    ec2 = installed.client("ec2")
    image = ec2.describe_images()["Images"][0]["ImageId"]
    tags = [
        {"Key": "kubernetes.io/cluster/sentiment", "Value": "owned"},
        {"Key": "karpenter.sh/nodepool", "Value": "sentiment-gpu"},
    ]
    [node] = ec2.run_instances(
        ImageId=image,
        InstanceType="g5.xlarge",
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )["Instances"]
    ended = installed.cluster("down", "--yes")
    assert ended.returncode == 1
    assert f"Karpenter still runs {node['InstanceId']}" in ended.stderr
    ec2.terminate_instances(InstanceIds=[node["InstanceId"]])
