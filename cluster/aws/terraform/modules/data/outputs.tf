output "key_arn" { value = aws_kms_key.this.arn }
output "buckets" { value = { for what, bucket in aws_s3_bucket.this : what => { name = bucket.bucket, arn = bucket.arn } } }
