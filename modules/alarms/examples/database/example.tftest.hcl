mock_provider "aws" {}

variables {
  topic_arn_by_severity = {
    critical = "arn:aws:sns:eu-west-1:123456789012:pmp-dev-critical"
    warning  = "arn:aws:sns:eu-west-1:123456789012:pmp-dev-warning"
  }
}

run "example_applies" {}
