# The same image as a SageMaker model and endpoint. Training jobs are started, not kept: the role serves them too.
locals {
  models   = var.sagemaker.enabled ? { this = var.sagemaker } : {}
  endpoint = var.sagemaker.endpoint ? { this = var.sagemaker } : {}
}

resource "aws_sagemaker_model" "this" {
  for_each                 = local.models
  name                     = "${var.name}-${replace(each.value.image_tag, ".", "-")}"
  execution_role_arn       = aws_iam_role.reads_models["sagemaker"].arn
  enable_network_isolation = false # the replica fetches its model from S3 and checks it
  primary_container {
    image = "${var.images.url}:${each.value.image_tag}"
    environment = {
      SENTIMENT_MODEL = "builtin:"
    }
  }
  vpc_config {
    subnets            = var.network.subnet_ids
    security_group_ids = [aws_security_group.sagemaker[each.key].id]
  }
}

resource "aws_sagemaker_endpoint_configuration" "this" {
  for_each    = local.endpoint
  name        = aws_sagemaker_model.this[each.key].name
  kms_key_arn = startswith(each.value.instance_type, "ml.g5.") ? null : var.key_arn # g5's own disk is encrypted by itself
  production_variants {
    variant_name                                      = "all"
    model_name                                        = aws_sagemaker_model.this[each.key].name
    instance_type                                     = each.value.instance_type
    initial_instance_count                            = each.value.count
    container_startup_health_check_timeout_in_seconds = 600
    model_data_download_timeout_in_seconds            = 600
  }
  lifecycle {
    create_before_destroy = true # an endpoint never lacks one
  }
}

resource "aws_sagemaker_endpoint" "this" {
  for_each             = local.endpoint
  name                 = var.name
  endpoint_config_name = aws_sagemaker_endpoint_configuration.this[each.key].name
}

resource "aws_security_group" "sagemaker" {
  for_each    = local.models
  name        = "${var.name}-sagemaker"
  description = "SageMaker's containers: out only"
  vpc_id      = var.network.vpc_id
}

resource "aws_vpc_security_group_egress_rule" "sagemaker" {
  for_each          = local.models
  security_group_id = aws_security_group.sagemaker[each.key].id
  description       = "S3 and AWS"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}
