output "vpc_id" { value = aws_vpc.this.id }
output "private_subnet_ids" { value = [for subnet in aws_subnet.private : subnet.id] }
output "private_subnet_arns" { value = [for subnet in aws_subnet.private : subnet.arn] }
