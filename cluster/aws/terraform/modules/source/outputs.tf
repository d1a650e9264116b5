output "repository" {
  value = {
    name      = aws_codecommit_repository.this.repository_name
    arn       = aws_codecommit_repository.this.arn
    clone_url = aws_codecommit_repository.this.clone_url_http
  }
}
