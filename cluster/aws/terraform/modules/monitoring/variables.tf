variable "name" { type = string }
variable "region" { type = string }
variable "arns" { type = object({ partition = string, region = string, account = string }) }
variable "alert_emails" { type = list(string) }
variable "keep_logs_days" { type = number }
variable "key_arn" { type = string }
variable "usd_per_pod_hour" { type = number }
variable "pod_max_requests_per_minute" { type = number }
variable "cluster_name" { type = string }
variable "probe" { type = bool }
variable "monthly_budget_usd" { type = number }
