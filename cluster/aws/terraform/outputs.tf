# What the command line and people read: `python -m cluster aws status`, `terraform output`.
output "region" {
  description = "AWS region."
  value       = var.region
}

output "cluster" {
  description = "EKS cluster: name, endpoint, and the queue that tells Karpenter of interruptions."
  value = {
    name            = module.cluster.name
    endpoint        = module.cluster.endpoint
    node_role       = module.cluster.node_role
    karpenter_queue = module.cluster.karpenter_queue
  }
}

output "buckets" {
  description = "Buckets by what they hold: models, data."
  value       = { for what, bucket in module.data.buckets : what => bucket.name }
}

output "images" {
  description = "Where images are pushed to."
  value       = module.images.repository.url
}

output "repository" {
  description = "Where the source is pushed to."
  value       = module.source.repository.clone_url
}

output "pipelines" {
  description = "CodePipeline: release follows a commit, retrain follows drift."
  value       = module.pipeline.pipelines
}

output "settings" {
  description = "What the environment's settings take: --set image=…, nodes.role=…"
  value = {
    "name"              = var.name
    "namespace"         = var.namespace
    "nodes.eks_cluster" = module.cluster.name
    "nodes.role"        = module.cluster.node_role
  }
}

output "dashboard" {
  description = "CloudWatch dashboard."
  value       = module.monitoring.dashboard
}

output "alarms" {
  description = "Names of every alarm; the composite one is the promise."
  value       = module.monitoring.alarms
}

output "topic_arn" {
  description = "SNS topic of alarms and rollouts."
  value       = module.monitoring.topic_arn
}

output "functions" {
  description = "Lambda functions by their task."
  value       = module.functions.names
}
