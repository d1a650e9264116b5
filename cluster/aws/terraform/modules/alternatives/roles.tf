# Roles of ECS and SageMaker: reading models, starting tasks, and the instances.
locals {
  places = toset(concat(var.ecs.enabled ? ["ecs-tasks"] : [], var.sagemaker.enabled ? ["sagemaker"] : []))
  trust = { for service in ["ecs-tasks", "sagemaker", "ec2"] : service => jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "${service}.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  }) }
  pull = [
    { Sid = "LogIn", Effect = "Allow", Action = "ecr:GetAuthorizationToken", Resource = "*" }, # knows no resources
    { Sid = "Pull", Effect = "Allow", Action = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"], Resource = var.images.arn },
  ]
  logs = "arn:${var.arns.partition}:logs:${var.arns.region}:${var.arns.account}:log-group"
  # SageMaker pulls, logs and trains with one role; ECS has a second role for pulling and logging.
  sagemaker = [
    { Sid = "Log", Effect = "Allow", Action = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"], Resource = "${local.logs}:/aws/sagemaker/*" },
    { Sid = "Measure", Effect = "Allow", Action = "cloudwatch:PutMetricData", Resource = "*", Condition = { StringEquals = { "cloudwatch:namespace" = "/aws/sagemaker/TrainingJobs" } } }, # knows no resources
    { Sid = "TrainFrom", Effect = "Allow", Action = "s3:GetObject", Resource = "${var.buckets.data.arn}/*" },
    { Sid = "TrainTo", Effect = "Allow", Action = "s3:PutObject", Resource = "${var.buckets.data.arn}/runs/*" },
    {
      Sid       = "StandInTheVpc" # these know no resources
      Effect    = "Allow"
      Action    = ["ec2:CreateNetworkInterface", "ec2:CreateNetworkInterfacePermission", "ec2:DeleteNetworkInterface", "ec2:DescribeDhcpOptions", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcs"]
      Resource  = "*"
      Condition = { StringEquals = { "aws:RequestedRegion" = var.region } }
    },
  ]
}

resource "aws_iam_role" "reads_models" {
  for_each           = local.places
  name               = "${var.name}-${each.key}"
  assume_role_policy = local.trust[each.key]
}

resource "aws_iam_role_policy" "reads_models" {
  for_each = local.places
  name     = "models"
  role     = aws_iam_role.reads_models[each.key].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        { Sid = "ReadModels", Effect = "Allow", Action = "s3:GetObject", Resource = "${var.buckets.models.arn}/*" },
        { Sid = "FindModels", Effect = "Allow", Action = "s3:ListBucket", Resource = var.buckets.models.arn },
        { Sid = "UseTheKey", Effect = "Allow", Action = ["kms:Decrypt", "kms:GenerateDataKey"], Resource = var.key_arn },
      ],
      [for one in concat(local.pull, local.sagemaker) : one if each.key == "sagemaker"],
    )
  })
}

resource "aws_iam_role" "ecs_execution" {
  for_each           = local.ecs
  name               = "${var.name}-ecs-execution"
  assume_role_policy = local.trust["ecs-tasks"]
}

resource "aws_iam_role_policy" "ecs_execution" {
  for_each = local.ecs
  name     = "start-tasks"
  role     = aws_iam_role.ecs_execution[each.key].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(local.pull, [
      { Sid = "Log", Effect = "Allow", Action = ["logs:CreateLogStream", "logs:PutLogEvents"], Resource = "${local.logs}:/${var.name}/ecs:*" },
      { Sid = "UseTheKey", Effect = "Allow", Action = "kms:Decrypt", Resource = var.key_arn },
    ])
  })
}

resource "aws_iam_role" "ecs_node" {
  for_each           = local.ecs
  name               = "${var.name}-ecs-node"
  assume_role_policy = local.trust["ec2"]
}

resource "aws_iam_role_policy_attachment" "ecs_node" {
  for_each   = local.ecs
  role       = aws_iam_role.ecs_node[each.key].name
  policy_arn = "arn:${var.arns.partition}:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role"
}

resource "aws_iam_instance_profile" "ecs_node" {
  for_each = local.ecs
  name     = "${var.name}-ecs-node"
  role     = aws_iam_role.ecs_node[each.key].name
}
