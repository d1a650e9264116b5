# What the command line and people read: `python -m cluster aws status`, `terraform output`.
output "region" {
  description = "AWS region."
  value       = var.region
}

output "cluster" {
  description = "EKS cluster: name, endpoint, and the queue of interruption events for Karpenter."
  value = {
    name            = module.cluster.name
    endpoint        = module.cluster.endpoint
    node_role       = module.cluster.node_role
    karpenter_queue = module.cluster.karpenter_queue
  }
}

output "buckets" {
  description = "Names of the buckets of models and data."
  value       = { for what, bucket in module.data.buckets : what => bucket.name }
}

output "images" {
  description = "URL of the image repository."
  value       = module.images.repository.url
}

output "repository" {
  description = "Clone URL of the source repository."
  value       = module.source.repository.clone_url
}

output "pipelines" {
  description = "Pipelines of CodePipeline: release for commits, retrain for drift."
  value       = module.pipeline.pipelines
}

output "settings" {
  description = "Values for the environment's settings: --set image=…, nodes.role=…"
  value = {
    "name"              = var.name
    "namespace"         = var.namespace
    "nodes.eks_cluster" = module.cluster.name
    "nodes.role"        = module.cluster.node_role
  }
}

output "dashboard" {
  description = "Name of the CloudWatch dashboard."
  value       = module.monitoring.dashboard
}

output "alarms" {
  description = "Names of the alarms; the composite alarm is on the SLO."
  value       = module.monitoring.alarms
}

output "topic_arn" {
  description = "ARN of the SNS topic of alarms and rollouts."
  value       = module.monitoring.topic_arn
}

output "functions" {
  description = "Names of the Lambda functions by their task."
  value       = module.functions.names
}
