# The disk that a training's head and workers mount together (ReadWriteMany): EFS, reached from the private subnets.
resource "aws_efs_file_system" "training" {
  creation_token = "${var.name}-training"
  encrypted      = true
  kms_key_id     = var.key_arn
  tags           = { Name = "${var.name}-training" }
}

resource "aws_security_group" "training" {
  name        = "${var.name}-training-storage"
  description = "NFS from the cluster's nodes"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "training" {
  security_group_id            = aws_security_group.training.id
  description                  = "NFS"
  referenced_security_group_id = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 2049
  to_port                      = 2049
}

resource "aws_efs_mount_target" "training" {
  count           = length(var.subnet_ids)
  file_system_id  = aws_efs_file_system.training.id
  subnet_id       = var.subnet_ids[count.index]
  security_groups = [aws_security_group.training.id]
}
