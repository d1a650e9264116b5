output "key_arn" { value = aws_kms_key.this.arn }
output "buckets" { value = { for what, bucket in module.bucket : what => { name = bucket.name, arn = bucket.arn } } }
