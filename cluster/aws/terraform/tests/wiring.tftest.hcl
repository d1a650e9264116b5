# With a provider that only pretends: names, wiring, and which variables are refused.
#   python -m cluster.aws.package build/functions && terraform -chdir=cluster/aws/terraform test
mock_provider "aws" {
  mock_data "aws_eks_addon_version" {
    defaults = { version = "v1.20.0-eksbuild.1" }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_availability_zones" {
    defaults = { names = ["us-east-1c", "us-east-1a", "us-east-1b", "us-east-1d"] }
  }
  mock_resource "aws_eks_cluster" {
    defaults = { vpc_config = { cluster_security_group_id = "sg-0a1b2c3d4e5f60718" } }
  }
}

variables {
  functions_folder = "../../../build/functions"
}

run "defaults" {
  command = plan

  assert {
    condition     = module.data.buckets["models"].name == "sentiment-models-123456789012-us-east-1"
    error_message = "Buckets bear name, content, account and region."
  }
  assert {
    condition     = output.cluster.node_role == "KarpenterNodeRole-sentiment" && output.cluster.karpenter_queue == "Karpenter-sentiment"
    error_message = "Karpenter's role and queue are named as its settings expect."
  }
  assert {
    condition     = output.settings["nodes.eks_cluster"] == "sentiment" && output.settings["namespace"] == "sentiment"
    error_message = "The settings of the environment and Terraform name the same cluster and namespace."
  }
  assert {
    condition     = !contains(keys(output.functions), "probe") && !contains(keys(output.alarms.metrics), "probe")
    error_message = "Without an address there is no probe, and no alarm that waits for it."
  }
  assert {
    condition     = toset(data.aws_availability_zones.this.exclude_zone_ids) == toset(["use1-az3", "usw1-az2", "cac1-az3"])
    error_message = "EKS refuses subnets in these zones."
  }
  assert {
    condition     = length(module.network.private_subnet_ids) == 3
    error_message = "Three zones by default."
  }
}

run "a_name_of_ones_own" {
  command = plan
  variables {
    name      = "reviews"
    namespace = "reviews"
    region    = "eu-west-1"
    zones     = 2
    probe_url = "http://reviews.internal"
  }

  assert {
    condition     = module.data.buckets["data"].name == "reviews-data-123456789012-eu-west-1"
    error_message = "The name begins everything, the region ends it."
  }
  assert {
    condition     = output.alarms.promise == "reviews-promise" && output.functions["probe"] == "reviews-probe"
    error_message = "Alarms and functions bear the name; with an address there is a probe."
  }
  assert {
    condition     = length(module.network.private_subnet_ids) == 2
    error_message = "Two zones, if asked."
  }
}

run "without_approval" {
  command = plan
  variables {
    approval = false
  }

  assert {
    condition     = output.pipelines == { commit = "sentiment-commit", release = "sentiment-release", retrain = "sentiment-retrain" }
    error_message = "Three pipelines, whoever approves."
  }
}

run "what_is_refused" {
  command = plan
  variables {
    name                  = "Sentiment_Service"
    namespace             = "Sentiment"
    region                = "somewhere"
    vpc_cidr              = "10.0.0.0/24"
    zones                 = 1
    kubernetes_version    = "1.33"
    api_cidrs             = ["0.0.0.0/0"]
    admin_role_arns       = ["arn:aws:iam::123456789012:user/someone"]
    core_nodes            = { count = 1 }
    keep_predictions_days = 7
    keep_logs_days        = 29
    keep_images           = 3
    mlflow_tracking_uri   = "mlflow:5000"
    alert_emails          = ["nobody"]
    probe_url             = "http://sentiment/v1/classify"

    probe_api_key_secret_arn = "the-key-itself"

    drift_schedule   = "daily"
    usd_per_pod_hour = 0

    monthly_budget_usd = -1

    ecs       = { enabled = true, instance_type = "m6i.large" }
    sagemaker = { endpoint = true }
  }
  expect_failures = [
    var.name, var.namespace, var.region, var.vpc_cidr, var.zones, var.kubernetes_version, var.api_cidrs,
    var.admin_role_arns, var.core_nodes, var.keep_predictions_days, var.keep_logs_days, var.keep_images, var.mlflow_tracking_uri,
    var.alert_emails, var.probe_url, var.probe_api_key_secret_arn, var.drift_schedule, var.usd_per_pod_hour, var.monthly_budget_usd, var.ecs, var.sagemaker,
  ]
}
