# The CloudWatch agent in the cluster: its identity and its log group. Its manifests: python -m cluster aws agent.
resource "aws_cloudwatch_log_group" "metrics" {
  name              = "/${var.name}/metrics" # as cluster/monitoring/agent.py writes there
  retention_in_days = var.keep_logs_days
  kms_key_id        = var.key_arn
}

resource "aws_iam_role" "agent" {
  name = "${var.name}-cloudwatch-agent"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
    }]
  })
}

resource "aws_iam_role_policy" "agent" {
  name = "write-metrics"
  role = aws_iam_role.agent.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid      = "WriteLinesThatHoldMetrics"
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
      Resource = ["arn:${var.arns.partition}:logs:${var.arns.region}:${var.arns.account}:log-group:/${var.name}/metrics:*"]
    }]
  })
}

resource "aws_eks_pod_identity_association" "agent" {
  cluster_name    = var.cluster_name
  namespace       = "monitoring" # as network.monitoring in the environment's settings
  service_account = "cloudwatch-agent"
  role_arn        = aws_iam_role.agent.arn
}
