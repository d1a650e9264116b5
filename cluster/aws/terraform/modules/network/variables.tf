variable "name" { type = string }
variable "cidr" { type = string }
variable "region" { type = string }
variable "zones" { type = list(string) }
variable "one_nat_gateway" { type = bool }
