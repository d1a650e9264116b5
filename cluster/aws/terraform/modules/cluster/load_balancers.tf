# Role of the AWS Load Balancer Controller, which creates the load balancer of the service's Ingress.
# The permissions that version 3.6 documents for Application Load Balancers, without those of Cognito, WAF, Shield,
# trust stores and capacity reservations. Changes need this cluster's tag.
locals {
  balancers  = "arn:${var.arns.partition}:elasticloadbalancing:${var.arns.region}:${var.arns.account}"
  groups     = "arn:${var.arns.partition}:ec2:${var.arns.region}:${var.arns.account}:security-group/*"
  own_tag    = { "aws:ResourceTag/elbv2.k8s.aws/cluster" = var.name }
  given_tag  = { "aws:RequestTag/elbv2.k8s.aws/cluster" = var.name }
  own_region = { "aws:RequestedRegion" = var.arns.region }
}

resource "aws_iam_role" "load_balancer_controller" {
  name               = "${var.name}-load-balancer-controller"
  assume_role_policy = local.assumed_by["pods.eks"]
}

resource "aws_eks_pod_identity_association" "load_balancer_controller" {
  cluster_name    = aws_eks_cluster.this.name
  namespace       = "kube-system"
  service_account = "aws-load-balancer-controller"
  role_arn        = aws_iam_role.load_balancer_controller.arn
}

resource "aws_iam_role_policy" "load_balancer_controller" {
  name = "load-balancers"
  role = aws_iam_role.load_balancer_controller.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Describe" # these know no resources
        Effect = "Allow"
        Action = [
          "ec2:DescribeAccountAttributes", "ec2:DescribeAddresses", "ec2:DescribeAvailabilityZones", "ec2:DescribeInstances",
          "ec2:DescribeInternetGateways", "ec2:DescribeNetworkInterfaces", "ec2:DescribeRouteTables", "ec2:DescribeSecurityGroups",
          "ec2:DescribeSubnets", "ec2:DescribeTags", "ec2:DescribeVpcPeeringConnections", "ec2:DescribeVpcs", "ec2:GetSecurityGroupsForVpc",
          "elasticloadbalancing:DescribeListenerAttributes", "elasticloadbalancing:DescribeListenerCertificates",
          "elasticloadbalancing:DescribeListeners", "elasticloadbalancing:DescribeLoadBalancerAttributes",
          "elasticloadbalancing:DescribeLoadBalancers", "elasticloadbalancing:DescribeRules", "elasticloadbalancing:DescribeSSLPolicies",
          "elasticloadbalancing:DescribeTags", "elasticloadbalancing:DescribeTargetGroupAttributes",
          "elasticloadbalancing:DescribeTargetGroups", "elasticloadbalancing:DescribeTargetHealth",
          "acm:DescribeCertificate", "acm:ListCertificates",
        ]
        Resource  = "*"
        Condition = { StringEquals = local.own_region }
      },
      {
        Sid       = "CreateServiceLinkedRole"
        Effect    = "Allow"
        Action    = "iam:CreateServiceLinkedRole"
        Resource  = "arn:${var.arns.partition}:iam::${var.arns.account}:role/aws-service-role/elasticloadbalancing.amazonaws.com/*"
        Condition = { StringEquals = { "iam:AWSServiceName" = "elasticloadbalancing.amazonaws.com" } }
      },
      {
        Sid      = "CreateSecurityGroups"
        Effect   = "Allow"
        Action   = "ec2:CreateSecurityGroup"
        Resource = [local.groups, "arn:${var.arns.partition}:ec2:${var.arns.region}:${var.arns.account}:vpc/*"]
      },
      {
        Sid       = "TagNewSecurityGroups"
        Effect    = "Allow"
        Action    = "ec2:CreateTags"
        Resource  = local.groups
        Condition = { StringEquals = merge(local.given_tag, { "ec2:CreateAction" = "CreateSecurityGroup" }) }
      },
      {
        Sid       = "ChangeOwnSecurityGroups"
        Effect    = "Allow"
        Action    = ["ec2:CreateTags", "ec2:DeleteTags", "ec2:DeleteSecurityGroup"]
        Resource  = local.groups
        Condition = { StringEquals = local.own_tag }
      },
      {
        Sid      = "OpenPodsToLoadBalancers" # the rule is in the nodes' security group, which has another tag
        Effect   = "Allow"
        Action   = ["ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress"]
        Resource = local.groups
      },
      {
        Sid       = "Create"
        Effect    = "Allow"
        Action    = ["elasticloadbalancing:CreateLoadBalancer", "elasticloadbalancing:CreateTargetGroup"]
        Resource  = "${local.balancers}:*"
        Condition = { StringEquals = local.given_tag }
      },
      {
        Sid      = "TagWhileCreating"
        Effect   = "Allow"
        Action   = "elasticloadbalancing:AddTags"
        Resource = ["${local.balancers}:targetgroup/*", "${local.balancers}:loadbalancer/app/*", "${local.balancers}:loadbalancer/net/*"]
        Condition = { StringEquals = merge(local.given_tag, {
          "elasticloadbalancing:CreateAction" = ["CreateTargetGroup", "CreateLoadBalancer"]
        }) }
      },
      {
        Sid    = "Listen"
        Effect = "Allow"
        Action = ["elasticloadbalancing:CreateListener", "elasticloadbalancing:CreateRule"]
        Resource = [
          "${local.balancers}:loadbalancer/app/*", "${local.balancers}:loadbalancer/net/*",
          "${local.balancers}:listener/app/*", "${local.balancers}:listener/net/*", "${local.balancers}:listener-rule/app/*",
        ]
      },
      {
        Sid       = "TagNewListeners" # they have the tag only after their creation
        Effect    = "Allow"
        Action    = "elasticloadbalancing:AddTags"
        Resource  = ["${local.balancers}:listener/app/*", "${local.balancers}:listener/net/*", "${local.balancers}:listener-rule/app/*"]
        Condition = { StringEquals = local.given_tag }
      },
      {
        Sid    = "ChangeOwn"
        Effect = "Allow"
        Action = [
          "elasticloadbalancing:AddListenerCertificates", "elasticloadbalancing:AddTags", "elasticloadbalancing:DeleteListener",
          "elasticloadbalancing:DeleteLoadBalancer", "elasticloadbalancing:DeleteRule", "elasticloadbalancing:DeleteTargetGroup",
          "elasticloadbalancing:DeregisterTargets", "elasticloadbalancing:ModifyListener",
          "elasticloadbalancing:ModifyListenerAttributes", "elasticloadbalancing:ModifyLoadBalancerAttributes",
          "elasticloadbalancing:ModifyRule", "elasticloadbalancing:ModifyTargetGroup",
          "elasticloadbalancing:ModifyTargetGroupAttributes", "elasticloadbalancing:RegisterTargets",
          "elasticloadbalancing:RemoveListenerCertificates", "elasticloadbalancing:RemoveTags",
          "elasticloadbalancing:SetIpAddressType", "elasticloadbalancing:SetRulePriorities",
          "elasticloadbalancing:SetSecurityGroups", "elasticloadbalancing:SetSubnets",
        ]
        Resource  = "${local.balancers}:*"
        Condition = { StringEquals = local.own_tag }
      },
    ]
  })
}
