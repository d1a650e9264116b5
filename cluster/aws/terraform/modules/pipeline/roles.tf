# Roles: one per build project, one for the pipelines, one for the rule that starts them.
locals {
  trust = { for service in ["codebuild", "codepipeline", "events"] : service => jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "${service}.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = var.arns.account } }
    }]
  }) }

  # Policy statements by permission; `allowed` below assigns them to the projects.
  statements = {
    every = [
      {
        Sid      = "Log"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "arn:${var.arns.partition}:logs:${var.arns.region}:${var.arns.account}:log-group:/${var.name}/builds:*"
      },
      { Sid = "PassArtifacts", Effect = "Allow", Action = ["s3:GetObject", "s3:PutObject"], Resource = "${module.artifacts.arn}/*" },
      { Sid = "PullSource", Effect = "Allow", Action = "codecommit:GitPull", Resource = var.repository.arn },
      { Sid = "UseTheKey", Effect = "Allow", Action = ["kms:Decrypt", "kms:GenerateDataKey"], Resource = var.key_arn },
    ]
    push_images = [
      { Sid = "LogIn", Effect = "Allow", Action = "ecr:GetAuthorizationToken", Resource = "*" }, # knows no resources
      {
        Sid    = "PushImages"
        Effect = "Allow"
        Action = [
          "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:CompleteLayerUpload", "ecr:DescribeImages",
          "ecr:GetDownloadUrlForLayer", "ecr:InitiateLayerUpload", "ecr:PutImage", "ecr:UploadLayerPart",
        ]
        Resource = var.images.arn
      },
    ]
    find_images = [
      { Sid = "FindImages", Effect = "Allow", Action = ["ecr:DescribeImages", "ecr:BatchGetImage"], Resource = var.images.arn },
    ]
    find_cluster = [
      { Sid = "FindTheCluster", Effect = "Allow", Action = "eks:DescribeCluster", Resource = var.cluster.arn },
    ]
    stand_in_vpc = [
      {
        Sid    = "StandInTheVpc" # these know no resources
        Effect = "Allow"
        Action = [
          "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:DescribeDhcpOptions",
          "ec2:DescribeNetworkInterfaces", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcs",
        ]
        Resource  = "*"
        Condition = { StringEquals = { "aws:RequestedRegion" = var.arns.region } }
      },
      {
        Sid      = "LendTheInterface"
        Effect   = "Allow"
        Action   = "ec2:CreateNetworkInterfacePermission"
        Resource = "arn:${var.arns.partition}:ec2:${var.arns.region}:${var.arns.account}:network-interface/*"
        Condition = {
          StringEquals = { "ec2:AuthorizedService" = "codebuild.amazonaws.com" }
          ArnEquals    = { "ec2:Subnet" = var.network.subnet_arns }
        }
      },
    ]
    find_objects = [
      { Sid = "FindObjects", Effect = "Allow", Action = "s3:ListBucket", Resource = [var.buckets.models.arn, var.buckets.data.arn] },
    ]
    read_objects = [
      { Sid = "ReadModelsAndData", Effect = "Allow", Action = "s3:GetObject", Resource = ["${var.buckets.models.arn}/*", "${var.buckets.data.arn}/*"] },
    ]
    read_models = [
      { Sid = "ReadModels", Effect = "Allow", Action = "s3:GetObject", Resource = "${var.buckets.models.arn}/*" },
    ]
    read_texts = [
      { Sid = "ReadTextsForTheGate", Effect = "Allow", Action = "s3:GetObject", Resource = "${var.buckets.data.arn}/texts/*" },
    ]
    keep_rollouts = [
      {
        Sid      = "KeepTheJournal"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
        Resource = ["${var.buckets.data.arn}/rollout/*", "${var.buckets.models.arn}/registry/*"]
      },
    ]
    leave_verdict = [
      { Sid = "LeaveTheVerdict", Effect = "Allow", Action = "s3:PutObject", Resource = "${var.buckets.data.arn}/drift/*" },
    ]
  }
  allowed = {
    test    = ["every"]
    image   = ["every", "push_images"]
    upgrade = ["every", "stand_in_vpc", "find_cluster"]
    train   = ["every", "find_images", "stand_in_vpc", "find_cluster", "find_objects", "read_models"]
    retrain = ["every", "find_images", "stand_in_vpc", "find_cluster", "find_objects", "read_models"]
    deploy  = ["every", "find_images", "stand_in_vpc", "find_cluster", "find_objects", "read_models", "read_texts", "keep_rollouts"]
    drift   = ["every", "stand_in_vpc", "find_objects", "read_objects", "leave_verdict"]
    abort   = ["every", "stand_in_vpc", "find_cluster", "find_objects", "read_models", "keep_rollouts"]
  }
}

resource "aws_iam_role" "build" {
  for_each           = local.allowed
  name               = "${var.name}-build-${each.key}"
  assume_role_policy = local.trust["codebuild"]
}

resource "aws_iam_role_policy" "build" {
  for_each = local.allowed
  name     = each.key
  role     = aws_iam_role.build[each.key].id
  policy   = jsonencode({ Version = "2012-10-17", Statement = flatten([for what in each.value : local.statements[what]]) })
}

resource "aws_iam_role" "pipeline" {
  name               = "${var.name}-pipeline"
  assume_role_policy = local.trust["codepipeline"]
}

resource "aws_iam_role_policy" "pipeline" {
  name = "stages"
  role = aws_iam_role.pipeline.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "PassArtifacts"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"]
        Resource = "${module.artifacts.arn}/*"
      },
      { Sid = "FindArtifacts", Effect = "Allow", Action = ["s3:ListBucket", "s3:GetBucketVersioning"], Resource = module.artifacts.arn },
      {
        Sid      = "TakeSource"
        Effect   = "Allow"
        Action   = ["codecommit:CancelUploadArchive", "codecommit:GetBranch", "codecommit:GetCommit", "codecommit:GetRepository", "codecommit:GetUploadArchiveStatus", "codecommit:UploadArchive"]
        Resource = var.repository.arn
      },
      {
        Sid      = "Build"
        Effect   = "Allow"
        Action   = ["codebuild:BatchGetBuilds", "codebuild:StartBuild"]
        Resource = [for name, project in local.projects : aws_codebuild_project.this[name].arn if project.pipeline]
      },
      { Sid = "AskForApproval", Effect = "Allow", Action = "sns:Publish", Resource = var.topic_arn },
      { Sid = "UseTheKey", Effect = "Allow", Action = ["kms:Decrypt", "kms:GenerateDataKey"], Resource = var.key_arn },
    ]
  })
}

resource "aws_iam_role" "start" {
  name               = "${var.name}-pipeline-start"
  assume_role_policy = local.trust["events"]
}

resource "aws_iam_role_policy" "start" {
  name = "start"
  role = aws_iam_role.start.id
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "codepipeline:StartPipelineExecution", Resource = aws_codepipeline.this["commit"].arn }]
  })
}
