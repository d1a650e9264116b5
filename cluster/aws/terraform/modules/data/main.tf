# Buckets of data that cannot be recreated: models with their registry, and the prediction log. They share one key.
locals {
  buckets = { for what in ["models", "data"] : what => "${var.name}-${what}-${var.where}" }
  root    = "arn:${var.arns.partition}:iam::${var.arns.account}:root"
}

resource "aws_kms_key" "this" {
  description             = "${var.name}: models, captured data, images, secrets, logs"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "AccountDecidesByItsIamPolicies"
        Effect    = "Allow"
        Principal = { AWS = local.root }
        Action    = "kms:*" # a key whose account may not administer it is lost: the statement that AWS itself puts first
        Resource  = "*"     # in a key's own policy, "*" is this key
      },
      {
        Sid       = "LogsAreEncrypted"
        Effect    = "Allow"
        Principal = { Service = "logs.${var.arns.region}.amazonaws.com" }
        Action    = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:GenerateDataKey", "kms:DescribeKey"]
        Resource  = "*"
        Condition = { ArnLike = { "kms:EncryptionContext:aws:logs:arn" = "arn:${var.arns.partition}:logs:${var.arns.region}:${var.arns.account}:*" } }
      },
      {
        Sid       = "AlarmsAndEventsReachTopicsAndQueues"
        Effect    = "Allow"
        Principal = { Service = ["cloudwatch.amazonaws.com", "events.amazonaws.com", "scheduler.amazonaws.com", "budgets.amazonaws.com"] }
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = "*"
        Condition = { StringEquals = { "aws:SourceAccount" = var.arns.account } }
      },
    ]
  })
}

resource "aws_kms_alias" "this" {
  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.this.key_id
}

module "bucket" {
  source        = "../../shared/private_bucket"
  for_each      = local.buckets
  name          = each.value
  key_arn       = aws_kms_key.this.arn
  force_destroy = var.destroy_data
}

resource "aws_s3_bucket_versioning" "this" {
  for_each = module.bucket
  bucket   = each.value.id
  versioning_configuration {
    status = "Enabled"
  }
}

# EventBridge receives events of new versions, verdicts and rollouts, which the functions' rules select.
resource "aws_s3_bucket_notification" "this" {
  for_each    = module.bucket
  bucket      = each.value.id
  eventbridge = true
}

# Models are immutable and kept; only incomplete uploads and overwritten objects are deleted.
resource "aws_s3_bucket_lifecycle_configuration" "models" {
  bucket = module.bucket["models"].id
  rule {
    id     = "leftovers"
    status = "Enabled"
    filter {}
    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
    noncurrent_version_expiration {
      noncurrent_days = 90
    }
  }
  depends_on = [aws_s3_bucket_versioning.this]
}

resource "aws_s3_bucket_lifecycle_configuration" "data" {
  bucket = module.bucket["data"].id
  rule {
    id     = "leftovers"
    status = "Enabled"
    filter {}
    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
    noncurrent_version_expiration {
      noncurrent_days = 30
    }
  }
  rule {
    id     = "forget-marks"
    status = "Enabled"
    filter {
      prefix = "marks/" # of events that were dealt with: cluster/aws/functions/idempotency.py
    }
    expiration {
      days = 3
    }
  }
  dynamic "rule" {
    for_each = toset(["predictions", "feedback"])
    content {
      id     = "forget-${rule.value}"
      status = "Enabled"
      filter {
        prefix = "captured/${rule.value}/"
      }
      expiration {
        days = var.keep_predictions_days
      }
    }
  }
  depends_on = [aws_s3_bucket_versioning.this]
}
