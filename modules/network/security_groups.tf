# All groups are defined here, although other modules use them: they refer to each other, and a reader sees every allowed
# connection at once. Security groups do not apply to Amazon's DNS and time servers.
locals {
  groups = {
    function  = "Lambda function of the API"
    proxy     = "RDS Proxy"
    database  = "PostgreSQL"
    runner    = "GitLab runner of the database migrations"
    endpoints = "Interface endpoints of AWS services"
  }

  # One entry per allowed connection inside the VPC: it becomes an egress rule of `from` and an ingress rule of `to`.
  connections = {
    function_to_proxy     = { from = "function", to = "proxy", port = 5432 }
    proxy_to_database     = { from = "proxy", to = "database", port = 5432 }
    runner_to_database    = { from = "runner", to = "database", port = 5432 }
    function_to_endpoints = { from = "function", to = "endpoints", port = 443 }
    runner_to_endpoints   = { from = "runner", to = "endpoints", port = 443 }
  }

  internet = var.nat == "none" ? {} : merge(
    { "function_to_third_party" = { from = "function", cidr = "0.0.0.0/0" } },
    { for range in var.gitlab_cidr_blocks : "runner_to_gitlab_${range}" => { from = "runner", cidr = range } },
  )
}

resource "aws_security_group" "this" {
  # checkov:skip=CKV2_AWS_5: other modules and the service layer attach them
  for_each = local.groups

  name        = "${var.name}-${each.key}"
  description = each.value
  vpc_id      = module.vpc.vpc_id

  tags = { Name = "${var.name}-${each.key}" }
}

resource "aws_vpc_security_group_egress_rule" "inside" {
  for_each = local.connections

  security_group_id            = aws_security_group.this[each.value.from].id
  description                  = replace(each.key, "_", " ")
  referenced_security_group_id = aws_security_group.this[each.value.to].id
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
}

resource "aws_vpc_security_group_ingress_rule" "inside" {
  for_each = local.connections

  security_group_id            = aws_security_group.this[each.value.to].id
  description                  = replace(each.key, "_", " ")
  referenced_security_group_id = aws_security_group.this[each.value.from].id
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
}

resource "aws_vpc_security_group_egress_rule" "s3" {
  for_each = toset(["function", "runner"])

  security_group_id = aws_security_group.this[each.value].id
  description       = "${each.value} to S3 through its gateway endpoint"
  prefix_list_id    = module.endpoints.endpoints["s3"].prefix_list_id
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "internet" {
  for_each = local.internet

  security_group_id = aws_security_group.this[each.value.from].id
  description       = replace(split("/", each.key)[0], "_", " ")
  cidr_ipv4         = each.value.cidr
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}
