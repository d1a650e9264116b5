output "names" { value = { for name, one in aws_lambda_function.this : name => one.function_name } }
output "dead_letters" { value = aws_sqs_queue.dead.name }
