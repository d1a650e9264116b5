variable "name" { type = string }
variable "where" { type = string }
variable "arns" { type = object({ partition = string, region = string, account = string }) }
variable "keep_predictions_days" { type = number }
variable "destroy_data" { type = bool }
