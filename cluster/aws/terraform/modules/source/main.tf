# The source's home. A module of its own: `python -m cluster aws down` leaves it, as it leaves the data.
resource "aws_codecommit_repository" "this" {
  repository_name = var.name
  description     = "Source of the ${var.name} service; its commits are what the pipeline releases"
}
