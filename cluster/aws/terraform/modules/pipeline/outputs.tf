output "pipelines" { value = { for name, pipeline in aws_codepipeline.this : name => pipeline.name } }
output "pipeline_arns" { value = { for name, pipeline in aws_codepipeline.this : name => pipeline.arn } }
output "projects" { value = { for name in ["drift", "abort"] : name => { name = aws_codebuild_project.this[name].name, arn = aws_codebuild_project.this[name].arn } } }
