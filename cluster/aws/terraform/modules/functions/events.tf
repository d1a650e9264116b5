# Which event goes to which function. Schedules are rules too: their events keep their id over every try.
locals {
  patterns = {
    verdict = { function = "drift_check", says = "A drift job left its verdict", pattern = {
      source      = ["aws.s3"]
      detail-type = ["Object Created"]
      detail      = { bucket = { name = [var.buckets.data.name] }, object = { key = [{ wildcard = "drift/*/verdict.json" }] } }
    } }
    retrain = { function = "pipeline_trigger", says = "Drift asks for a retraining", pattern = {
      source      = ["aws.cloudwatch"]
      detail-type = ["CloudWatch Alarm State Change"]
      resources   = [var.retrain_alarm.arn]
      detail      = { state = { value = ["ALARM"] } }
    } }
    version = { function = "pipeline_trigger", says = "A version was registered", pattern = {
      source      = ["aws.s3"]
      detail-type = ["Object Created"]
      detail      = { bucket = { name = [var.buckets.models.name] }, object = { key = [{ prefix = "registry/versions/" }] } }
    } }
    rejected = { function = "pipeline_trigger", says = "A promotion was not approved", pattern = {
      source      = ["aws.codepipeline"]
      detail-type = ["CodePipeline Action Execution State Change"]
      detail      = { pipeline = values(var.pipelines), state = ["FAILED"], type = { category = ["Approval"] } }
    } }
    journal = { function = "rollout_watcher", says = "A rollout wrote its journal", pattern = {
      source      = ["aws.s3"]
      detail-type = ["Object Created"]
      detail      = { bucket = { name = [var.buckets.data.name] }, object = { key = [{ prefix = "rollout/entries/" }] } }
    } }
    execution = { function = "rollout_watcher", says = "A pipeline has ended", pattern = {
      source      = ["aws.codepipeline"]
      detail-type = ["CodePipeline Pipeline Execution State Change"]
      detail      = { pipeline = values(var.pipelines), state = ["SUCCEEDED", "FAILED", "STOPPED"] }
    } }
  }
  schedules = merge(
    { drift = { function = "drift_check", says = "Looks for drift", rate = var.drift_schedule } },
    var.probe_url == "" ? {} : { probe = { function = "probe", says = "Asks the service", rate = "rate(1 minute)" } },
  )
  rules = merge(
    { for name, one in local.patterns : name => { function = one.function, says = one.says, pattern = jsonencode(one.pattern), rate = null } },
    { for name, one in local.schedules : name => { function = one.function, says = one.says, pattern = null, rate = one.rate } },
  )
}

resource "aws_cloudwatch_event_rule" "this" {
  for_each            = local.rules
  name                = "${var.name}-${each.key}"
  description         = each.value.says
  event_pattern       = each.value.pattern
  schedule_expression = each.value.rate
}

resource "aws_cloudwatch_event_target" "this" {
  for_each = local.rules
  rule     = aws_cloudwatch_event_rule.this[each.key].name
  arn      = aws_lambda_function.this[each.value.function].arn
  dead_letter_config {
    arn = aws_sqs_queue.dead.arn
  }
  retry_policy {
    maximum_event_age_in_seconds = 3600
    maximum_retry_attempts       = 20
  }
}

resource "aws_lambda_permission" "this" {
  for_each      = local.rules
  statement_id  = "rule-${each.key}"
  function_name = aws_lambda_function.this[each.value.function].function_name
  action        = "lambda:InvokeFunction"
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.this[each.key].arn
}
