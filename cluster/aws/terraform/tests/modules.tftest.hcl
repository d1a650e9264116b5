# What moto does not give back, so what the tests against it cannot see.
mock_provider "aws" {
  override_during = plan # so that a policy that contains an ARN is known
  mock_resource "aws_sqs_queue" {
    defaults = { arn = "arn:aws:sqs:us-east-1:123456789012:dead" }
  }
}

variables {
  name = "sentiment"
  arns = { partition = "aws", region = "us-east-1", account = "123456789012" }
}

run "buckets_speak_to_eventbridge" {
  command = plan
  module {
    source = "./modules/data"
  }
  variables {
    where                 = "123456789012-us-east-1"
    keep_predictions_days = 180
    destroy_data          = false
  }

  assert {
    condition     = alltrue([for what in ["models", "data"] : aws_s3_bucket_notification.this[what].eventbridge])
    error_message = "Versions, verdicts and rollouts are heard of through EventBridge."
  }
}

run "s3_refuses_to_delete_what_holds_anything" {
  command = plan
  module {
    source = "./shared/private_bucket"
  }
  variables {
    key_arn       = "arn:aws:kms:us-east-1:123456789012:key/1"
    force_destroy = false
  }

  assert {
    condition     = !aws_s3_bucket.this.force_destroy && alltrue([aws_s3_bucket_public_access_block.this.block_public_acls, aws_s3_bucket_public_access_block.this.restrict_public_buckets])
    error_message = "Private, and kept."
  }
}

run "what_fails_is_kept" {
  command = plan
  module {
    source = "./modules/functions"
  }
  variables {
    folder         = "../../../build/functions"
    keep_logs_days = 30
    key_arn        = "arn:aws:kms:us-east-1:123456789012:key/1"
    buckets        = { models = { name = "m", arn = "arn:aws:s3:::m" }, data = { name = "d", arn = "arn:aws:s3:::d" } }
    probe_url      = "http://sentiment.internal"

    probe_api_key_secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:probe-AbCdEf"
    drift_schedule           = "rate(1 day)"
    topic_arn                = "arn:aws:sns:us-east-1:123456789012:t"
    metrics                  = "Sentiment"
    pipelines                = { commit = "c", retrain = "r", release = "v" }
    pipeline_arns            = { commit = "arn:aws:codepipeline:us-east-1:123456789012:c", retrain = "arn:aws:codepipeline:us-east-1:123456789012:r", release = "arn:aws:codepipeline:us-east-1:123456789012:v" }
    projects                 = { drift = { name = "d", arn = "arn:aws:codebuild:us-east-1:123456789012:project/d" }, abort = { name = "a", arn = "arn:aws:codebuild:us-east-1:123456789012:project/a" } }
    retrain_alarm            = { name = "sentiment-retrain", arn = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:sentiment-retrain" }
    network                  = { vpc_id = "vpc-1", subnet_ids = ["subnet-1"] }
  }

  assert {
    condition     = alltrue([for one in aws_lambda_function.this : length(one.dead_letter_config) == 1])
    error_message = "A function hands what it cannot do to the dead-letter queue."
  }
  assert {
    condition     = alltrue([for one in aws_cloudwatch_event_target.this : length(one.dead_letter_config) == 1 && one.retry_policy[0].maximum_event_age_in_seconds == 3600])
    error_message = "So does a rule that does not reach its function."
  }
  assert {
    condition     = [for name, one in aws_lambda_function.this : name if length(one.vpc_config) > 0] == ["probe"]
    error_message = "The probe alone stands in the VPC."
  }
  assert {
    condition     = aws_lambda_function.this["probe"].environment[0].variables["PROBE_API_KEY_SECRET"] == var.probe_api_key_secret_arn
    error_message = "The probe reads its API key from Secrets Manager."
  }
  assert {
    condition     = [for name, one in aws_iam_role_policy.this : name if strcontains(one.policy, "secretsmanager:GetSecretValue")] == ["probe"] && strcontains(aws_iam_role_policy.this["probe"].policy, var.probe_api_key_secret_arn)
    error_message = "The probe alone may read that secret."
  }
}

run "probe_without_an_api_key" {
  command = plan
  module {
    source = "./modules/functions"
  }
  variables {
    folder         = "../../../build/functions"
    keep_logs_days = 30
    key_arn        = "arn:aws:kms:us-east-1:123456789012:key/1"
    buckets        = { models = { name = "m", arn = "arn:aws:s3:::m" }, data = { name = "d", arn = "arn:aws:s3:::d" } }
    probe_url      = "http://sentiment.internal"
    drift_schedule = "rate(1 day)"
    topic_arn      = "arn:aws:sns:us-east-1:123456789012:t"
    metrics        = "Sentiment"
    pipelines      = { commit = "c", retrain = "r", release = "v" }
    pipeline_arns  = { commit = "arn:aws:codepipeline:us-east-1:123456789012:c", retrain = "arn:aws:codepipeline:us-east-1:123456789012:r", release = "arn:aws:codepipeline:us-east-1:123456789012:v" }
    projects       = { drift = { name = "d", arn = "arn:aws:codebuild:us-east-1:123456789012:project/d" }, abort = { name = "a", arn = "arn:aws:codebuild:us-east-1:123456789012:project/a" } }
    retrain_alarm  = { name = "sentiment-retrain", arn = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:sentiment-retrain" }
    network        = { vpc_id = "vpc-1", subnet_ids = ["subnet-1"] }

    probe_api_key_secret_arn = ""
  }

  assert {
    condition     = !contains(keys(aws_lambda_function.this["probe"].environment[0].variables), "PROBE_API_KEY_SECRET") && !strcontains(aws_iam_role_policy.this["probe"].policy, "secretsmanager")
    error_message = "A service without API keys needs no secret."
  }
}

run "sagemaker_has_a_driver_for_the_image" {
  command = plan
  module {
    source = "./modules/alternatives"
  }
  variables {
    region         = "us-east-1"
    keep_logs_days = 30
    key_arn        = "arn:aws:kms:us-east-1:123456789012:key/1"
    buckets        = { models = { name = "m", arn = "arn:aws:s3:::m" }, data = { name = "d", arn = "arn:aws:s3:::d" } }
    images         = { name = "i", arn = "arn:aws:ecr:us-east-1:123456789012:repository/i", url = "i" }
    ecs            = { enabled = false, image_tag = "", instance_type = "g5.xlarge", count = 1 }
    sagemaker      = { enabled = true, endpoint = true, image_tag = "0.1.0-cuda", instance_type = "ml.g5.xlarge", count = 1, inference_ami_version = "al2023-ami-sagemaker-inference-gpu-4-1" }
    network        = { vpc_id = "vpc-1", cidr = "10.40.0.0/16", subnet_ids = ["subnet-1"] }
  }

  assert {
    condition     = jsondecode(aws_cloudformation_stack.sagemaker["this"].template_body).Resources.Configuration.Properties.ProductionVariants[0].InferenceAmiVersion == "al2023-ami-sagemaker-inference-gpu-4-1"
    error_message = "The default driver of ml.g5, 470, is older than the 580 that CUDA 13 needs."
  }
}

run "of_each_target_the_last_images_are_kept" {
  command = plan
  module {
    source = "./modules/images"
  }
  variables {
    key_arn     = "arn:aws:kms:us-east-1:123456789012:key/1"
    keep_images = 20
  }

  assert {
    condition     = [for rule in jsondecode(aws_ecr_lifecycle_policy.this.policy).rules : try(rule.selection.tagPatternList[0], "")] == ["", "*-cpu", "*-cuda", "*-train"]
    error_message = "Each target has a rule, so that one target's images do not displace another's."
  }
  assert {
    condition     = alltrue([for rule in jsondecode(aws_ecr_lifecycle_policy.this.policy).rules : rule.selection.countType == "imageCountMoreThan"])
    error_message = "Images are deleted by number, never by age: an image that was not replaced is still needed."
  }
  assert {
    condition     = aws_ecr_repository.this.image_tag_mutability == "IMMUTABLE"
    error_message = "A tag always names the same image."
  }
}
