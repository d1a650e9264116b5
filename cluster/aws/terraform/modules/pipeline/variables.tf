variable "name" { type = string }
variable "namespace" { type = string }
variable "where" { type = string }
variable "arns" { type = object({ partition = string, region = string, account = string }) }
variable "branch" { type = string }
variable "approval" { type = bool }
variable "registry_uri" { type = string }
variable "keep_logs_days" { type = number }
variable "key_arn" { type = string }
variable "buckets" { type = map(object({ name = string, arn = string })) }
variable "repository" { type = object({ name = string, arn = string, clone_url = string }) }
variable "images" { type = object({ name = string, arn = string, url = string }) }
variable "topic_arn" { type = string }
variable "cluster" { type = object({ name = string, arn = string, security_group_id = string }) }
variable "network" { type = object({ vpc_id = string, cidr = string, subnet_ids = list(string), subnet_arns = list(string) }) }
