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

# A stack, because the provider's aws_sagemaker_endpoint_configuration 5.100 rejects the AMI version with driver 580.
# SageMaker's default driver of ml.g5 is 470: too old for CUDA 13, and the image would find no GPU.
locals {
  configuration = { for key, one in local.endpoint : key => jsonencode({
    Description = "Endpoint configuration of ${var.name}"
    Resources = {
      Configuration = {
        Type = "AWS::SageMaker::EndpointConfig"
        Properties = { # no KmsKeyId: the local disks of g5 are encrypted by the hardware
          ProductionVariants = [{
            VariantName                                 = "all"
            ModelName                                   = aws_sagemaker_model.this[key].name
            InstanceType                                = one.instance_type
            InitialInstanceCount                        = one.count
            InitialVariantWeight                        = 1
            InferenceAmiVersion                         = one.inference_ami_version
            ContainerStartupHealthCheckTimeoutInSeconds = 600
            ModelDataDownloadTimeoutInSeconds           = 600
          }]
        }
      }
    }
    Outputs = { Name = { Value = { "Fn::GetAtt" = ["Configuration", "EndpointConfigName"] } } }
  }) }
}

resource "aws_cloudformation_stack" "sagemaker" {
  for_each      = local.endpoint
  name          = "${var.name}-endpoint-${substr(sha1(local.configuration[each.key]), 0, 8)}"
  template_body = local.configuration[each.key]
  lifecycle {
    create_before_destroy = true # the endpoint changes to the new configuration before the old one is deleted
  }
}

resource "aws_sagemaker_endpoint" "this" {
  for_each             = local.endpoint
  name                 = var.name
  endpoint_config_name = aws_cloudformation_stack.sagemaker[each.key].outputs["Name"]
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
