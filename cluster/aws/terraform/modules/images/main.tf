# Image repository: tags are immutable, every push is scanned, untagged images are deleted.
resource "aws_ecr_repository" "this" {
  name                 = "${var.name}-service"
  image_tag_mutability = "IMMUTABLE"
  force_delete         = true # images are built from the source again
  image_scanning_configuration {
    scan_on_push = true
  }
  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = var.key_arn
  }
}

resource "aws_ecr_lifecycle_policy" "this" {
  repository = aws_ecr_repository.this.name
  policy = jsonencode({
    rules = [
      {
        rulePriority = 1
        description  = "Untagged: left over from builds"
        selection    = { tagStatus = "untagged", countType = "sinceImagePushed", countUnit = "days", countNumber = 7 }
        action       = { type = "expire" }
      },
      {
        rulePriority = 2
        description  = "The last hundred, three targets each: enough to go back"
        selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 300 }
        action       = { type = "expire" }
      },
    ]
  })
}
