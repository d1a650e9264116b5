variable "name" { type = string }
variable "region" { type = string }
variable "arns" { type = object({ partition = string, region = string, account = string }) }
variable "keep_logs_days" { type = number }
variable "key_arn" { type = string }
variable "buckets" { type = map(object({ name = string, arn = string })) }
variable "images" { type = object({ name = string, arn = string, url = string }) }
variable "ecs" { type = object({ enabled = bool, image_tag = string, instance_type = string, count = number }) }
variable "sagemaker" {
  type = object({ enabled = bool, endpoint = bool, image_tag = string, instance_type = string, count = number, inference_ami_version = string })
}
variable "network" { type = object({ vpc_id = string, cidr = string, subnet_ids = list(string) }) }
