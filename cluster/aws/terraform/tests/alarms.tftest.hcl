# Alarms as cluster/monitoring/metrics.yaml has them: thresholds, periods, dimensions, and who is told.
mock_provider "aws" {}

variables {
  name             = "sentiment"
  region           = "us-east-1"
  arns             = { partition = "aws", region = "us-east-1", account = "123456789012" }
  alert_emails     = ["a@example.com"]
  keep_logs_days   = 30
  key_arn          = "arn:aws:kms:us-east-1:123456789012:key/1"
  usd_per_pod_hour = 1.418
  cluster_name     = "sentiment"
  probe            = true

  pod_max_requests_per_minute = 660
  monthly_budget_usd          = 0
}

run "alarms" {
  command = plan
  module {
    source = "./modules/monitoring"
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["rate"].threshold == 660 && aws_cloudwatch_metric_alarm.this["rate"].datapoints_to_alarm == 10
    error_message = "A pod is asked for more than the autoscaler allows, ten minutes long."
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.this["latency"].threshold == 0.05
    error_message = "p95 is above the promise where one request in twenty is late."
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.this["probe"].comparison_operator == "LessThanThreshold" && aws_cloudwatch_metric_alarm.this["probe"].treat_missing_data == "breaching"
    error_message = "No probe is as bad as a wrong answer."
  }
  assert {
    condition     = alltrue([for name, alarm in aws_cloudwatch_metric_alarm.this : length([for query in alarm.metric_query : query if query.return_data]) == 1])
    error_message = "Exactly one query of an alarm is compared."
  }
  assert {
    condition     = alltrue([for name, alarm in aws_cloudwatch_metric_alarm.this : alltrue([for query in alarm.metric_query : query.metric[0].dimensions["service"] == "sentiment" if length(query.metric) > 0])])
    error_message = "Every query asks for this service alone."
  }
  assert {
    condition     = aws_cloudwatch_composite_alarm.promise.alarm_rule == join(" OR ", [for name in ["errors", "latency", "probe", "rate", "refused"] : "ALARM(\"sentiment-${name}\")"])
    error_message = "The promise is broken when one of its alarms sounds."
  }
}

run "no_probe_no_alarm_on_it" {
  command = plan
  module {
    source = "./modules/monitoring"
  }
  variables {
    probe = false
  }

  assert {
    condition     = !contains(keys(aws_cloudwatch_metric_alarm.this), "probe") && !strcontains(aws_cloudwatch_composite_alarm.promise.alarm_rule, "probe")
    error_message = "An alarm on a metric that nobody sends."
  }
}

run "budget_with_notifications" {
  command = plan
  module {
    source = "./modules/monitoring"
  }
  variables {
    monthly_budget_usd = 4000
  }

  assert {
    condition     = aws_budgets_budget.month[0].limit_amount == "4000" && aws_budgets_budget.month[0].time_unit == "MONTHLY"
    error_message = "The budget is that of the variable."
  }
  assert {
    condition     = join(", ", sort([for one in aws_budgets_budget.month[0].notification : "${one.notification_type} ${one.threshold}"])) == "ACTUAL 100, ACTUAL 80, FORECASTED 100"
    error_message = "Notifications before the budget is spent, when it is, and when the forecast exceeds it."
  }
}

run "no_budget_by_default" {
  command = plan
  module {
    source = "./modules/monitoring"
  }

  assert {
    condition     = length(aws_budgets_budget.month) == 0
    error_message = "0 is no budget."
  }
}
