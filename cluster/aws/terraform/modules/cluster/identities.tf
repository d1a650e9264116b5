# What the service's pods and the training's may do: EKS Pod Identity binds a role to each service account.
locals {
  identities = {
    (var.name)             = aws_iam_role.serve.arn # the accounts of cluster/kuberay/manifests/policies.py
    "${var.name}-training" = aws_iam_role.train.arn
  }
}

resource "aws_eks_pod_identity_association" "this" {
  for_each        = local.identities
  cluster_name    = aws_eks_cluster.this.name
  namespace       = var.namespace
  service_account = each.key
  role_arn        = each.value
}

resource "aws_iam_role" "serve" {
  name               = "${var.name}-serve"
  description        = "A replica: reads models, adds to what is captured, and nothing else"
  assume_role_policy = local.assumed_by["pods.eks"]
}

resource "aws_iam_role_policy" "serve" {
  name = "models-and-capture"
  role = aws_iam_role.serve.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Sid = "ReadModels", Effect = "Allow", Action = "s3:GetObject", Resource = "${var.buckets.models.arn}/*" },
      { Sid = "FindModels", Effect = "Allow", Action = "s3:ListBucket", Resource = var.buckets.models.arn },
      {
        Sid      = "AddCaptured"
        Effect   = "Allow"
        Action   = ["s3:PutObject", "s3:AbortMultipartUpload"]
        Resource = "${var.buckets.data.arn}/captured/*"
      },
      { Sid = "UseTheKey", Effect = "Allow", Action = ["kms:Decrypt", "kms:GenerateDataKey"], Resource = var.key_arn },
    ]
  })
}

resource "aws_iam_role" "train" {
  name               = "${var.name}-training"
  description        = "The RayJob that fine-tunes: reads texts and what was captured, writes runs and bundles"
  assume_role_policy = local.assumed_by["pods.eks"]
}

resource "aws_iam_role_policy" "train" {
  name = "texts-and-runs"
  role = aws_iam_role.train.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "ReadTextsAndModels"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = ["${var.buckets.data.arn}/*", "${var.buckets.models.arn}/*"]
      },
      {
        Sid      = "Find"
        Effect   = "Allow"
        Action   = "s3:ListBucket"
        Resource = [var.buckets.data.arn, var.buckets.models.arn]
      },
      {
        Sid      = "WriteRunsAndRegister"
        Effect   = "Allow"
        Action   = ["s3:PutObject", "s3:AbortMultipartUpload"]
        Resource = ["${var.buckets.data.arn}/runs/*", "${var.buckets.data.arn}/texts/feedback/*", "${var.buckets.models.arn}/registry/*"]
      },
      { Sid = "UseTheKey", Effect = "Allow", Action = ["kms:Decrypt", "kms:GenerateDataKey"], Resource = var.key_arn },
    ]
  })
}
