# Image repository: tags are immutable, every push is scanned, of each target the last images are kept.
locals {
  targets = ["cpu", "cuda", "train"] # of cluster/Dockerfile, and the end of each tag
}

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
    rules = concat(
      [{
        rulePriority = 1
        description  = "Untagged: left over from builds"
        selection    = { tagStatus = "untagged", countType = "imageCountMoreThan", countNumber = 1 }
        action       = { type = "expire" }
      }],
      [for index, target in local.targets : {
        rulePriority = 2 + index
        description  = "The last ${var.keep_images} of ${target}"
        selection    = { tagStatus = "tagged", tagPatternList = ["*-${target}"], countType = "imageCountMoreThan", countNumber = var.keep_images }
        action       = { type = "expire" }
      }],
    )
  })
}
