terraform {
  required_version = ">= 1.11.0, < 2.0.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }

  # Settings: backend.hcl, and bucket, key and region from the job (they differ by account).
  backend "s3" {}
}

# Region and credentials come from the standard AWS_* variables.
provider "aws" {
  s3_use_path_style = try(var.platform.s3_use_path_style, false)

  default_tags {
    tags = {
      Project     = "pmp"
      Environment = var.environment
      Layer       = "service"
    }
  }
}

# Where Route 53 publishes the metrics of its health checks.
provider "aws" {
  alias             = "us_east_1"
  region            = "us-east-1"
  s3_use_path_style = try(var.platform.s3_use_path_style, false)

  default_tags {
    tags = {
      Project     = "pmp"
      Environment = var.environment
      Layer       = "service"
    }
  }
}

# Changes records of the hosted zone, which may live in another account.
provider "aws" {
  alias = "dns"

  dynamic "assume_role" {
    # A merge request plans with its own code, so it reads the zone as a role that cannot change it.
    for_each = (var.read_only ? var.service.api.hosted_zone_reader_role_arn : var.service.api.hosted_zone_role_arn)[*]

    content {
      role_arn = assume_role.value
    }
  }
}
