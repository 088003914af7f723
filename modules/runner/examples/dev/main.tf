# A runner as envs/foundation makes it, with invented ids.
terraform {
  required_version = ">= 1.11.0, < 2.0.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}

module "runner" {
  source = "../.."

  name                     = "pmp-dev"
  environment              = "dev"
  packages                 = ["postgresql-client", "sqitch"]
  subnet_ids               = ["subnet-0123456789abcdef0"]
  security_group_id        = "sg-0123456789abcdef0"
  kms_key_arn              = "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000"
  permissions_boundary_arn = "arn:aws:iam::123456789012:policy/pmp/pmp-dev-boundary"
}

output "user_data" {
  description = "What cloud-init gets."
  value       = module.runner.user_data
}
