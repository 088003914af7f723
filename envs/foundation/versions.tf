terraform {
  required_version = ">= 1.11.0, < 2.0.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }

  # Completed by backend.hcl and by what the bootstrap made (bucket, key, region).
  backend "s3" {}
}

# Region and credentials come from the standard AWS_* variables.
provider "aws" {
  s3_use_path_style = try(var.platform.s3_use_path_style, false)

  default_tags {
    tags = {
      Project     = "pmp"
      Environment = var.environment
      Layer       = "foundation"
    }
  }
}
