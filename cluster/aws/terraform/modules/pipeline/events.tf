# A commit on the branch starts the pipeline.
resource "aws_cloudwatch_event_rule" "commit" {
  name        = "${var.name}-commit"
  description = "A commit on ${var.branch} is to go live"
  event_pattern = jsonencode({
    source      = ["aws.codecommit"]
    detail-type = ["CodeCommit Repository State Change"]
    resources   = [var.repository.arn]
    detail      = { event = ["referenceCreated", "referenceUpdated"], referenceType = ["branch"], referenceName = [var.branch] }
  })
}

resource "aws_cloudwatch_event_target" "commit" {
  rule     = aws_cloudwatch_event_rule.commit.name
  arn      = aws_codepipeline.this["commit"].arn
  role_arn = aws_iam_role.start.arn
}
