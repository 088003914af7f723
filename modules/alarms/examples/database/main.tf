# The alarms of a db.t3.medium and its proxy, and of an HTTP API with its objectives.
terraform {
  required_version = ">= 1.11.0, < 2.0.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}

variable "topic_arn_by_severity" {
  description = "ARNs of the SNS topics by severity."
  type = object({
    critical = string
    warning  = string
  })
}

module "sizing" {
  source = "../../../sizing"

  instance_class = "db.t3.medium"
}

module "alarms" {
  source = "../.."

  name                  = "pmp-dev"
  topic_arn_by_severity = var.topic_arn_by_severity

  database = {
    identifier             = "pmp-dev"
    proxy_name             = "pmp-dev"
    vcpu                   = module.sizing.vcpu
    is_burstable           = module.sizing.is_burstable
    largest_credit_balance = module.sizing.cpu_credits.largest_balance
    memory_gib             = module.sizing.memory_gib
    storage_gib            = 20
    max_connections        = module.sizing.max_connections
    pool_size              = module.sizing.pool_size
  }

  api        = { id = "abc123" }
  objectives = { availability_percent = 99.5 }
}
