"""Tests of permissions: each role's policies, evaluated for the actions that it needs and must not have."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from cluster.aws.addons import read_addons
from cluster.monitoring.catalog import read_catalog
from tests.iam import allowed, listed
from tests.integration.aws_api import ACCOUNT
from tests.integration.installed import DATA, MODELS, PROBE_KEY, REGION, Installed


def s3(bucket: str, key: str) -> str:
    return f"arn:aws:s3:::{bucket}/{key}"


BALANCER = f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:loadbalancer/app"
KEY_ACTIONS = ("kms:ScheduleKeyDeletion", "kms:PutKeyPolicy")
ROLES: Mapping[str, tuple[list[tuple[str, str]], list[tuple[str, str]]]] = {
    # role: (required actions, forbidden actions)
    "serve": (
        [("s3:GetObject", s3(MODELS, "registry/x")), ("s3:PutObject", s3(DATA, "captured/predictions/x"))],
        [
            ("s3:PutObject", s3(MODELS, "registry/x")),
            ("s3:GetObject", s3(DATA, "captured/predictions/x")),
            ("s3:PutObject", s3(DATA, "rollout/entries/x")),
            ("s3:DeleteObject", s3(DATA, "captured/predictions/x")),
        ],
    ),
    "training": (
        [
            ("s3:GetObject", s3(DATA, "texts/x")),
            ("s3:GetObject", s3(DATA, "captured/predictions/x")),
            ("s3:PutObject", s3(DATA, "runs/run-1/x")),
            ("s3:PutObject", s3(DATA, "texts/feedback/run-1/feedback.parquet")),
            ("s3:PutObject", s3(MODELS, "registry/versions/senti/7")),
        ],
        [
            ("s3:PutObject", s3(DATA, "texts/x")),
            ("s3:DeleteObject", s3(MODELS, "registry/versions/senti/7")),
            ("s3:PutObject", s3(DATA, "rollout/entries/x")),
        ],
    ),
    "build-test": (
        [("logs:PutLogEvents", f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/sentiment/builds:log-stream:x")],
        [
            ("s3:GetObject", s3(MODELS, "x")),
            ("eks:DescribeCluster", f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/sentiment"),
        ],
    ),
    "build-image": (
        [
            ("ecr:PutImage", f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/sentiment-service"),
            ("ecr:GetAuthorizationToken", "*"),
        ],
        [
            ("ecr:PutImage", f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/other"),
            ("s3:GetObject", s3(MODELS, "x")),
        ],
    ),
    "build-upgrade": (
        [("eks:DescribeCluster", f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/sentiment")],
        [
            ("s3:GetObject", s3(MODELS, "registry/x")),
            ("ecr:PutImage", f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/sentiment-service"),
        ],
    ),
    "build-train": (
        [
            ("eks:DescribeCluster", f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/sentiment"),
            ("s3:GetObject", s3(MODELS, "registry/x")),
        ],
        [
            ("s3:PutObject", s3(MODELS, "registry/x")),
            ("s3:GetObject", s3(DATA, "captured/predictions/x")),
            ("ecr:PutImage", f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/sentiment-service"),
        ],
    ),
    "build-retrain": (
        [
            ("eks:DescribeCluster", f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/sentiment"),
            ("s3:GetObject", s3(MODELS, "registry/x")),
        ],
        [
            ("s3:PutObject", s3(MODELS, "registry/x")),
            ("s3:GetObject", s3(DATA, "captured/predictions/x")),
        ],
    ),
    "build-deploy": (
        [
            ("s3:PutObject", s3(DATA, "rollout/entries/00000001.json")),
            ("s3:DeleteObject", s3(DATA, "rollout/lock")),
            ("s3:GetObject", s3(DATA, "texts/x")),
            ("s3:GetObject", s3(MODELS, "registry/x")),
        ],
        [("s3:GetObject", s3(DATA, "captured/predictions/x")), ("s3:DeleteObject", s3(DATA, "texts/x"))],
    ),
    "build-abort": (
        [("s3:PutObject", s3(DATA, "rollout/asked"))],
        [("s3:PutObject", s3(DATA, "texts/x")), ("s3:GetObject", s3(DATA, "captured/predictions/x"))],
    ),
    "build-drift": (
        [
            ("s3:GetObject", s3(DATA, "captured/predictions/x")),
            ("s3:PutObject", s3(DATA, "drift/t/verdict.json")),
        ],
        [("s3:PutObject", s3(MODELS, "x")), ("s3:PutObject", s3(DATA, "captured/predictions/x"))],
    ),
    "pipeline": (
        [
            ("codebuild:StartBuild", f"arn:aws:codebuild:{REGION}:{ACCOUNT}:project/sentiment-train"),
            ("codecommit:GetCommit", f"arn:aws:codecommit:{REGION}:{ACCOUNT}:sentiment"),
        ],
        [
            ("codebuild:StartBuild", f"arn:aws:codebuild:{REGION}:{ACCOUNT}:project/sentiment-abort"),
            ("codecommit:GitPush", f"arn:aws:codecommit:{REGION}:{ACCOUNT}:sentiment"),
        ],
    ),
    "pipeline-start": (
        [],
        [("codepipeline:StartPipelineExecution", f"arn:aws:codepipeline:{REGION}:{ACCOUNT}:other")],
    ),
    "function-probe": (
        [("secretsmanager:GetSecretValue", PROBE_KEY)],
        [
            ("secretsmanager:GetSecretValue", PROBE_KEY.replace("probe", "other")),
            ("secretsmanager:PutSecretValue", PROBE_KEY),
            ("s3:GetObject", s3(DATA, "marks/x")),
            ("sns:Publish", f"arn:aws:sns:{REGION}:{ACCOUNT}:sentiment-alerts"),
        ],
    ),
    "function-drift_check": (
        [
            ("s3:GetObject", s3(DATA, "drift/t/verdict.json")),
            ("s3:PutObject", s3(DATA, "marks/x")),
            ("codebuild:StartBuild", f"arn:aws:codebuild:{REGION}:{ACCOUNT}:project/sentiment-drift"),
        ],
        [
            ("s3:GetObject", s3(DATA, "captured/predictions/x")),
            ("codebuild:StartBuild", f"arn:aws:codebuild:{REGION}:{ACCOUNT}:project/sentiment-deploy"),
        ],
    ),
    "function-pipeline_trigger": (
        [("s3:PutObject", s3(DATA, "marks/x")), ("s3:ListBucket", f"arn:aws:s3:::{DATA}")],
        [
            (
                "codepipeline:StartPipelineExecution",
                f"arn:aws:codepipeline:{REGION}:{ACCOUNT}:sentiment-commit",
            ),
            ("s3:GetObject", s3(DATA, "rollout/entries/x")),
        ],
    ),
    "function-rollout_watcher": (
        [
            ("sns:Publish", f"arn:aws:sns:{REGION}:{ACCOUNT}:sentiment-alerts"),
            ("s3:GetObject", s3(DATA, "rollout/entries/x")),
        ],
        [
            ("s3:PutObject", s3(DATA, "rollout/entries/x")),
            (
                "codepipeline:StartPipelineExecution",
                f"arn:aws:codepipeline:{REGION}:{ACCOUNT}:sentiment-retrain",
            ),
        ],
    ),
    "cloudwatch-agent": (
        [("logs:PutLogEvents", f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/sentiment/metrics:log-stream:x")],
        [
            (
                "logs:PutLogEvents",
                f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/sentiment/builds:log-stream:x",
            ),
            ("logs:DeleteLogGroup", f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/sentiment/metrics:*"),
        ],
    ),
    "ecs-tasks": ([("s3:GetObject", s3(MODELS, "registry/x"))], [("s3:GetObject", s3(DATA, "texts/x"))]),
    "ecs-execution": (
        [("ecr:BatchGetImage", f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/sentiment-service")],
        [("s3:GetObject", s3(MODELS, "x"))],
    ),
    "sagemaker": (
        [("s3:GetObject", s3(DATA, "texts/x")), ("s3:PutObject", s3(DATA, "runs/x"))],
        [("s3:PutObject", s3(MODELS, "registry/x")), ("s3:PutObject", s3(DATA, "captured/predictions/x"))],
    ),
    "load-balancer-controller": (
        [],
        [
            ("ec2:DeleteSecurityGroup", f"arn:aws:ec2:{REGION}:{ACCOUNT}:security-group/sg-1"),
            ("elasticloadbalancing:DeleteLoadBalancer", f"{BALANCER}/sentiment/1"),
            ("elasticloadbalancing:CreateLoadBalancer", f"{BALANCER}/sentiment/1"),
            ("ec2:RunInstances", f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/i-1"),
        ],
    ),
    "control-plane": ([], [("kms:ScheduleKeyDeletion", "*")]),
    "karpenter": (
        [
            ("eks:DescribeCluster", f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/sentiment"),
            ("sqs:ReceiveMessage", f"arn:aws:sqs:{REGION}:{ACCOUNT}:Karpenter-sentiment"),
        ],
        [
            ("ec2:TerminateInstances", f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/i-1"),
            ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/platform"),
        ],
    ),
}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_what_it_needs_and_no_more(installed: Installed, role: str) -> None:
    statements = installed.statements(f"sentiment-{role}")
    needed, forbidden = ROLES[role]
    assert [one for one in needed if not allowed(statements, *one)] == []
    # No role may remove a protection that applies to all roles.
    for action, resource in [
        *forbidden,
        *((action, "*") for action in KEY_ACTIONS),
        ("iam:CreateRole", "*"),
        ("s3:PutBucketPolicy", f"arn:aws:s3:::{DATA}"),
        ("s3:DeleteBucket", f"arn:aws:s3:::{MODELS}"),
    ]:
        assert not allowed(statements, action, resource), (action, resource)


def test_every_role_is_tried(installed: Installed) -> None:
    """Check that every role with its own policies is in the table above."""
    iam = installed.client("iam")
    own = {
        role["RoleName"].removeprefix("sentiment-")
        for role in iam.list_roles()["Roles"]
        if iam.list_role_policies(RoleName=role["RoleName"])["PolicyNames"]
    }
    assert own == ROLES.keys()


def test_karpenter_touches_its_own_nodes_alone(installed: Installed) -> None:
    statements = installed.statements("sentiment-karpenter")
    own = {
        "aws:ResourceTag/kubernetes.io/cluster/sentiment": "owned",
        "aws:ResourceTag/karpenter.sh/nodepool": "sentiment-gpu",
    }
    another = {**own, "aws:ResourceTag/kubernetes.io/cluster/sentiment": "shared"}
    instance = f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/i-1"
    assert allowed(statements, "ec2:TerminateInstances", instance, own)
    assert not allowed(statements, "ec2:TerminateInstances", instance, another)
    assert allowed(statements, "ec2:CreateTags", instance, {**own, "aws:TagKeys": ["Name"]})
    tagged = {**own, "aws:TagKeys": ["Name"], "aws:RequestTag/eks:eks-cluster-name": "other"}
    assert not allowed(statements, "ec2:CreateTags", instance, tagged)
    role = f"arn:aws:iam::{ACCOUNT}:role/KarpenterNodeRole-sentiment"
    assert allowed(statements, "iam:PassRole", role, {"iam:PassedToService": "ec2.amazonaws.com"})
    assert not allowed(statements, "iam:PassRole", role, {"iam:PassedToService": "lambda.amazonaws.com"})


def test_karpenter_may_what_its_pinned_version_documents(installed: Installed) -> None:
    """Evaluate what version 1.14 added to 1.0; a call for an instance profile needs every tag."""
    assert read_addons()["karpenter"].version.startswith("1.14."), "compare the policy with the new version's"
    statements = installed.statements("sentiment-karpenter")
    regional = {"aws:RequestedRegion": REGION}
    assert allowed(statements, "ec2:DescribeInstanceStatus", "*", regional)
    assert allowed(statements, "ec2:DescribePlacementGroups", "*", regional)
    assert allowed(statements, "ec2:CreateFleet", f"arn:aws:ec2:{REGION}:{ACCOUNT}:placement-group/p")
    own = f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/sentiment"
    shift = "arc-zonal-shift:GetManagedResource"
    assert allowed(statements, shift, "*", {"arc-zonal-shift:ResourceIdentifier": own})
    assert not allowed(statements, shift, "*", {"arc-zonal-shift:ResourceIdentifier": f"{own}-2"})
    profile = f"arn:aws:iam::{ACCOUNT}:instance-profile/sentiment_1"
    tags = {
        "kubernetes.io/cluster/sentiment": "owned",
        "eks:eks-cluster-name": "sentiment",
        "topology.kubernetes.io/region": REGION,
        "karpenter.k8s.aws/ec2nodeclass": "sentiment-gpu",
    }
    given = {f"aws:RequestTag/{key}": value for key, value in tags.items()}
    present = {f"aws:ResourceTag/{key}": value for key, value in tags.items()}
    assert allowed(statements, "iam:CreateInstanceProfile", profile, given)
    assert allowed(statements, "iam:TagInstanceProfile", profile, {**given, **present})
    assert allowed(statements, "iam:DeleteInstanceProfile", profile, present)
    for missing in given:
        fewer = {key: value for key, value in given.items() if key != missing}
        assert not allowed(statements, "iam:CreateInstanceProfile", profile, fewer), missing


def test_metrics_are_sent_to_the_one_namespace(installed: Installed) -> None:
    for name in ("probe", "drift_check"):
        statements = installed.statements(f"sentiment-function-{name}")
        assert allowed(
            statements, "cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": read_catalog().namespace}
        )
        assert not allowed(statements, "cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "AWS/EC2"})


def test_no_policy_of_ours_allows_a_wildcard_action(installed: Installed) -> None:
    iam = installed.client("iam")
    wide = [
        (role["RoleName"], action)
        for role in iam.list_roles()["Roles"]
        for statement in installed.statements(role["RoleName"])
        for action in listed(statement["Action"])
        if "*" in action
    ]
    assert wide == []


def test_the_load_balancer_controller_changes_load_balancers_of_its_cluster_alone(
    installed: Installed,
) -> None:
    statements = installed.statements("sentiment-load-balancer-controller")
    for key, actions in {
        "aws:RequestTag/elbv2.k8s.aws/cluster": ("CreateLoadBalancer",),
        "aws:ResourceTag/elbv2.k8s.aws/cluster": ("ModifyLoadBalancerAttributes", "DeleteLoadBalancer"),
    }.items():
        for action in actions:
            call = (f"elasticloadbalancing:{action}", f"{BALANCER}/sentiment/1")
            assert allowed(statements, *call, {key: "sentiment"})
            assert not allowed(statements, *call, {key: "other"})
