# The API of prod, asked from three regions.
terraform {
  required_version = ">= 1.11.0, < 2.0.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}

provider "aws" {
  alias  = "us_east_1"
  region = "us-east-1"
}

module "heartbeat" {
  source    = "../.."
  providers = { aws = aws.us_east_1 }

  name            = "pmp-prod"
  domain_name     = "api.pmp.example.com"
  email_addresses = ["on-call@example.com"]
}
