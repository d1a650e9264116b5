# EKS: control plane, the managed nodes for what every cluster needs, and its add-ons. GPU nodes are Karpenter's.
locals {
  managed = "arn:${var.arns.partition}:iam::aws:policy"
  addons = {
    vpc-cni                = null # its settings: local.addon_settings
    kube-proxy             = null
    coredns                = null
    eks-pod-identity-agent = null
    metrics-server         = null
    aws-ebs-csi-driver     = { account = "ebs-csi-controller-sa", policy = "${local.managed}/service-role/AmazonEBSCSIDriverPolicy" }
  }
  before_nodes   = ["vpc-cni", "kube-proxy", "eks-pod-identity-agent"]
  addon_settings = { vpc-cni = jsonencode({ enableNetworkPolicy = "true" }) } # the default enforces no NetworkPolicy
  # One group per zone: an EBS volume, such as that of Redis, stays in its zone, and so does a node that is replaced.
  core_groups = min(var.core_nodes.count, length(var.subnet_ids))
  core = { for index in range(local.core_groups) : tostring(index) => {
    subnet = var.subnet_ids[index]
    nodes  = floor(var.core_nodes.count / local.core_groups) + (index < var.core_nodes.count % local.core_groups ? 1 : 0)
  } }
}

resource "aws_cloudwatch_log_group" "control_plane" {
  name              = "/aws/eks/${var.name}/cluster" # EKS writes there; made here so that it ends and is encrypted
  retention_in_days = var.keep_logs_days
  kms_key_id        = var.key_arn
}

resource "aws_eks_cluster" "this" {
  name                          = var.name
  role_arn                      = aws_iam_role.control_plane.arn
  version                       = var.kubernetes_version
  enabled_cluster_log_types     = ["api", "audit", "authenticator"]
  bootstrap_self_managed_addons = false # they are add-ons below, with a version that AWS keeps

  access_config {
    authentication_mode                         = "API"
    bootstrap_cluster_creator_admin_permissions = true
  }
  encryption_config {
    resources = ["secrets"]
    provider {
      key_arn = var.key_arn
    }
  }
  upgrade_policy {
    support_type = "STANDARD" # at the end of standard support AWS upgrades the cluster instead of billing extended support
  }
  vpc_config {
    subnet_ids              = var.subnet_ids
    endpoint_private_access = true
    endpoint_public_access  = length(var.api_cidrs) > 0
    public_access_cidrs     = length(var.api_cidrs) > 0 ? var.api_cidrs : null
  }
  depends_on = [aws_iam_role_policy_attachment.control_plane, aws_cloudwatch_log_group.control_plane]
}

# Karpenter's nodes take the cluster's own security group, found by this tag.
resource "aws_ec2_tag" "discovery" {
  resource_id = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
  key         = "karpenter.sh/discovery"
  value       = var.name
}

resource "aws_launch_template" "core" {
  name        = "${var.name}-core"
  description = "Core nodes: encrypted disk, IMDSv2, one hop so that no pod takes the node's role"
  block_device_mappings {
    device_name = "/dev/xvda"
    ebs {
      volume_size = 80
      volume_type = "gp3"
      encrypted   = true
    }
  }
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
}

resource "aws_eks_node_group" "core" {
  for_each        = local.core
  cluster_name    = aws_eks_cluster.this.name
  node_group_name = "core-${each.key}"
  version         = aws_eks_cluster.this.version
  node_role_arn   = aws_iam_role.core_node.arn
  subnet_ids      = [each.value.subnet]
  ami_type        = "AL2023_x86_64_STANDARD"
  instance_types  = [var.core_nodes.instance_type]
  capacity_type   = "ON_DEMAND"
  scaling_config {
    desired_size = each.value.nodes
    min_size     = each.value.nodes
    max_size     = each.value.nodes + 1 # one more while nodes are replaced
  }
  update_config {
    max_unavailable = 1
  }
  launch_template {
    id      = aws_launch_template.core.id
    version = aws_launch_template.core.latest_version
  }
  depends_on = [aws_iam_role_policy_attachment.core_node, aws_eks_addon.before_nodes]
}

# AWS's default version for this Kubernetes version: a newer Kubernetes version also updates the add-ons.
data "aws_eks_addon_version" "this" {
  for_each           = local.addons
  addon_name         = each.key
  kubernetes_version = var.kubernetes_version
}

resource "aws_eks_addon" "before_nodes" {
  for_each                    = toset(local.before_nodes)
  cluster_name                = aws_eks_cluster.this.name
  addon_name                  = each.key
  addon_version               = data.aws_eks_addon_version.this[each.key].version
  configuration_values        = lookup(local.addon_settings, each.key, null)
  resolve_conflicts_on_update = "OVERWRITE"
}

resource "aws_eks_addon" "after_nodes" {
  for_each     = { for name, identity in local.addons : name => identity if !contains(local.before_nodes, name) }
  cluster_name = aws_eks_cluster.this.name
  addon_name   = each.key

  addon_version               = data.aws_eks_addon_version.this[each.key].version
  resolve_conflicts_on_update = "OVERWRITE"
  dynamic "pod_identity_association" {
    for_each = each.value == null ? [] : [each.value]
    content {
      service_account = pod_identity_association.value.account
      role_arn        = aws_iam_role.driver[each.key].arn
    }
  }
  depends_on = [aws_eks_node_group.core]
}

resource "aws_eks_access_entry" "admin" {
  for_each      = toset(var.admin_role_arns)
  cluster_name  = aws_eks_cluster.this.name
  principal_arn = each.key
}

resource "aws_eks_access_policy_association" "admin" {
  for_each      = toset(var.admin_role_arns)
  cluster_name  = aws_eks_cluster.this.name
  principal_arn = aws_eks_access_entry.admin[each.key].principal_arn
  policy_arn    = "arn:${var.arns.partition}:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
  access_scope {
    type = "cluster"
  }
}
