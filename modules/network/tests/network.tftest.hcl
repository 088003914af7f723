mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }
  mock_data "aws_availability_zones" {
    defaults = { names = ["eu-west-1a", "eu-west-1b", "eu-west-1c"] }
  }
  mock_data "aws_vpc_endpoint_service" {
    defaults = { service_name = "com.amazonaws.eu-west-1.x" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/pmp/x" }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-west-1:123456789012:log-group:x" }
  }
}

variables {
  name = "pmp-dev"
  cidr = "10.20.0.0/16"
  subnet_cidrs = {
    private  = ["10.20.0.0/20", "10.20.16.0/20"]
    database = ["10.20.56.0/24", "10.20.57.0/24"]
    public   = ["10.20.60.0/24", "10.20.61.0/24"]
  }
  nat                      = "single"
  interface_endpoints      = ["sqs", "ssm"]
  bucket_names             = ["pmp-dev-imports"]
  kms_key_arn              = "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000"
  permissions_boundary_arn = "arn:aws:iam::123456789012:policy/pmp/pmp-dev-boundary"
}

run "security_groups_allow_only_the_listed_connections" {
  assert {
    condition = { for key, rule in aws_vpc_security_group_egress_rule.inside : key => rule.from_port } == {
      function_to_proxy     = 5432
      proxy_to_database     = 5432
      runner_to_database    = 5432
      function_to_endpoints = 443
      runner_to_endpoints   = 443
    }
    error_message = "the connections are ${jsonencode(keys(aws_vpc_security_group_egress_rule.inside))}"
  }

  assert {
    condition = alltrue([
      for key, rule in aws_vpc_security_group_ingress_rule.inside :
      rule.security_group_id == aws_vpc_security_group_egress_rule.inside[key].referenced_security_group_id
    ])
    error_message = "each egress rule must have an ingress rule on the other side"
  }

  assert {
    condition     = alltrue([for rule in aws_vpc_security_group_ingress_rule.inside : rule.cidr_ipv4 == null])
    error_message = "no group may allow ingress from an address range"
  }

  assert {
    condition     = toset(keys(aws_vpc_security_group_egress_rule.internet)) == toset(["function_to_third_party", "runner_to_gitlab_0.0.0.0/0"])
    error_message = "only the function and the runner may reach the internet"
  }

  assert {
    condition     = alltrue([for rule in aws_vpc_security_group_egress_rule.internet : rule.from_port == 443 && rule.to_port == 443])
    error_message = "the internet may be reached on port 443 only"
  }
}

run "endpoint_policies_allow_only_this_account_and_its_buckets" {
  assert {
    condition = jsondecode(local.gateway_endpoints.s3.policy).Statement[0] == {
      Sid       = "OwnBuckets"
      Effect    = "Allow"
      Principal = "*"
      Action    = "s3:*"
      Resource  = ["arn:aws:s3:::pmp-dev-imports", "arn:aws:s3:::pmp-dev-imports/*"]
      Condition = { StringEquals = { "aws:PrincipalAccount" = "123456789012" } }
    }
    error_message = "the S3 endpoint allows ${local.gateway_endpoints.s3.policy}"
  }

  assert {
    condition = alltrue([
      for endpoint in values(local.interface_endpoints) :
      jsondecode(endpoint.policy).Statement[0].Condition.StringEquals["aws:PrincipalAccount"] == "123456789012"
    ])
    error_message = "every interface endpoint must require principals of this account"
  }

  assert {
    condition     = jsondecode(local.interface_endpoints["sqs"].policy).Statement[0].Condition.StringEquals["aws:ResourceAccount"] == "123456789012"
    error_message = "the Lambda endpoint must require functions of this account"
  }
}

# https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-iam-role.html: "must include at least"
run "flow_log_role_has_every_required_action" {
  assert {
    condition = toset(flatten([for statement in jsondecode(aws_iam_role_policy.flow_log.policy).Statement : statement.Action])) == toset([
      "logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogGroups", "logs:DescribeLogStreams", "logs:PutLogEvents",
    ])
    error_message = "the flow log's role has ${aws_iam_role_policy.flow_log.policy}"
  }
}

run "security_group_descriptions_are_valid_for_ec2" {
  assert {
    condition = alltrue([
      for text in concat(
        [for group in aws_security_group.this : group.description],
        [for rule in aws_vpc_security_group_egress_rule.inside : rule.description],
        [for rule in aws_vpc_security_group_egress_rule.s3 : rule.description],
        [for rule in aws_vpc_security_group_egress_rule.internet : rule.description],
      ) : can(regex("^[-a-zA-Z0-9 ._:/()#,@+=;{}!$*\\[\\]]{1,255}$", text))
    ])
    error_message = "EC2 refuses a description with characters other than a-z, A-Z, 0-9, spaces and ._-:/()#,@[]+=;{}!$*"
  }
}

run "dns_firewall_trusts_redirections" {
  variables {
    dns_allow_list = ["gitlab.com"]
  }

  assert {
    condition     = alltrue([for key, rule in aws_route53_resolver_firewall_rule.this : rule.firewall_domain_redirection_action == (key == "allow" ? "TRUST_REDIRECTION_DOMAIN" : null)])
    error_message = "an allowed domain must resolve even if it redirects to the domain of a CDN"
  }
}

run "flow_log_role_has_the_path_and_the_boundary" {
  assert {
    condition     = aws_iam_role.flow_log.path == "/pmp/" && aws_iam_role.flow_log.permissions_boundary == var.permissions_boundary_arn
    error_message = "the role is ${aws_iam_role.flow_log.path} with ${aws_iam_role.flow_log.permissions_boundary}"
  }
}

run "without_nat_nothing_reaches_the_internet" {
  variables {
    nat = "none"
  }

  assert {
    condition     = length(aws_vpc_security_group_egress_rule.internet) == 0 && length(output.nat_public_ips) == 0
    error_message = "there is a route to the internet: ${jsonencode(keys(aws_vpc_security_group_egress_rule.internet))}"
  }
}

run "nat_per_zone_creates_a_gateway_in_each_zone" {
  variables {
    nat = "per_zone"
  }

  assert {
    condition     = length(output.nat_public_ips) == 2
    error_message = "two zones have ${length(output.nat_public_ips)} gateways"
  }
}

run "dns_firewall_blocks_unlisted_domains" {
  variables {
    dns_allow_list = ["gitlab.com", "*.consensu.org."]
  }

  assert {
    condition     = aws_route53_resolver_firewall_domain_list.this["allow"].domains == toset(["*.amazonaws.com.", "gitlab.com.", "*.consensu.org."])
    error_message = "the allowed domains are ${jsonencode(aws_route53_resolver_firewall_domain_list.this["allow"].domains)}"
  }

  assert {
    condition     = aws_route53_resolver_firewall_rule.this["block"].action == "BLOCK" && aws_route53_resolver_firewall_rule.this["block"].priority > aws_route53_resolver_firewall_rule.this["allow"].priority
    error_message = "the other domains must be blocked, after the allow list"
  }

  assert {
    condition     = aws_route53_resolver_firewall_config.this[0].firewall_fail_open == "DISABLED"
    error_message = "a failing firewall must resolve nothing"
  }
}

run "dns_firewall_is_off_by_default" {
  assert {
    condition     = length(aws_route53_resolver_firewall_rule.this) == 0
    error_message = "an empty list must not block every name"
  }
}

run "overlapping_subnets_are_refused" {
  command = plan

  variables {
    subnet_cidrs = {
      private  = ["10.20.0.0/20", "10.20.16.0/20"]
      database = ["10.20.8.0/24", "10.20.57.0/24"]
      public   = ["10.20.60.0/24", "10.20.61.0/24"]
    }
  }

  expect_failures = [data.aws_availability_zones.this]
}

run "subnet_outside_the_vpc_is_refused" {
  command = plan

  variables {
    subnet_cidrs = {
      private  = ["10.20.0.0/20", "10.20.16.0/20"]
      database = ["10.20.56.0/24", "10.21.57.0/24"]
      public   = ["10.20.60.0/24", "10.20.61.0/24"]
    }
  }

  expect_failures = [data.aws_availability_zones.this]
}

run "region_with_too_few_zones_is_refused" {
  command = plan

  override_data {
    target = data.aws_availability_zones.this
    values = { names = ["eu-west-1a"] }
  }

  expect_failures = [data.aws_availability_zones.this]
}

run "subnets_in_one_zone_are_refused" {
  command = plan

  variables {
    subnet_cidrs = { private = ["10.20.0.0/20"], database = ["10.20.56.0/24"], public = ["10.20.60.0/24"] }
  }

  expect_failures = [var.subnet_cidrs]
}

run "subnet_kinds_of_different_length_are_refused" {
  command = plan

  variables {
    subnet_cidrs = {
      private  = ["10.20.0.0/20", "10.20.16.0/20"]
      database = ["10.20.56.0/24"]
      public   = ["10.20.60.0/24", "10.20.61.0/24"]
    }
  }

  expect_failures = [var.subnet_cidrs]
}

run "invalid_subnet_range_is_refused" {
  command = plan

  variables {
    subnet_cidrs = {
      private  = ["10.20.0.0/20", "10.20.16.0/20"]
      database = ["10.20.56.0/24", "10.20.57.0/29"]
      public   = ["10.20.60.0/24", "10.20.61.0/24"]
    }
  }

  expect_failures = [var.subnet_cidrs]
}

run "invalid_vpc_range_is_refused" {
  command = plan

  variables {
    cidr = "10.20.0.0/8"
  }

  expect_failures = [var.cidr]
}

run "unknown_nat_mode_is_refused" {
  command = plan

  variables {
    nat = "double"
  }

  expect_failures = [var.nat]
}

run "unused_interface_endpoint_is_refused" {
  command = plan

  variables {
    interface_endpoints = ["sqs", "bedrock"]
  }

  expect_failures = [var.interface_endpoints]
}

run "missing_route_to_lambda_is_refused" {
  command = plan

  variables {
    nat                 = "none"
    interface_endpoints = []
  }

  expect_failures = [var.interface_endpoints]
}

run "empty_bucket_list_is_refused" {
  command = plan

  variables {
    bucket_names = []
  }

  expect_failures = [var.bucket_names]
}

run "gitlab_by_name_instead_of_range_is_refused" {
  command = plan

  variables {
    gitlab_cidr_blocks = ["gitlab.com"]
  }

  expect_failures = [var.gitlab_cidr_blocks]
}

run "url_in_the_dns_allow_list_is_refused" {
  command = plan

  variables {
    dns_allow_list = ["https://gitlab.com"]
  }

  expect_failures = [var.dns_allow_list]
}

run "log_retention_unknown_to_cloudwatch_is_refused" {
  command = plan

  variables {
    flow_log_retention_days = 100
  }

  expect_failures = [var.flow_log_retention_days]
}

run "invalid_name_is_refused" {
  command = plan

  variables {
    name = "PMP dev"
  }

  expect_failures = [var.name]
}
