# What may be set. Only what has no default must be; example.tfvars shows the rest in use.
variable "name" {
  description = "Name of the service and of the EKS cluster, and prefix of all other names. Must equal `name` and `nodes.eks_cluster` in the environment's settings."
  type        = string
  default     = "sentiment"
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "3 to 20 lower-case letters, digits and dashes, beginning with a letter: bucket names end with account and region."
  }
}

variable "namespace" {
  description = "Kubernetes namespace of the service; must equal the environment's settings."
  type        = string
  default     = "sentiment"
  validation {
    condition     = can(regex("^[a-z]([-a-z0-9]*[a-z0-9])?$", var.namespace)) && length(var.namespace) <= 63
    error_message = "A Kubernetes name: lower-case letters, digits, dashes, at most 63."
  }
}

variable "region" {
  description = "AWS region; it must offer g5 instances."
  type        = string
  default     = "us-east-1"
  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "A region such as us-east-1."
  }
}

variable "tags" {
  description = "Further tags of all resources."
  type        = map(string)
  default     = {}
}

variable "vpc_cidr" {
  description = "CIDR block of the VPC: each private subnet gets a sixteenth of it, each public one a 256th."
  type        = string
  default     = "10.40.0.0/16"
  validation {
    condition     = can(cidrhost(var.vpc_cidr, 0)) && tonumber(split("/", var.vpc_cidr)[1]) <= 18
    error_message = "An IPv4 range of /18 or more, such as 10.40.0.0/16: every pod takes an address."
  }
}

variable "zones" {
  description = "Number of availability zones."
  type        = number
  default     = 3
  validation {
    condition     = contains([2, 3], var.zones)
    error_message = "2 or 3: EKS needs two, and more cost a NAT gateway each."
  }
}

variable "one_nat_gateway" {
  description = "Whether to use one NAT gateway for all zones: cheaper, but the loss of its zone disconnects the others."
  type        = bool
  default     = true
}

variable "kubernetes_version" {
  description = "Kubernetes version of the EKS control plane, its nodes and its add-ons. docs/eks-upgrade.md: end of support, and how to upgrade."
  type        = string
  default     = "1.36"
  validation {
    condition     = can(regex("^1\\.(3[4-9]|[4-9][0-9])$", var.kubernetes_version))
    error_message = "1.34 or later; 1.34, whose standard support ends in December 2026, only as a step of an upgrade."
  }
}

variable "api_cidrs" {
  description = "CIDR blocks that may reach the Kubernetes API from outside the VPC; default: none."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for cidr in var.api_cidrs : can(cidrhost(cidr, 0)) && !endswith(cidr, "/0")])
    error_message = "CIDR ranges, and not the whole internet."
  }
}

variable "admin_role_arns" {
  description = "ARNs of IAM roles that administer the cluster."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for arn in var.admin_role_arns : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:role/.+$", arn))])
    error_message = "ARNs of IAM roles."
  }
}

variable "core_nodes" {
  description = "Managed nodes for DNS, KubeRay, Karpenter, Redis and Ray's heads, one on each node: the service's, that of its upgrade, and a training's. Karpenter starts GPU nodes."
  type = object({
    instance_type = optional(string, "m6i.xlarge")
    count         = optional(number, 3)
  })
  default = {}
  validation {
    condition     = var.core_nodes.count >= 2 && var.core_nodes.count <= 10
    error_message = "2 to 10: Karpenter itself runs on them, twice."
  }
}

variable "keep_predictions_days" {
  description = "Days after which logged predictions and feedback are deleted."
  type        = number
  default     = 180
  validation {
    condition     = var.keep_predictions_days >= 30 && floor(var.keep_predictions_days) == var.keep_predictions_days
    error_message = "Whole days, at least 30: drift needs a window to look back on."
  }
}

variable "keep_logs_days" {
  description = "Retention of logs in CloudWatch, in days."
  type        = number
  default     = 30
  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731], var.keep_logs_days)
    error_message = "A number of days that CloudWatch Logs offers."
  }
}

variable "keep_images" {
  description = "Number of images of each target (cpu, cuda, train) that the repository keeps; the oldest are deleted first, also one that still runs."
  type        = number
  default     = 50
  validation {
    condition     = var.keep_images >= 10 && floor(var.keep_images) == var.keep_images
    error_message = "A whole number, at least 10: a rollback needs the images before the current one."
  }
}

variable "destroy_data" {
  description = "Whether Terraform may empty and delete the data buckets. `python -m cluster aws down --with-data` sets it after a second confirmation."
  type        = bool
  default     = false
}

variable "branch" {
  description = "Branch whose commits are deployed."
  type        = string
  default     = "main"
}

variable "approval" {
  description = "Whether a version needs a manual approval between its gate and its canary."
  type        = bool
  default     = true
}

variable "mlflow_tracking_uri" {
  description = "URL of the registry's MLflow server within the VPC; required by the pipelines' training and gate."
  type        = string
  default     = ""
  validation {
    condition     = var.mlflow_tracking_uri == "" || can(regex("^https?://[^[:space:]]+$", var.mlflow_tracking_uri))
    error_message = "http(s)://host[:port]."
  }
}

variable "alert_emails" {
  description = "Mail addresses to notify of alarms and rollouts; each has to confirm its subscription once."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for mail in var.alert_emails : can(regex("^[^@[:space:]]+@[^@[:space:]]+$", mail))])
    error_message = "Mail addresses."
  }
}

variable "probe_url" {
  description = "URL of the service within the VPC, for the probe; default: no probe."
  type        = string
  default     = ""
  validation {
    condition     = var.probe_url == "" || can(regex("^https?://[^/]+$", var.probe_url))
    error_message = "http(s)://host[:port], without a path."
  }
}

variable "probe_api_key_secret_arn" {
  description = "ARN of the secret in Secrets Manager whose value is the API key of the probe; default: the service requires no key."
  type        = string
  default     = ""
  validation {
    condition     = var.probe_api_key_secret_arn == "" || can(regex("^arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:.+$", var.probe_api_key_secret_arn))
    error_message = "The ARN of a secret: arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME-SUFFIX."
  }
}

variable "drift_schedule" {
  description = "Schedule of the drift check, in the syntax of EventBridge."
  type        = string
  default     = "rate(1 day)"
  validation {
    condition     = can(regex("^(rate|cron)\\(.+\\)$", var.drift_schedule))
    error_message = "rate(…) or cron(…)."
  }
}

variable "usd_per_pod_hour" {
  description = "Price of a pod per hour for the dashboard's cost, in USD; `python -m cluster aws` sets it to the average over the environment's number of pods, by list prices and the order of its worker groups."
  type        = number
  default     = 1.624
  validation {
    condition     = var.usd_per_pod_hour > 0
    error_message = "More than 0."
  }
}

variable "monthly_budget_usd" {
  description = "Budget of the entire account per month, in USD: alert_emails are notified at 80 %, at 100 %, and if the forecast exceeds it; default 0: no budget."
  type        = number
  default     = 0
  validation {
    condition     = var.monthly_budget_usd >= 0
    error_message = "0 or more."
  }
}

variable "pod_max_requests_per_minute" {
  description = "Requests with texts a minute a pod above which the autoscaler adds pods, and the alarm `rate` sounds: requests_per_minute of [serve.scaling] and its tolerance. `python -m cluster aws` sets it from the environment."
  type        = number
  default     = 660
  validation {
    condition     = var.pod_max_requests_per_minute > 0
    error_message = "More than 0."
  }
}

variable "functions_folder" {
  description = "Folder of the Lambda functions' zip files, which `python -m cluster.aws.package FOLDER` and `python -m cluster aws` create."
  type        = string
}

variable "ecs" {
  description = "The same image as an ECS service with one g5 instance per task; disabled by default."
  type = object({
    enabled       = optional(bool, false)
    image_tag     = optional(string, "0.1.0-cuda")
    instance_type = optional(string, "g5.xlarge")
    count         = optional(number, 1)
  })
  default = {}
  validation {
    condition     = startswith(var.ecs.instance_type, "g5.") && var.ecs.count >= 1 && var.ecs.count <= 16
    error_message = "1 to 16 g5 instances."
  }
}

variable "sagemaker" {
  description = "The same image as a SageMaker model with an endpoint; disabled by default."
  type = object({
    enabled       = optional(bool, false)
    endpoint      = optional(bool, false)
    image_tag     = optional(string, "0.1.0-cuda")
    instance_type = optional(string, "ml.g5.xlarge")
    count         = optional(number, 1)

    inference_ami_version = optional(string, "al2023-ami-sagemaker-inference-gpu-4-1")
  })
  default = {}
  validation {
    condition     = startswith(var.sagemaker.instance_type, "ml.g5.") && var.sagemaker.count >= 1 && var.sagemaker.count <= 16
    error_message = "1 to 16 ml.g5 instances."
  }
  validation {
    condition     = var.sagemaker.enabled || !var.sagemaker.endpoint
    error_message = "An endpoint needs sagemaker.enabled."
  }
}
