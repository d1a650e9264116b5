# CodePipeline: pipelines for a commit, a registered version, and drift. Each ends with gate, canary and promotion.
locals {
  # In order; each action is a build project with the variables it gets.
  before = {
    commit  = ["test", "image", "upgrade", "train"] # a commit is tested, built, put onto the pods, and trained anew
    retrain = ["retrain"]                           # the texts have changed, not the code
    release = []                                    # a version that someone registered
  }
  after = [
    { name = "Canary", project = "deploy", variables = { ROLLOUT_VERB = "start", HOLD = tostring(var.approval) }, asked = true },
    { name = "Approve", project = "", variables = {}, asked = var.approval },
    { name = "Promote", project = "deploy", variables = { ROLLOUT_VERB = "promote" }, asked = var.approval },
  ]
  stages = { for pipeline, projects in local.before : pipeline => concat(
    [for project in projects : { name = title(project), project = project, variables = {} }],
    [for stage in local.after : { name = stage.name, project = stage.project, variables = stage.variables } if stage.asked],
  ) }
}

resource "aws_codepipeline" "this" {
  for_each       = local.stages
  name           = "${var.name}-${each.key}"
  role_arn       = aws_iam_role.pipeline.arn
  pipeline_type  = "V2"
  execution_mode = "QUEUED" # two rollouts at once are refused anyway; this way the second waits

  artifact_store {
    type     = "S3"
    location = module.artifacts.name
    encryption_key {
      id   = var.key_arn
      type = "KMS"
    }
  }

  dynamic "variable" {
    for_each = each.key == "release" ? { MODEL = var.name, VERSION = "" } : {}
    content {
      name          = variable.key
      default_value = variable.value == "" ? "none" : variable.value
      description   = "Of the registry: which version goes live"
    }
  }

  stage {
    name = "Source"
    action {
      name             = "Source"
      category         = "Source"
      owner            = "AWS"
      provider         = "CodeCommit"
      version          = "1"
      namespace        = "Source"
      output_artifacts = ["source"]
      configuration = {
        RepositoryName       = var.repository.name
        BranchName           = var.branch
        PollForSourceChanges = "false" # EventBridge says when: see events.tf
        OutputArtifactFormat = "CODEBUILD_CLONE_REF"
      }
    }
  }

  dynamic "stage" {
    for_each = each.value
    content {
      name = stage.value.name
      dynamic "action" {
        for_each = [for one in [stage.value] : one if one.project != ""]
        content {
          name            = action.value.name
          category        = "Build"
          owner           = "AWS"
          provider        = "CodeBuild"
          version         = "1"
          input_artifacts = ["source"]
          configuration = {
            ProjectName = aws_codebuild_project.this[action.value.project].name
            EnvironmentVariables = jsonencode([for name, value in merge(
              action.value.variables,
              { PIPELINE_EXECUTION = "#{codepipeline.PipelineExecutionId}", COMMIT = "#{Source.CommitId}" },
              each.key == "release" ? { MODEL = "#{variables.MODEL}", VERSION = "#{variables.VERSION}" } : {},
            ) : { name = name, value = value, type = "PLAINTEXT" }])
          }
        }
      }
      dynamic "action" {
        for_each = [for one in [stage.value] : one if one.project == ""]
        content {
          name     = action.value.name
          category = "Approval"
          owner    = "AWS"
          provider = "Manual"
          version  = "1"
          configuration = {
            NotificationArn = var.topic_arn
            CustomData      = "The canary has passed on one pod. Approve to promote it; reject to take it back."
          }
        }
      }
    }
  }
}
