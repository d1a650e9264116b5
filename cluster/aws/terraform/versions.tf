# Terraform and its provider. The state is in S3; `python -m cluster aws up` creates the bucket and configures it here.
terraform {
  required_version = ">= 1.11"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
  backend "s3" {
    use_lockfile = true
    encrypt      = true
  }
}

provider "aws" {
  region = var.region
  default_tags {
    tags = merge({ service = var.name, managed-by = "terraform" }, var.tags)
  }
}
