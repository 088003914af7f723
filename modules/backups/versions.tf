terraform {
  required_version = ">= 1.11.0, < 2.0.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
      # `aws.copies` is the region of the copies; the same as `aws` where there are none.
      configuration_aliases = [aws.copies]
    }
  }
}
