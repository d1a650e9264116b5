output "topic_arn" { value = aws_sns_topic.this.arn }
output "namespace" { value = local.catalog.namespace }
output "dashboard" { value = aws_cloudwatch_dashboard.this.dashboard_name }
output "retrain_alarm" { value = { name = aws_cloudwatch_metric_alarm.this["retrain"].alarm_name, arn = aws_cloudwatch_metric_alarm.this["retrain"].arn } }
output "alarms" {
  value = {
    promise = aws_cloudwatch_composite_alarm.promise.alarm_name
    metrics = { for name, alarm in aws_cloudwatch_metric_alarm.this : name => alarm.alarm_name }
  }
}
