# The EKS cluster: support of its version, enforcement of network policies, nodes in the zones of their disks, roles.
mock_provider "aws" {
  mock_data "aws_eks_addon_version" {
    defaults = { version = "v1.20.0-eksbuild.1" }
  }
  mock_resource "aws_eks_cluster" {
    defaults = { vpc_config = { cluster_security_group_id = "sg-0a1b2c3d4e5f60718" } }
  }
}

variables {
  name               = "sentiment"
  namespace          = "sentiment"
  arns               = { partition = "aws", region = "us-east-1", account = "123456789012" }
  kubernetes_version = "1.36"
  subnet_ids         = ["subnet-a", "subnet-b", "subnet-c"]
  api_cidrs          = []
  admin_role_arns    = []
  core_nodes         = { instance_type = "m6i.xlarge", count = 3 }
  keep_logs_days     = 30
  key_arn            = "arn:aws:kms:us-east-1:123456789012:key/1"
  buckets            = { models = { name = "m", arn = "arn:aws:s3:::m" }, data = { name = "d", arn = "arn:aws:s3:::d" } }
}

run "cluster" {
  command = plan
  module {
    source = "./modules/cluster"
  }

  assert {
    condition     = aws_eks_cluster.this.version == "1.36" && aws_eks_cluster.this.upgrade_policy[0].support_type == "STANDARD"
    error_message = "A version whose standard support ends is upgraded, not billed as extended support."
  }
  assert {
    condition     = jsondecode(aws_eks_addon.before_nodes["vpc-cni"].configuration_values).enableNetworkPolicy == "true"
    error_message = "Without enableNetworkPolicy the VPC CNI enforces no NetworkPolicy."
  }
  assert {
    condition     = alltrue([for addon in merge(aws_eks_addon.before_nodes, aws_eks_addon.after_nodes) : addon.resolve_conflicts_on_update == "OVERWRITE"])
    error_message = "An update of an add-on replaces fields that were changed in the cluster."
  }
  assert {
    condition     = alltrue([for group in aws_eks_node_group.core : group.version == "1.36"])
    error_message = "Core nodes follow the version of the control plane."
  }
  assert {
    condition     = [for group in aws_eks_node_group.core : [length(group.subnet_ids), group.scaling_config[0].desired_size]] == [[1, 1], [1, 1], [1, 1]]
    error_message = "Each group has one zone, so that a replaced node can attach the disk of Redis, which is zonal."
  }
  assert {
    condition     = aws_eks_pod_identity_association.load_balancer_controller.service_account == "aws-load-balancer-controller" && aws_eks_pod_identity_association.load_balancer_controller.namespace == "kube-system"
    error_message = "The AWS Load Balancer Controller has its role."
  }
}

run "five_core_nodes_in_three_zones" {
  command = plan
  module {
    source = "./modules/cluster"
  }
  variables {
    core_nodes = { instance_type = "m6i.xlarge", count = 5 }
  }

  assert {
    condition     = join(" ", [for group in aws_eks_node_group.core : group.scaling_config[0].desired_size]) == "2 2 1"
    error_message = "The nodes are distributed over all zones, and their sum is the configured count."
  }
}
