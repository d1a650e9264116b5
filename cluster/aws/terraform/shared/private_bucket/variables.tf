variable "name" { type = string }
variable "key_arn" { type = string }
variable "force_destroy" { type = bool }
