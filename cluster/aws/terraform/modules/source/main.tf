# Source repository, in a separate module because `python -m cluster aws down` keeps it, like the data.
resource "aws_codecommit_repository" "this" {
  repository_name = var.name
  description     = "Source of the ${var.name} service; its commits are what the pipeline releases"
}
