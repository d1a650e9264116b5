# Lambda functions of cluster/aws/functions, each with its own role, a timeout, and a dead-letter queue.
locals {
  functions = {
    probe = {
      says      = "Asks the service what it must know"
      timeout_s = 15
      variables = merge({ PROBE_URL = var.probe_url }, local.has_key ? { PROBE_API_KEY_SECRET = var.probe_api_key_secret_arn } : {})
      vpc       = true # the service answers inside the VPC alone
      may = concat(
        [{ Sid = "SendMetrics", Effect = "Allow", Action = "cloudwatch:PutMetricData", Resource = "*", Condition = { StringEquals = { "cloudwatch:namespace" = var.metrics } } }], # knows no resources
        [for arn in [var.probe_api_key_secret_arn] : { Sid = "ReadTheKey", Effect = "Allow", Action = "secretsmanager:GetSecretValue", Resource = arn } if local.has_key],
      )
    }
    drift_check = {
      says      = "Starts the drift job; turns its verdict into a metric"
      timeout_s = 30
      variables = { DRIFT_PROJECT = var.projects.drift.name }
      vpc       = false
      may = [
        { Sid = "SendMetrics", Effect = "Allow", Action = "cloudwatch:PutMetricData", Resource = "*", Condition = { StringEquals = { "cloudwatch:namespace" = var.metrics } } }, # knows no resources
        { Sid = "StartTheJob", Effect = "Allow", Action = "codebuild:StartBuild", Resource = var.projects.drift.arn },
        { Sid = "ReadVerdicts", Effect = "Allow", Action = "s3:GetObject", Resource = "${var.buckets.data.arn}/drift/*" },
      ]
    }
    pipeline_trigger = {
      says      = "Starts pipelines after a drift or a new version; takes back what was not approved"
      timeout_s = 30
      variables = {
        RETRAIN_PIPELINE = var.pipelines.retrain
        RELEASE_PIPELINE = var.pipelines.release
        ABORT_PROJECT    = var.projects.abort.name
      }
      vpc = false
      may = [
        { Sid = "StartPipelines", Effect = "Allow", Action = "codepipeline:StartPipelineExecution", Resource = [var.pipeline_arns.retrain, var.pipeline_arns.release] },
        { Sid = "TakeBack", Effect = "Allow", Action = "codebuild:StartBuild", Resource = var.projects.abort.arn },
      ]
    }
    rollout_watcher = {
      says      = "Tells people what a rollout or a pipeline did"
      timeout_s = 30
      variables = { TOPIC_ARN = var.topic_arn }
      vpc       = false
      may = [
        { Sid = "Tell", Effect = "Allow", Action = "sns:Publish", Resource = var.topic_arn },
        { Sid = "ReadTheJournal", Effect = "Allow", Action = "s3:GetObject", Resource = "${var.buckets.data.arn}/rollout/entries/*" },
      ]
    }
  }
  has_key = var.probe_api_key_secret_arn != ""
  # The probe exists only if the URL of the service is set.
  live  = { for name, one in local.functions : name => one if name != "probe" || var.probe_url != "" }
  dead  = "${var.name}-functions-dead"
  marks = "marks" # prefix of what says that an event was dealt with
  stand_in_the_vpc = [{
    Sid    = "StandInTheVpc" # these know no resources
    Effect = "Allow"
    Action = [
      "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:DescribeNetworkInterfaces",
      "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcs",
    ]
    Resource  = "*"
    Condition = { StringEquals = { "aws:RequestedRegion" = var.arns.region } }
  }]
  keep_marks = [
    { Sid = "Mark", Effect = "Allow", Action = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], Resource = "${var.buckets.data.arn}/${local.marks}/*" },
    # Without this permission S3 answers 403 instead of 404 for a mark that does not exist.
    { Sid = "MissMarks", Effect = "Allow", Action = "s3:ListBucket", Resource = var.buckets.data.arn },
  ]
  lambda = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_lambda_function" "this" {
  for_each         = local.live
  function_name    = "${var.name}-${replace(each.key, "_", "-")}"
  description      = each.value.says
  role             = aws_iam_role.this[each.key].arn
  runtime          = "python3.12"
  architectures    = ["arm64"]
  handler          = "cluster.aws.functions.${each.key}.handler"
  filename         = "${var.folder}/${each.key}.zip"
  source_code_hash = filebase64sha256("${var.folder}/${each.key}.zip")
  timeout          = each.value.timeout_s
  memory_size      = 256
  kms_key_arn      = var.key_arn

  environment {
    variables = merge({ SERVICE = var.name, MARKS_BUCKET = var.buckets.data.name, MARKS_PREFIX = local.marks }, each.value.variables)
  }
  dead_letter_config {
    target_arn = aws_sqs_queue.dead.arn
  }
  logging_config {
    log_format = "Text" # the functions write lines of JSON themselves
    log_group  = aws_cloudwatch_log_group.this[each.key].name
  }
  dynamic "vpc_config" {
    for_each = each.value.vpc ? [1] : []
    content {
      subnet_ids         = var.network.subnet_ids
      security_group_ids = [aws_security_group.probe.id]
    }
  }
  depends_on = [aws_iam_role_policy.this]
}

resource "aws_lambda_function_event_invoke_config" "this" {
  for_each                     = aws_lambda_function.this
  function_name                = each.value.function_name
  maximum_retry_attempts       = 2
  maximum_event_age_in_seconds = 3600
}

resource "aws_cloudwatch_log_group" "this" {
  for_each          = local.live
  name              = "/${var.name}/functions/${each.key}"
  retention_in_days = var.keep_logs_days
  kms_key_id        = var.key_arn
}

resource "aws_iam_role" "this" {
  for_each           = local.live
  name               = "${var.name}-function-${each.key}"
  assume_role_policy = local.lambda
}

resource "aws_iam_role_policy" "this" {
  for_each = local.live
  name     = each.key
  role     = aws_iam_role.this[each.key].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [for one in each.value.may : one],
      [
        {
          Sid      = "Log"
          Effect   = "Allow"
          Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
          Resource = "arn:${var.arns.partition}:logs:${var.arns.region}:${var.arns.account}:log-group:/${var.name}/functions/${each.key}:*"
        },
        { Sid = "HandOverTheDead", Effect = "Allow", Action = "sqs:SendMessage", Resource = aws_sqs_queue.dead.arn },
        { Sid = "UseTheKey", Effect = "Allow", Action = ["kms:Decrypt", "kms:GenerateDataKey"], Resource = var.key_arn },
      ],
      [for one in local.stand_in_the_vpc : one if each.value.vpc],
      [for one in local.keep_marks : one if !each.value.vpc],
    )
  })
}

resource "aws_security_group" "probe" {
  name        = "${var.name}-probe"
  description = "The probe: out only"
  vpc_id      = var.network.vpc_id
}

resource "aws_vpc_security_group_egress_rule" "probe" {
  security_group_id = aws_security_group.probe.id
  description       = "The service, wherever it listens, and AWS"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 80
  to_port           = 8443
}

# Events that failed after all retries; their age and number raise an alarm.
resource "aws_sqs_queue" "dead" {
  name                      = local.dead
  message_retention_seconds = 1209600 # 14 days, the most
  kms_master_key_id         = var.key_arn
}

resource "aws_sqs_queue_policy" "dead" {
  queue_url = aws_sqs_queue.dead.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "EventsThatReachNoFunction"
        Effect    = "Allow"
        Principal = { Service = "events.amazonaws.com" }
        Action    = "sqs:SendMessage"
        Resource  = aws_sqs_queue.dead.arn
        Condition = { StringEquals = { "aws:SourceAccount" = var.arns.account } }
      },
      {
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*" # a refusal: everything that does not come over TLS
        Resource  = aws_sqs_queue.dead.arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}

# Alarms on AWS's own metrics, which are not in the service's catalog.
resource "aws_cloudwatch_metric_alarm" "dead" {
  alarm_name          = "${var.name}-functions-dead"
  alarm_description   = "A function failed on an event after every try; the queue ${local.dead} has it"
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = aws_sqs_queue.dead.name }
  statistic           = "Maximum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 300
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [var.topic_arn]
}
