variable "name" {
  description = "Name of the VPC, and prefix of the names of its resources."
  type        = string
  default     = ""
}

variable "cidr" {
  description = "IPv4 range of the VPC."
  type        = string
  default     = "10.0.0.0/16"
}

variable "azs" {
  description = "Availability zones, in the order of the subnets."
  type        = list(string)
  default     = []
}

variable "private_subnets" {
  description = "IPv4 ranges of the private subnets, one per zone."
  type        = list(string)
  default     = []
}

variable "public_subnets" {
  description = "IPv4 ranges of the public subnets, one per zone."
  type        = list(string)
  default     = []
}

variable "database_subnets" {
  description = "IPv4 ranges of the database subnets, one per zone."
  type        = list(string)
  default     = []
}

variable "create_database_subnet_group" {
  description = "Whether the database subnets form a DB subnet group."
  type        = bool
  default     = true
}

variable "create_database_subnet_route_table" {
  description = "Whether the database subnets have a separate route table without any route out."
  type        = bool
  default     = false
}

variable "enable_nat_gateway" {
  description = "Whether the private subnets reach the internet through NAT gateways."
  type        = bool
  default     = false
}

variable "single_nat_gateway" {
  description = "Whether one NAT gateway serves all zones."
  type        = bool
  default     = false
}

variable "one_nat_gateway_per_az" {
  description = "Whether each zone has a NAT gateway."
  type        = bool
  default     = false
}

# Only its validation uses it.
# tflint-ignore: terraform_unused_declarations
variable "manage_default_network_acl" {
  description = "Only `false` is implemented here."
  type        = bool
  default     = true

  validation {
    condition     = !var.manage_default_network_acl
    error_message = "This stand-in does not manage the default network ACL: set manage_default_network_acl = false."
  }
}

# Only its validation uses it.
# tflint-ignore: terraform_unused_declarations
variable "manage_default_security_group" {
  description = "Only `false` is implemented here."
  type        = bool
  default     = true

  validation {
    condition     = !var.manage_default_security_group
    error_message = "This stand-in does not manage the default security group: set manage_default_security_group = false."
  }
}

# Its validation is its use.
# tflint-ignore: terraform_unused_declarations
variable "manage_default_route_table" {
  description = "Only `false` is implemented here."
  type        = bool
  default     = true

  validation {
    condition     = !var.manage_default_route_table
    error_message = "This stand-in does not manage the default route table: set manage_default_route_table = false."
  }
}

variable "enable_flow_log" {
  description = "Whether the VPC's traffic is logged."
  type        = bool
  default     = false
}

variable "create_flow_log_cloudwatch_log_group" {
  description = "Whether this module creates the log group of the flow log."
  type        = bool
  default     = false
}

variable "flow_log_cloudwatch_iam_role_arn" {
  description = "Role with which the flow log writes to its log group."
  type        = string
  default     = ""
}

variable "flow_log_cloudwatch_log_group_name_prefix" {
  description = "Prefix of the log group's name."
  type        = string
  default     = "/aws/vpc-flow-log/"
}

variable "flow_log_cloudwatch_log_group_name_suffix" {
  description = "Suffix of the log group's name; empty uses the VPC's id."
  type        = string
  default     = ""
}

variable "flow_log_cloudwatch_log_group_kms_key_id" {
  description = "ARN of the log group's KMS key."
  type        = string
  default     = null
}

variable "flow_log_cloudwatch_log_group_retention_in_days" {
  description = "Retention of the log group, in days."
  type        = number
  default     = null
}

variable "flow_log_max_aggregation_interval" {
  description = "Interval of traffic that one line summarizes, in seconds: 60 or 600."
  type        = number
  default     = 600
}
