variable "name" { type = string }
variable "key_arn" { type = string }
