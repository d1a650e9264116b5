# Budget of the account, with notifications before and after it is exceeded. Nodes of Karpenter are not in Terraform's plan,
# so only the bill itself shows their cost.
locals {
  budget_alarms = {
    "80 percent spent" = { threshold = 80, type = "ACTUAL" }
    "spent"            = { threshold = 100, type = "ACTUAL" }
    "will be exceeded" = { threshold = 100, type = "FORECASTED" }
  }
}

resource "aws_budgets_budget" "month" {
  count        = var.monthly_budget_usd > 0 ? 1 : 0
  name         = "${var.name}-month"
  budget_type  = "COST"
  limit_amount = tostring(var.monthly_budget_usd)
  limit_unit   = "USD"
  time_unit    = "MONTHLY"

  dynamic "notification" {
    for_each = local.budget_alarms
    content {
      comparison_operator       = "GREATER_THAN"
      threshold                 = notification.value.threshold
      threshold_type            = "PERCENTAGE"
      notification_type         = notification.value.type
      subscriber_sns_topic_arns = [aws_sns_topic.this.arn]
    }
  }
  depends_on = [aws_sns_topic_policy.this]
}
