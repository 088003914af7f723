data "aws_caller_identity" "this" {}

data "aws_region" "this" {}

data "aws_availability_zones" "this" {
  # checkov:skip=CKV_AWS_394: the first zones by name are taken, so that a new one changes nothing
  state = "available"

  # Local and Wavelength zones have to be opted into, and RDS is not in all of them.
  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }

  # These compute with subnet_cidrs, which a variable's own validation cannot.
  lifecycle {
    precondition {
      condition     = length(local.overlapping) == 0
      error_message = "subnet_cidrs overlap: ${join(", ", local.overlapping)}. Give each subnet a range of its own."
    }

    precondition {
      condition     = length(local.outside) == 0
      error_message = "subnet_cidrs must lie within cidr ${var.cidr}; outside of it: ${join(", ", local.outside)}."
    }

    postcondition {
      condition     = length(self.names) >= length(var.subnet_cidrs.private)
      error_message = "subnet_cidrs span ${length(var.subnet_cidrs.private)} zones, but this region offers ${length(self.names)}: give each kind ${length(self.names)} ranges."
    }
  }
}

locals {
  account_id = data.aws_caller_identity.this.account_id
  zones      = slice(data.aws_availability_zones.this.names, 0, length(var.subnet_cidrs.private))

  # First address and size of each range as numbers, the VPC's own included: what overlap is computed from.
  ranges = {
    for range in distinct(concat([var.cidr], flatten(values(var.subnet_cidrs)))) : range => {
      first = sum([for index, octet in split(".", cidrhost(range, 0)) : tonumber(octet) * pow(256, 3 - index)])
      size  = pow(2, 32 - tonumber(split("/", range)[1]))
    }
  }
  subnets = flatten([for kind in ["private", "database", "public"] : [
    for index, range in var.subnet_cidrs[kind] : merge(local.ranges[range], { label = "${kind}[${index}] ${range}" })
  ]])
  overlapping = flatten([for index, one in local.subnets : [
    for other in slice(local.subnets, index + 1, length(local.subnets)) : "${one.label} and ${other.label}"
    if one.first < other.first + other.size && other.first < one.first + one.size
  ]])
  outside = [
    for subnet in local.subnets : subnet.label
    if subnet.first < local.ranges[var.cidr].first || subnet.first + subnet.size > local.ranges[var.cidr].first + local.ranges[var.cidr].size
  ]
}

module "vpc" {
  #checkov:skip=CKV_TF_1:a registry module, pinned by its exact version
  source  = "terraform-aws-modules/vpc/aws"
  version = "5.21.0"

  name = var.name
  cidr = var.cidr
  azs  = local.zones

  private_subnets  = var.subnet_cidrs.private
  database_subnets = var.subnet_cidrs.database
  public_subnets   = var.subnet_cidrs.public

  enable_nat_gateway     = var.nat != "none"
  single_nat_gateway     = var.nat == "single"
  one_nat_gateway_per_az = var.nat == "per_zone"

  # A table of its own, without a route out: the database neither reaches the internet nor is reached.
  create_database_subnet_group       = true
  create_database_subnet_route_table = true

  # The VPC's default group, network ACL and route table stay as AWS makes them: nothing of PMP uses the group or the table.
  # To empty the group, Terraform would have to tag a group that it did not make, and an identity that may do so could take
  # over any group of the account.
  manage_default_network_acl    = false
  manage_default_route_table    = false
  manage_default_security_group = false

  enable_flow_log                                 = true
  create_flow_log_cloudwatch_log_group            = true
  flow_log_cloudwatch_iam_role_arn                = aws_iam_role.flow_log.arn
  flow_log_cloudwatch_log_group_name_prefix       = "/pmp/${var.name}/"
  flow_log_cloudwatch_log_group_name_suffix       = "flow-log"
  flow_log_cloudwatch_log_group_kms_key_id        = var.kms_key_arn
  flow_log_cloudwatch_log_group_retention_in_days = var.flow_log_retention_days
  flow_log_max_aggregation_interval               = 60
}

# The module can make this role, but under no path, and the delivery identity may make roles under /pmp/ only.
resource "aws_iam_role" "flow_log" {
  name                 = "${var.name}-flow-log"
  path                 = "/pmp/"
  description          = "Lets the VPC's flow log write to its log group"
  permissions_boundary = var.permissions_boundary_arn

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "vpc-flow-logs.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = local.account_id } }
    }]
  })
}

# All five are what AWS asks for at least; without them the flow log reads ACTIVE and delivers nothing.
# https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-iam-role.html
resource "aws_iam_role_policy" "flow_log" {
  name = "write-flow-log"
  role = aws_iam_role.flow_log.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "WriteFlowLog"
        Effect = "Allow"
        Action = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
        Resource = [
          "arn:aws:logs:${data.aws_region.this.name}:${local.account_id}:log-group:/pmp/${var.name}/flow-log",
          "arn:aws:logs:${data.aws_region.this.name}:${local.account_id}:log-group:/pmp/${var.name}/flow-log:*",
        ]
      },
      {
        # Looks through all groups of the account for its own.
        Sid      = "FindLogGroups"
        Effect   = "Allow"
        Action   = ["logs:DescribeLogGroups"]
        Resource = "arn:aws:logs:${data.aws_region.this.name}:${local.account_id}:log-group:*"
      },
    ]
  })
}
