mock_provider "aws" {
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/pmp/x" }
  }
  mock_resource "aws_secretsmanager_secret" {
    defaults = { arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:x" }
  }
  mock_resource "aws_db_proxy_default_target_group" {
    defaults = { name = "default" }
  }
  mock_resource "aws_db_proxy" {
    defaults = { arn = "arn:aws:rds:eu-west-1:123456789012:db-proxy:prx-0123456789abcdef0", endpoint = "proxy.example" }
  }
}

run "example_applies" {
  assert {
    condition     = output.proxy_host == "proxy.example"
    error_message = "the function connects to the proxy, not to ${output.proxy_host}"
  }
}
