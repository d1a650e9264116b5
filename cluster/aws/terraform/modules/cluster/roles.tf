# Roles of the control plane, the nodes and the storage drivers: AWS's own policies, since the work is AWS's own.
locals {
  assumed_by = { for service in ["eks", "ec2", "pods.eks"] : service => jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "${service}.amazonaws.com" }
      Action    = service == "pods.eks" ? ["sts:AssumeRole", "sts:TagSession"] : ["sts:AssumeRole"]
    }]
  }) }
  node_policies = toset(["AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryPullOnly"])
  drivers       = { for name, identity in local.addons : name => identity.policy if identity != null }
}

resource "aws_iam_role" "control_plane" {
  name               = "${var.name}-control-plane"
  assume_role_policy = local.assumed_by["eks"]
}

resource "aws_iam_role_policy_attachment" "control_plane" {
  role       = aws_iam_role.control_plane.name
  policy_arn = "${local.managed}/AmazonEKSClusterPolicy"
}

resource "aws_iam_role_policy" "control_plane_secrets" {
  name = "secrets"
  role = aws_iam_role.control_plane.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["kms:Encrypt", "kms:Decrypt", "kms:DescribeKey", "kms:CreateGrant"]
      Resource = var.key_arn
    }]
  })
}

resource "aws_iam_role" "core_node" {
  name               = "${var.name}-core-node"
  assume_role_policy = local.assumed_by["ec2"]
}

resource "aws_iam_role_policy_attachment" "core_node" {
  for_each   = local.node_policies
  role       = aws_iam_role.core_node.name
  policy_arn = "${local.managed}/${each.key}"
}

resource "aws_iam_role" "driver" {
  for_each           = local.drivers
  name               = "${var.name}-${each.key}"
  assume_role_policy = local.assumed_by["pods.eks"]
}

resource "aws_iam_role_policy_attachment" "driver" {
  for_each   = local.drivers
  role       = aws_iam_role.driver[each.key].name
  policy_arn = each.value
}
