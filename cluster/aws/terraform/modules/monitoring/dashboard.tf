# Dashboard: pods, requests per minute per pod compared with the SLO, latency, cost, drift and versions, two per row.
locals {
  m = { for name in keys(local.catalog.metrics) : name => [local.catalog.namespace, name, "service", var.name] }
  by_outcome = { for outcome in ["answered", "refused", "failed"] :
    outcome => [local.catalog.namespace, "ray_sentiment_requests_total", "service", var.name, "outcome", outcome]
  }
  promise = local.catalog.promise
  widgets = [for number, one in local.charts : {
    type   = "metric"
    x      = 12 * (number % 2)
    y      = 6 * floor(number / 2)
    width  = 12
    height = 6
    properties = merge({
      region = var.region
      period = local.catalog.period_s
      view   = "timeSeries"
      yAxis  = { left = { min = 0 } }
    }, one)
  }]

  charts = [
    {
      title   = "Pods"
      stat    = "Sum"
      metrics = [concat(local.m.ray_sentiment_model_info, [{ label = "pods that serve" }])]
    },
    {
      title = "Requests a minute a pod"
      stat  = "Sum"
      metrics = [
        [{ expression = "requests / pods", label = "requests a minute a pod", id = "rate" }],
        concat(local.m.ray_sentiment_requests_total, [{ id = "requests", visible = false }]),
        concat(local.m.ray_sentiment_model_info, [{ id = "pods", visible = false }]),
      ]
      annotations = { horizontal = [
        { label = "promised, lower end", value = local.promise.requests_per_minute },
        { label = "promised, upper end", value = local.promise.offered_per_minute },
        { label = "pods are added above", value = var.pod_max_requests_per_minute },
      ] }
    },
    {
      title = "Share of requests later than ${local.promise.p95_ms} ms (p95 is the promise where this is 5 %)"
      stat  = "Sum"
      metrics = [
        [{ expression = "100 * FILL(late, 0) / (requests - FILL(refused, 0))", label = "percent late", id = "share" }],
        concat(local.m.ray_sentiment_late_requests_total, [{ id = "late", visible = false }]),
        concat(local.m.ray_sentiment_requests_total, [{ id = "requests", visible = false }]),
        concat(local.by_outcome.refused, [{ id = "refused", visible = false }]),
      ]
      annotations = { horizontal = [{ label = "p95 = ${local.promise.p95_ms} ms", value = 5 }] }
    },
    {
      title = "Latency of the probe, ms"
      metrics = [
        concat(local.m.probe_latency_ms, [{ stat = "p50", label = "p50" }]),
        concat(local.m.probe_latency_ms, [{ stat = "Maximum", label = "highest" }]),
      ]
      period = 300
    },
    {
      title   = "Requests by outcome"
      stat    = "Sum"
      stacked = true
      metrics = [for outcome, metric in local.by_outcome : concat(metric, [{ label = outcome }])]
    },
    {
      title   = "GPUs busy, percent"
      metrics = [concat(local.m.ray_node_gpus_utilization, [{ stat = "Average", label = "mean" }]), concat(local.m.ray_node_gpus_utilization, [{ stat = "Maximum", label = "busiest" }])]
    },
    {
      title = "Cost an hour of the pods, dollars (by list price; nodes not filled cost more)"
      stat  = "Sum"
      metrics = [
        [{ expression = "pods * ${var.usd_per_pod_hour}", label = "dollars an hour", id = "cost" }],
        concat(local.m.ray_sentiment_model_info, [{ id = "pods", visible = false }]),
      ]
    },
    {
      title = "Dollars a million tokens, as used"
      stat  = "Sum"
      metrics = [
        # Tokens are per minute, the price is per hour.
        [{ expression = "IF(tokens > 0, pods * ${var.usd_per_pod_hour} / 60 / tokens * 1000000)", label = "dollars a million tokens", id = "price" }],
        concat(local.m.ray_sentiment_tokens_total, [{ id = "tokens", visible = false }]),
        concat(local.m.ray_sentiment_model_info, [{ id = "pods", visible = false }]),
      ]
    },
    {
      title   = "Versions live, in pods"
      stacked = true
      metrics = [[{ expression = "SEARCH('{${local.catalog.namespace},service,version} MetricName=\"ray_sentiment_model_info\" service=\"${var.name}\"', 'Sum', ${local.catalog.period_s})", id = "versions" }]]
    },
    {
      title       = "Drift: 0 none, 1 drift, 2 retrain"
      metrics     = [concat(local.m.drift_verdict, [{ stat = "Maximum", label = "verdict" }])]
      period      = 3600
      annotations = { horizontal = [{ label = "retrain", value = 2 }] }
    },
    {
      title   = "The probe: 1 answered rightly; pods that could not load a model"
      metrics = [concat(local.m.probe_ok, [{ stat = "Minimum", label = "probe" }]), concat(local.m.ray_sentiment_failed_load, [{ stat = "Sum", label = "failed loads" }])]
      period  = 300
    },
  ]
}
