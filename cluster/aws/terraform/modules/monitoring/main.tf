# Alarms and dashboard of the metrics in cluster/monitoring/metrics.yaml, the common source with the code.
locals {
  catalog = yamldecode(file("${path.module}/../../../../monitoring/metrics.yaml"))
  # Without a probe there is no alarm on it, which would always lack data.
  alarms  = { for name, alarm in local.catalog.alarms : name => alarm if var.probe || name != "probe" }
  service = { service = var.name }
}

resource "aws_sns_topic" "this" {
  name              = "${var.name}-alerts"
  kms_master_key_id = var.key_arn
}

resource "aws_sns_topic_policy" "this" {
  arn = aws_sns_topic.this.arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "AlarmsAndEvents"
      Effect    = "Allow"
      Principal = { Service = ["cloudwatch.amazonaws.com", "events.amazonaws.com", "budgets.amazonaws.com"] }
      Action    = "sns:Publish"
      Resource  = aws_sns_topic.this.arn
      Condition = { StringEquals = { "aws:SourceAccount" = var.arns.account } }
    }]
  })
}

resource "aws_sns_topic_subscription" "mail" {
  for_each  = toset(var.alert_emails)
  topic_arn = aws_sns_topic.this.arn
  protocol  = "email"
  endpoint  = each.key
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each            = local.alarms
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.says
  comparison_operator = try(each.value.comparison, "GreaterThanThreshold")
  threshold           = try(each.value.threshold, var.pod_max_requests_per_minute)
  evaluation_periods  = each.value.of
  datapoints_to_alarm = each.value.for
  treat_missing_data  = each.value.missing
  alarm_actions       = [aws_sns_topic.this.arn]
  ok_actions          = [aws_sns_topic.this.arn]

  dynamic "metric_query" {
    for_each = each.value.queries
    content {
      id          = metric_query.key
      return_data = !can(each.value.expression)
      metric {
        namespace   = local.catalog.namespace
        metric_name = metric_query.value.metric
        stat        = metric_query.value.statistic
        period      = try(each.value.period_s, local.catalog.period_s)
        dimensions  = merge(local.service, can(metric_query.value.outcome) ? { outcome = metric_query.value.outcome } : {})
      }
    }
  }
  dynamic "metric_query" {
    for_each = can(each.value.expression) ? [each.value.expression] : []
    content {
      id          = "value"
      label       = each.key
      expression  = metric_query.value
      return_data = true
    }
  }
}

resource "aws_cloudwatch_composite_alarm" "promise" {
  alarm_name        = "${var.name}-promise"
  alarm_description = "The promise is broken: 480 to 600 requests a minute a pod, p95 at most 100 ms, without errors"
  alarm_rule        = join(" OR ", [for name, alarm in local.alarms : "ALARM(\"${aws_cloudwatch_metric_alarm.this[name].alarm_name}\")" if alarm.promise])
  alarm_actions     = [aws_sns_topic.this.arn]
  ok_actions        = [aws_sns_topic.this.arn]
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = var.name
  dashboard_body = jsonencode({ widgets = local.widgets })
}
