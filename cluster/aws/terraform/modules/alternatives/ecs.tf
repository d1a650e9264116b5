# The same image as an ECS service on g5 instances, one task a GPU instance, behind an internal load balancer.
locals {
  ecs  = var.ecs.enabled ? { this = var.ecs } : {}
  port = 8000
}

data "aws_ssm_parameter" "gpu_ami" {
  for_each = local.ecs
  name     = "/aws/service/ecs/optimized-ami/amazon-linux-2023/gpu/recommended/image_id"
}

resource "aws_ecs_cluster" "this" {
  for_each = local.ecs
  name     = var.name
  setting {
    name  = "containerInsights"
    value = "enabled"
  }
}

resource "aws_launch_template" "gpu" {
  for_each      = local.ecs
  name          = "${var.name}-ecs-gpu"
  image_id      = data.aws_ssm_parameter.gpu_ami[each.key].insecure_value
  instance_type = each.value.instance_type
  user_data = base64encode(join("\n", [
    "#!/bin/sh", "echo ECS_CLUSTER=${var.name} >> /etc/ecs/ecs.config", "echo ECS_ENABLE_GPU_SUPPORT=true >> /etc/ecs/ecs.config",
  ]))
  vpc_security_group_ids = [aws_security_group.ecs[each.key].id]
  iam_instance_profile {
    arn = aws_iam_instance_profile.ecs_node[each.key].arn
  }
  block_device_mappings {
    device_name = "/dev/xvda"
    ebs {
      volume_size = 200 # the CUDA image alone is several GiB
      volume_type = "gp3"
      encrypted   = true
    }
  }
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
}

resource "aws_autoscaling_group" "gpu" {
  for_each              = local.ecs
  name                  = "${var.name}-ecs-gpu"
  min_size              = 0
  max_size              = each.value.count + 1 # one more while a task is replaced
  vpc_zone_identifier   = var.network.subnet_ids
  protect_from_scale_in = true
  launch_template {
    id      = aws_launch_template.gpu[each.key].id
    version = aws_launch_template.gpu[each.key].latest_version
  }
  tag {
    key                 = "AmazonECSManaged"
    value               = "true"
    propagate_at_launch = true
  }
  lifecycle {
    ignore_changes = [desired_capacity] # the capacity provider's
  }
}

resource "aws_ecs_capacity_provider" "gpu" {
  for_each = local.ecs
  name     = "${var.name}-gpu"
  auto_scaling_group_provider {
    auto_scaling_group_arn         = aws_autoscaling_group.gpu[each.key].arn
    managed_termination_protection = "ENABLED"
    managed_scaling {
      status          = "ENABLED"
      target_capacity = 100
    }
  }
}

resource "aws_ecs_cluster_capacity_providers" "this" {
  for_each           = local.ecs
  cluster_name       = aws_ecs_cluster.this[each.key].name
  capacity_providers = [aws_ecs_capacity_provider.gpu[each.key].name]
}

resource "aws_cloudwatch_log_group" "ecs" {
  for_each          = local.ecs
  name              = "/${var.name}/ecs"
  retention_in_days = var.keep_logs_days
  kms_key_id        = var.key_arn
}

resource "aws_ecs_task_definition" "this" {
  for_each                 = local.ecs
  family                   = var.name
  requires_compatibilities = ["EC2"]
  network_mode             = "awsvpc"
  execution_role_arn       = aws_iam_role.ecs_execution[each.key].arn
  task_role_arn            = aws_iam_role.reads_models["ecs-tasks"].arn
  container_definitions = jsonencode([{
    name                   = var.name
    image                  = "${var.images.url}:${each.value.image_tag}"
    essential              = true
    memory                 = 12288 # MiB; the smallest g5 has 16 GiB
    resourceRequirements   = [{ type = "GPU", value = "1" }]
    portMappings           = [{ containerPort = local.port, protocol = "tcp" }]
    readonlyRootFilesystem = true
    linuxParameters        = { sharedMemorySize = 2048, initProcessEnabled = true }
    stopTimeout            = 120
    # As the Dockerfile's HEALTHCHECK: 180 s for the first start, then three misses.
    healthCheck = { command = ["CMD", "sentiment", "healthy"], interval = 10, timeout = 5, retries = 3, startPeriod = 180 }
    mountPoints = [
      { sourceVolume = "tmp", containerPath = "/tmp", readOnly = false },
      { sourceVolume = "models", containerPath = "/var/cache/sentiment", readOnly = false },
    ]
    logConfiguration = {
      logDriver = "awslogs"
      options   = { awslogs-group = aws_cloudwatch_log_group.ecs[each.key].name, awslogs-region = var.region, awslogs-stream-prefix = "service" }
    }
  }])
  volume {
    name = "tmp"
  }
  volume {
    name = "models"
  }
}

resource "aws_ecs_service" "this" {
  for_each                           = local.ecs
  name                               = var.name
  cluster                            = aws_ecs_cluster.this[each.key].arn
  task_definition                    = aws_ecs_task_definition.this[each.key].arn
  desired_count                      = each.value.count
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200
  health_check_grace_period_seconds  = 300
  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }
  capacity_provider_strategy {
    capacity_provider = aws_ecs_capacity_provider.gpu[each.key].name
    weight            = 1
  }
  network_configuration {
    subnets         = var.network.subnet_ids
    security_groups = [aws_security_group.ecs[each.key].id]
  }
  load_balancer {
    target_group_arn = aws_lb_target_group.ecs[each.key].arn
    container_name   = var.name
    container_port   = local.port
  }
  depends_on = [aws_lb_listener.ecs]
}

resource "aws_lb" "ecs" {
  for_each           = local.ecs
  name               = "${var.name}-ecs"
  internal           = true
  load_balancer_type = "network"
  subnets            = var.network.subnet_ids
}

resource "aws_lb_target_group" "ecs" {
  for_each             = local.ecs
  name                 = "${var.name}-ecs"
  port                 = local.port
  protocol             = "TCP"
  target_type          = "ip"
  vpc_id               = var.network.vpc_id
  deregistration_delay = 60 # requests last at most 30 s
  health_check {
    protocol = "HTTP"
    path     = "/ping"
    interval = 10
  }
}

resource "aws_lb_listener" "ecs" {
  for_each          = local.ecs
  load_balancer_arn = aws_lb.ecs[each.key].arn
  port              = 80
  protocol          = "TCP"
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.ecs[each.key].arn
  }
}

resource "aws_security_group" "ecs" {
  for_each    = local.ecs
  name        = "${var.name}-ecs"
  description = "Tasks and their instances: the service from within the VPC"
  vpc_id      = var.network.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "ecs" {
  for_each          = local.ecs
  security_group_id = aws_security_group.ecs[each.key].id
  description       = "The service"
  cidr_ipv4         = var.network.cidr
  ip_protocol       = "tcp"
  from_port         = local.port
  to_port           = local.port
}

resource "aws_vpc_security_group_egress_rule" "ecs" {
  for_each          = local.ecs
  security_group_id = aws_security_group.ecs[each.key].id
  description       = "AWS"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}
