variable "name" { type = string }
variable "namespace" { type = string }
variable "arns" { type = object({ partition = string, region = string, account = string }) }
variable "kubernetes_version" { type = string }
variable "subnet_ids" { type = list(string) }
variable "api_cidrs" { type = list(string) }
variable "admin_role_arns" { type = list(string) }
variable "core_nodes" { type = object({ instance_type = string, count = number }) }
variable "keep_logs_days" { type = number }
variable "key_arn" { type = string }
variable "buckets" { type = map(object({ name = string, arn = string })) }
