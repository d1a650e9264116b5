output "repository" {
  value = {
    name = aws_ecr_repository.this.name
    arn  = aws_ecr_repository.this.arn
    url  = aws_ecr_repository.this.repository_url
  }
}
