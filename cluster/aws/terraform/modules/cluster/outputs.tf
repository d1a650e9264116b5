output "name" { value = aws_eks_cluster.this.name }
output "arn" { value = aws_eks_cluster.this.arn }
output "endpoint" { value = aws_eks_cluster.this.endpoint }
output "security_group_id" { value = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id }
output "node_role" { value = aws_iam_role.gpu_node.name }
output "karpenter_queue" { value = aws_sqs_queue.interruptions.name }
