variable "name" {
  description = "Name of the VPC, and prefix of the names of what is in it, such as `pmp-dev`."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.name))
    error_message = "name must be 3 to 32 lower-case letters, digits and hyphens, beginning with a letter."
  }
}

variable "cidr" {
  description = "IPv4 range of the VPC, a /16 to /24."
  type        = string

  validation {
    condition     = can(cidrhost(var.cidr, 0)) && can(regex("/(1[6-9]|2[0-4])$", var.cidr))
    error_message = "cidr must be an IPv4 range from /16 to /24, such as 10.20.0.0/16."
  }
}

variable "subnet_cidrs" {
  description = "IPv4 ranges of the subnets by kind; in each list the first is in the first zone, and so on."
  type = object({
    private  = list(string)
    database = list(string)
    public   = list(string)
  })

  validation {
    condition     = length(var.subnet_cidrs.private) >= 2 && length(var.subnet_cidrs.private) <= 3
    error_message = "subnet_cidrs must span two or three zones: RDS and its proxy take no fewer than two. Give each kind two or three ranges."
  }

  validation {
    condition     = length(distinct([for ranges in values(var.subnet_cidrs) : length(ranges)])) == 1
    error_message = "subnet_cidrs must give private, database and public the same number of ranges, one per zone."
  }

  validation {
    condition     = alltrue([for range in flatten(values(var.subnet_cidrs)) : can(cidrhost(range, 0)) && can(regex("/(1[6-9]|2[0-8])$", range))])
    error_message = "subnet_cidrs must be IPv4 ranges from /16 to /28."
  }
}

variable "nat" {
  description = "NAT gateways by which the private subnets reach the internet: `none`, `single` (one zone's outage cuts all off) or `per_zone`."
  type        = string

  validation {
    condition     = contains(["none", "single", "per_zone"], var.nat)
    error_message = "nat must be none, single or per_zone."
  }
}

variable "interface_endpoints" {
  description = "AWS services that the private subnets reach by interface endpoints. What is not listed goes through NAT."
  type        = set(string)
  default     = []

  validation {
    condition     = length(setsubtract(var.interface_endpoints, ["secretsmanager", "sqs", "ssm", "ssmmessages"])) == 0
    error_message = "interface_endpoints may hold secretsmanager, sqs, ssm and ssmmessages: PMP calls no other service from its subnets."
  }

  validation {
    condition     = var.nat != "none" || contains(var.interface_endpoints, "sqs")
    error_message = "interface_endpoints must hold sqs where nat is none: the function sends its exports and long imports to the jobs queue."
  }
}

variable "bucket_names" {
  description = "Buckets that may be reached through the S3 endpoint."
  type        = list(string)

  validation {
    condition     = length(var.bucket_names) > 0
    error_message = "bucket_names must name at least one bucket: an S3 endpoint that allows none is useless."
  }
}

variable "gitlab_cidr_blocks" {
  description = "IPv4 ranges that the runner reaches on port 443: GitLab and what jobs download. GitLab.com has no fixed ones."
  type        = list(string)
  default     = ["0.0.0.0/0"]

  validation {
    condition     = alltrue([for range in var.gitlab_cidr_blocks : can(cidrhost(range, 0))])
    error_message = "gitlab_cidr_blocks must be IPv4 ranges, such as 203.0.113.0/24."
  }
}

variable "dns_allow_list" {
  description = "Domains that may be resolved in the VPC besides AWS's own (DNS Firewall); an empty list turns the firewall off."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for domain in var.dns_allow_list : can(regex("^([*][.])?([a-z0-9_-]+[.])+[a-z]{2,}[.]?$", domain))])
    error_message = "dns_allow_list must hold domains such as gitlab.com or *.consensu.org."
  }
}

variable "flow_log_retention_days" {
  description = "Days that the VPC's flow log is kept."
  type        = number
  default     = 365

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.flow_log_retention_days)
    error_message = "flow_log_retention_days must be a retention that CloudWatch Logs knows: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, …"
  }
}

variable "kms_key_arn" {
  description = "ARN of the KMS key of the flow log's log group."
  type        = string
}

variable "permissions_boundary_arn" {
  description = "ARN of the permissions boundary of the roles made here."
  type        = string
}
