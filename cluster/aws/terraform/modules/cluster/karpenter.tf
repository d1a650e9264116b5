# Resources for Karpenter to start g5 nodes and to drain spot nodes in time: two roles, a queue, and its events.
# NodePool and EC2NodeClass are manifests of the service (python -m cluster render).
locals {
  ec2         = "arn:${var.arns.partition}:ec2:${var.arns.region}"
  owned       = { "aws:ResourceTag/kubernetes.io/cluster/${var.name}" = "owned" }
  own_profile = merge(local.owned, { "aws:ResourceTag/topology.kubernetes.io/region" = var.arns.region })
  asked_owned = { "aws:RequestTag/kubernetes.io/cluster/${var.name}" = "owned" }
  new_profile = merge(local.asked_owned, {
    "aws:RequestTag/eks:eks-cluster-name"          = var.name
    "aws:RequestTag/topology.kubernetes.io/region" = var.arns.region
  })
  any_pool = { "aws:ResourceTag/karpenter.sh/nodepool" = "*" }
  profiles = "arn:${var.arns.partition}:iam::${var.arns.account}:instance-profile/*"
  interruptions = {
    spot      = { source = ["aws.ec2"], detail-type = ["EC2 Spot Instance Interruption Warning"] }
    reserved  = { source = ["aws.ec2"], detail-type = ["EC2 Capacity Reservation Instance Interruption Warning"] }
    rebalance = { source = ["aws.ec2"], detail-type = ["EC2 Instance Rebalance Recommendation"] }
    state     = { source = ["aws.ec2"], detail-type = ["EC2 Instance State-change Notification"] }
    health    = { source = ["aws.health"], detail-type = ["AWS Health Event"] }
  }
}

resource "aws_iam_role" "gpu_node" {
  name               = "KarpenterNodeRole-${var.name}" # as in the environment's settings: nodes.role
  assume_role_policy = local.assumed_by["ec2"]
}

resource "aws_iam_role_policy_attachment" "gpu_node" {
  for_each   = setunion(local.node_policies, ["AmazonSSMManagedInstanceCore"])
  role       = aws_iam_role.gpu_node.name
  policy_arn = "${local.managed}/${each.key}"
}

resource "aws_eks_access_entry" "gpu_node" {
  cluster_name  = aws_eks_cluster.this.name
  principal_arn = aws_iam_role.gpu_node.arn
  type          = "EC2_LINUX"
}

resource "aws_iam_role" "karpenter" {
  name               = "${var.name}-karpenter"
  assume_role_policy = local.assumed_by["pods.eks"]
}

resource "aws_eks_pod_identity_association" "karpenter" {
  cluster_name    = aws_eks_cluster.this.name
  namespace       = "kube-system"
  service_account = "karpenter"
  role_arn        = aws_iam_role.karpenter.arn
}

# The permissions that Karpenter 1.14 documents (its getting-started CloudFormation template), for the version in
# cluster/aws/addons.toml. Changes need this cluster's tag.
resource "aws_iam_role_policy" "karpenter" {
  name = "nodes"
  role = aws_iam_role.karpenter.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "StartFromWhatIsThere"
        Effect   = "Allow"
        Action   = ["ec2:RunInstances", "ec2:CreateFleet"]
        Resource = ["${local.ec2}::image/*", "${local.ec2}::snapshot/*", "${local.ec2}:*:security-group/*", "${local.ec2}:*:subnet/*", "${local.ec2}:*:capacity-reservation/*", "${local.ec2}:*:placement-group/*"]
      },
      {
        Sid       = "StartFromOwnTemplates"
        Effect    = "Allow"
        Action    = ["ec2:RunInstances", "ec2:CreateFleet"]
        Resource  = "${local.ec2}:*:launch-template/*"
        Condition = { StringEquals = local.owned, StringLike = local.any_pool }
      },
      {
        Sid      = "StartTagged"
        Effect   = "Allow"
        Action   = ["ec2:RunInstances", "ec2:CreateFleet", "ec2:CreateLaunchTemplate"]
        Resource = [for kind in ["fleet", "instance", "volume", "network-interface", "launch-template", "spot-instances-request"] : "${local.ec2}:*:${kind}/*"]
        Condition = {
          StringEquals = merge(local.asked_owned, { "aws:RequestTag/eks:eks-cluster-name" = var.name })
          StringLike   = { "aws:RequestTag/karpenter.sh/nodepool" = "*" }
        }
      },
      {
        Sid      = "TagWhileStarting"
        Effect   = "Allow"
        Action   = "ec2:CreateTags"
        Resource = [for kind in ["fleet", "instance", "volume", "network-interface", "launch-template", "spot-instances-request"] : "${local.ec2}:*:${kind}/*"]
        Condition = {
          StringEquals = merge(local.asked_owned, {
            "aws:RequestTag/eks:eks-cluster-name" = var.name
            "ec2:CreateAction"                    = ["RunInstances", "CreateFleet", "CreateLaunchTemplate"]
          })
          StringLike = { "aws:RequestTag/karpenter.sh/nodepool" = "*" }
        }
      },
      {
        Sid      = "TagOwnNodes"
        Effect   = "Allow"
        Action   = "ec2:CreateTags"
        Resource = "${local.ec2}:*:instance/*"
        Condition = {
          StringEquals                = local.owned
          StringLike                  = local.any_pool
          StringEqualsIfExists        = { "aws:RequestTag/eks:eks-cluster-name" = var.name }
          "ForAllValues:StringEquals" = { "aws:TagKeys" = ["eks:eks-cluster-name", "karpenter.sh/nodeclaim", "Name"] }
        }
      },
      {
        Sid       = "EndOwn"
        Effect    = "Allow"
        Action    = ["ec2:TerminateInstances", "ec2:DeleteLaunchTemplate"]
        Resource  = ["${local.ec2}:*:instance/*", "${local.ec2}:*:launch-template/*"]
        Condition = { StringEquals = local.owned, StringLike = local.any_pool }
      },
      {
        Sid    = "Look" # none of these can be limited to resources
        Effect = "Allow"
        Action = [
          "ec2:DescribeCapacityReservations", "ec2:DescribeImages", "ec2:DescribeInstances", "ec2:DescribeInstanceStatus",
          "ec2:DescribeInstanceTypeOfferings", "ec2:DescribeInstanceTypes", "ec2:DescribeLaunchTemplates",
          "ec2:DescribePlacementGroups", "ec2:DescribeSecurityGroups", "ec2:DescribeSpotPriceHistory", "ec2:DescribeSubnets",
        ]
        Resource  = "*"
        Condition = { StringEquals = { "aws:RequestedRegion" = var.arns.region } }
      },
      {
        Sid      = "FindImages"
        Effect   = "Allow"
        Action   = "ssm:GetParameter"
        Resource = "arn:${var.arns.partition}:ssm:${var.arns.region}::parameter/aws/service/*"
      },
      {
        Sid      = "Price" # knows no resources
        Effect   = "Allow"
        Action   = "pricing:GetProducts"
        Resource = "*"
      },
      {
        Sid      = "HearInterruptions"
        Effect   = "Allow"
        Action   = ["sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ReceiveMessage"]
        Resource = aws_sqs_queue.interruptions.arn
      },
      {
        Sid       = "GiveNodesTheirRole"
        Effect    = "Allow"
        Action    = "iam:PassRole"
        Resource  = aws_iam_role.gpu_node.arn
        Condition = { StringEquals = { "iam:PassedToService" = ["ec2.amazonaws.com", "ec2.amazonaws.com.cn"] } }
      },
      {
        Sid       = "MakeProfiles"
        Effect    = "Allow"
        Action    = "iam:CreateInstanceProfile"
        Resource  = local.profiles
        Condition = { StringEquals = local.new_profile, StringLike = { "aws:RequestTag/karpenter.k8s.aws/ec2nodeclass" = "*" } }
      },
      {
        Sid      = "TagOwnProfiles"
        Effect   = "Allow"
        Action   = "iam:TagInstanceProfile"
        Resource = local.profiles
        Condition = {
          StringEquals = merge(local.own_profile, local.new_profile)
          StringLike = {
            "aws:ResourceTag/karpenter.k8s.aws/ec2nodeclass" = "*"
            "aws:RequestTag/karpenter.k8s.aws/ec2nodeclass"  = "*"
          }
        }
      },
      {
        Sid       = "KeepOwnProfiles"
        Effect    = "Allow"
        Action    = ["iam:AddRoleToInstanceProfile", "iam:RemoveRoleFromInstanceProfile", "iam:DeleteInstanceProfile"]
        Resource  = local.profiles
        Condition = { StringEquals = local.own_profile, StringLike = { "aws:ResourceTag/karpenter.k8s.aws/ec2nodeclass" = "*" } }
      },
      {
        Sid      = "ReadProfiles"
        Effect   = "Allow"
        Action   = "iam:GetInstanceProfile"
        Resource = local.profiles
      },
      {
        Sid      = "ListProfiles" # knows no resources
        Effect   = "Allow"
        Action   = "iam:ListInstanceProfiles"
        Resource = "*"
      },
      {
        Sid      = "FindTheCluster"
        Effect   = "Allow"
        Action   = "eks:DescribeCluster"
        Resource = aws_eks_cluster.this.arn
      },
      {
        Sid       = "SeeZonalShifts" # knows no resources
        Effect    = "Allow"
        Action    = "arc-zonal-shift:GetManagedResource"
        Resource  = "*"
        Condition = { StringEquals = { "arc-zonal-shift:ResourceIdentifier" = aws_eks_cluster.this.arn } }
      },
    ]
  })
}

resource "aws_sqs_queue" "interruptions" {
  name                      = "Karpenter-${var.name}"
  message_retention_seconds = 300 # an older warning is of no use: a spot node is gone after two minutes
  sqs_managed_sse_enabled   = true
}

resource "aws_sqs_queue_policy" "interruptions" {
  queue_url = aws_sqs_queue.interruptions.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "Events"
        Effect    = "Allow"
        Principal = { Service = "events.amazonaws.com" }
        Action    = "sqs:SendMessage"
        Resource  = aws_sqs_queue.interruptions.arn
        Condition = { StringEquals = { "aws:SourceAccount" = var.arns.account } }
      },
      {
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*" # a refusal: everything that does not come over TLS
        Resource  = aws_sqs_queue.interruptions.arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}

resource "aws_cloudwatch_event_rule" "interruption" {
  for_each      = local.interruptions
  name          = "${var.name}-karpenter-${each.key}"
  description   = "To Karpenter: ${each.value.detail-type[0]}"
  event_pattern = jsonencode(each.value)
}

resource "aws_cloudwatch_event_target" "interruption" {
  for_each = local.interruptions
  rule     = aws_cloudwatch_event_rule.interruption[each.key].name
  arn      = aws_sqs_queue.interruptions.arn
}
