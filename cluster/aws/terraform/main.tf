# Root module: each module has one concern, and passes values on through its outputs.
data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}

# Without the zones in which EKS starts no control plane (EKS User Guide, "Subnet requirements"). Their ids are the same
# in every account, their names are not.
data "aws_availability_zones" "this" {
  state            = "available"
  exclude_zone_ids = ["use1-az3", "usw1-az2", "cac1-az3"]
  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

locals {
  partition = data.aws_partition.this.partition
  account   = data.aws_caller_identity.this.account_id
  where     = "${local.account}-${var.region}" # makes bucket names the account's own
  arns = {
    partition = local.partition
    region    = var.region
    account   = local.account
  }
}

module "network" {
  source          = "./modules/network"
  name            = var.name
  cidr            = var.vpc_cidr
  region          = var.region
  zones           = slice(sort(data.aws_availability_zones.this.names), 0, var.zones)
  one_nat_gateway = var.one_nat_gateway
}

module "data" {
  source                = "./modules/data"
  name                  = var.name
  where                 = local.where
  arns                  = local.arns
  keep_predictions_days = var.keep_predictions_days
  destroy_data          = var.destroy_data
}

module "source" {
  source = "./modules/source"
  name   = var.name
}

module "images" {
  source      = "./modules/images"
  name        = var.name
  key_arn     = module.data.key_arn
  keep_images = var.keep_images
}

module "cluster" {
  source             = "./modules/cluster"
  name               = var.name
  namespace          = var.namespace
  arns               = local.arns
  kubernetes_version = var.kubernetes_version
  subnet_ids         = module.network.private_subnet_ids
  api_cidrs          = var.api_cidrs
  admin_role_arns    = var.admin_role_arns
  core_nodes         = var.core_nodes
  keep_logs_days     = var.keep_logs_days
  key_arn            = module.data.key_arn
  buckets            = module.data.buckets
}

module "pipeline" {
  source         = "./modules/pipeline"
  name           = var.name
  namespace      = var.namespace
  where          = local.where
  arns           = local.arns
  branch         = var.branch
  approval       = var.approval
  registry_uri   = var.mlflow_tracking_uri
  keep_logs_days = var.keep_logs_days
  key_arn        = module.data.key_arn
  buckets        = module.data.buckets
  repository     = module.source.repository
  images         = module.images.repository
  topic_arn      = module.monitoring.topic_arn
  cluster = {
    name              = module.cluster.name
    arn               = module.cluster.arn
    security_group_id = module.cluster.security_group_id
  }
  network = {
    vpc_id      = module.network.vpc_id
    cidr        = var.vpc_cidr
    subnet_ids  = module.network.private_subnet_ids
    subnet_arns = module.network.private_subnet_arns
  }
}

module "monitoring" {
  source           = "./modules/monitoring"
  name             = var.name
  region           = var.region
  arns             = local.arns
  alert_emails     = var.alert_emails
  keep_logs_days   = var.keep_logs_days
  key_arn          = module.data.key_arn
  usd_per_pod_hour = var.usd_per_pod_hour
  cluster_name     = module.cluster.name
  probe            = var.probe_url != ""

  pod_max_requests_per_minute = var.pod_max_requests_per_minute
  monthly_budget_usd          = var.monthly_budget_usd
}

module "functions" {
  source         = "./modules/functions"
  name           = var.name
  arns           = local.arns
  folder         = var.functions_folder
  keep_logs_days = var.keep_logs_days
  key_arn        = module.data.key_arn
  buckets        = module.data.buckets
  probe_url      = var.probe_url

  probe_api_key_secret_arn = var.probe_api_key_secret_arn

  drift_schedule = var.drift_schedule
  topic_arn      = module.monitoring.topic_arn
  metrics        = module.monitoring.namespace
  pipelines      = module.pipeline.pipelines
  pipeline_arns  = module.pipeline.pipeline_arns
  projects       = module.pipeline.projects
  retrain_alarm  = module.monitoring.retrain_alarm
  network = {
    vpc_id     = module.network.vpc_id
    subnet_ids = module.network.private_subnet_ids
  }
}

module "alternatives" {
  source         = "./modules/alternatives"
  name           = var.name
  region         = var.region
  arns           = local.arns
  keep_logs_days = var.keep_logs_days
  key_arn        = module.data.key_arn
  buckets        = module.data.buckets
  images         = module.images.repository
  ecs            = var.ecs
  sagemaker      = var.sagemaker
  network = {
    vpc_id     = module.network.vpc_id
    cidr       = var.vpc_cidr
    subnet_ids = module.network.private_subnet_ids
  }
}
