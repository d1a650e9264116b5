# CodeBuild: one project per step; the commands are in cluster/aws/buildspecs, which also run on a laptop.
locals {
  projects = {
    test    = { buildspec = "test", says = "Style, types, tests", compute = "BUILD_GENERAL1_LARGE", docker = false, vpc = false, pipeline = true }
    image   = { buildspec = "image", says = "Builds and pushes the images", compute = "BUILD_GENERAL1_LARGE", docker = true, vpc = false, pipeline = true }
    upgrade = { buildspec = "upgrade", says = "Puts the image onto the serving pods", compute = "BUILD_GENERAL1_SMALL", docker = false, vpc = true, pipeline = true }
    train   = { buildspec = "train", says = "Fine-tunes on the cluster, evaluates, gates, registers", compute = "BUILD_GENERAL1_SMALL", docker = false, vpc = true, pipeline = true }
    retrain = { buildspec = "retrain", says = "Teaches the champion what feedback says, registers what is better", compute = "BUILD_GENERAL1_SMALL", docker = false, vpc = true, pipeline = true }
    deploy  = { buildspec = "deploy", says = "Canary on one pod, promotion, or the way back", compute = "BUILD_GENERAL1_MEDIUM", docker = false, vpc = true, pipeline = true }
    # Started by functions outside the pipelines, so they fetch the source themselves.
    drift = { buildspec = "drift", says = "Measures drift and leaves the verdict", compute = "BUILD_GENERAL1_LARGE", docker = false, vpc = true, pipeline = false }
    abort = { buildspec = "deploy", says = "Takes a canary back that was not approved", compute = "BUILD_GENERAL1_SMALL", docker = false, vpc = true, pipeline = false }
  }
  # Variables of the Makefile's steps: docs/pipelines.md.
  environment = merge({
    SERVICE       = var.name
    NAMESPACE     = var.namespace
    EKS_CLUSTER   = var.cluster.name
    IMAGE         = var.images.url
    MODELS_BUCKET = var.buckets.models.name
    DATA_BUCKET   = var.buckets.data.name
    # Builds have no GPU: PyTorch's CPU build satisfies the same pin and does not install CUDA.
    PIP_EXTRA_INDEX_URL = "https://download.pytorch.org/whl/cpu"
  }, var.registry_uri == "" ? {} : { MLFLOW_TRACKING_URI = var.registry_uri })
}

resource "aws_codebuild_project" "this" {
  for_each       = local.projects
  name           = "${var.name}-${each.key}"
  description    = each.value.says
  service_role   = aws_iam_role.build[each.key].arn
  encryption_key = var.key_arn
  build_timeout  = 300 # minutes: a training run may take four hours
  queued_timeout = 60

  environment {
    type            = "LINUX_CONTAINER"
    image           = "aws/codebuild/standard:7.0"
    compute_type    = each.value.compute
    privileged_mode = each.value.docker # Docker needs it
    dynamic "environment_variable" {
      for_each = local.environment
      content {
        name  = environment_variable.key
        value = environment_variable.value
      }
    }
    dynamic "environment_variable" {
      for_each = each.key == "abort" ? { ROLLOUT_VERB = "abort" } : {}
      content {
        name  = environment_variable.key
        value = environment_variable.value
      }
    }
  }

  source {
    type            = each.value.pipeline ? "CODEPIPELINE" : "CODECOMMIT"
    location        = each.value.pipeline ? null : var.repository.clone_url
    buildspec       = "cluster/aws/buildspecs/${each.value.buildspec}.yml"
    git_clone_depth = each.value.pipeline ? null : 1
  }
  source_version = each.value.pipeline ? null : "refs/heads/${var.branch}"

  artifacts {
    type = each.value.pipeline ? "CODEPIPELINE" : "NO_ARTIFACTS"
  }

  logs_config {
    cloudwatch_logs {
      group_name = aws_cloudwatch_log_group.builds.name
    }
  }

  dynamic "vpc_config" {
    for_each = each.value.vpc ? [1] : []
    content {
      vpc_id             = var.network.vpc_id
      subnets            = var.network.subnet_ids
      security_group_ids = [aws_security_group.builds.id]
    }
  }
}

resource "aws_cloudwatch_log_group" "builds" {
  name              = "/${var.name}/builds"
  retention_in_days = var.keep_logs_days
  kms_key_id        = var.key_arn
}

# Builds that access the cluster or the registry run in the VPC, without ingress.
resource "aws_security_group" "builds" {
  name        = "${var.name}-builds"
  description = "Builds: out only"
  vpc_id      = var.network.vpc_id
}

resource "aws_vpc_security_group_egress_rule" "builds" {
  security_group_id = aws_security_group.builds.id
  description       = "HTTPS: AWS, the Kubernetes API, package indexes"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "builds_within" {
  security_group_id = aws_security_group.builds.id
  description       = "What the VPC has, such as the registry"
  cidr_ipv4         = var.network.cidr
  ip_protocol       = "tcp"
  from_port         = 1
  to_port           = 65535
}

resource "aws_vpc_security_group_ingress_rule" "kubernetes_api" {
  security_group_id            = var.cluster.security_group_id
  description                  = "Builds ask the Kubernetes API"
  referenced_security_group_id = aws_security_group.builds.id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

# The builds' group in Kubernetes; cluster/aws/ci-rbac.yaml grants its permissions, limited to the namespace.
resource "aws_eks_access_entry" "builds" {
  for_each          = toset(["upgrade", "train", "retrain", "deploy", "abort"])
  cluster_name      = var.cluster.name
  principal_arn     = aws_iam_role.build[each.key].arn
  kubernetes_groups = ["${var.name}-deployers"]
}

module "artifacts" {
  source        = "../../shared/private_bucket"
  name          = "${var.name}-artifacts-${var.where}"
  key_arn       = var.key_arn
  force_destroy = true # copies of the source on their way through the pipeline
}

resource "aws_s3_bucket_lifecycle_configuration" "artifacts" {
  bucket = module.artifacts.id
  rule {
    id     = "forget"
    status = "Enabled"
    filter {}
    expiration {
      days = 30
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}
