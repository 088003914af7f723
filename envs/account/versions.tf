terraform {
  required_version = ">= 1.11.0, < 2.0.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
    # Reads the environments' variable files. It is part of Terraform.
    terraform = {
      source = "terraform.io/builtin/terraform"
    }
  }

  # Settings: backend.hcl, and bucket, key and region from the job (they differ by account).
  backend "s3" {}
}

provider "aws" {
  s3_use_path_style = var.platform != null ? var.platform.s3_use_path_style : false

  default_tags {
    tags = { Project = "pmp", Layer = "account" }
  }
}

# Where copies of backups go; the account's own region where there are none.
provider "aws" {
  alias             = "copies"
  region            = try(local.copy_regions[0], null)
  s3_use_path_style = var.platform != null ? var.platform.s3_use_path_style : false

  default_tags {
    tags = { Project = "pmp", Layer = "account" }
  }
}
