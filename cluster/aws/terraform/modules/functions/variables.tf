variable "name" { type = string }
variable "arns" { type = object({ partition = string, region = string, account = string }) }
variable "folder" { type = string }
variable "keep_logs_days" { type = number }
variable "key_arn" { type = string }
variable "buckets" { type = map(object({ name = string, arn = string })) }
variable "probe_url" { type = string }
variable "probe_api_key_secret_arn" { type = string }
variable "drift_schedule" { type = string }
variable "topic_arn" { type = string }
variable "metrics" { type = string }
variable "pipelines" { type = map(string) }
variable "pipeline_arns" { type = map(string) }
variable "projects" { type = map(object({ name = string, arn = string })) }
variable "retrain_alarm" { type = object({ name = string, arn = string }) }
variable "network" { type = object({ vpc_id = string, subnet_ids = list(string) }) }
