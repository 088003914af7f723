variable "name" {
  description = "Prefix of the names, such as `pmp-dev`."
  type        = string

  validation {
    condition     = can(regex("^pmp-[a-z0-9]+(-[a-z0-9]+)*$", var.name)) && length(var.name) <= 40
    error_message = "name must be 'pmp-' and then lower-case letters, digits and single hyphens, at most 40 characters."
  }
}

variable "environment" {
  description = "Environment whose migrations it runs: part of the runner's tags, and of its token's name."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,20}$", var.environment))
    error_message = "environment must be 2 to 21 lower-case letters, digits and hyphens."
  }
}

variable "gitlab_url" {
  description = "Address of GitLab."
  type        = string
  default     = "https://gitlab.com"

  validation {
    condition     = can(regex("^https://[A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._/-]*)?$", var.gitlab_url))
    error_message = "gitlab_url must be an https address such as https://gitlab.com."
  }
}

variable "instance_type" {
  description = "Type of the instance, of a family with arm64 processors."
  type        = string
  default     = "t4g.small"

  validation {
    condition     = can(regex("^(t4g|[cmr][6-8]gd?)[.](small|medium|[0-9]*x?large)$", var.instance_type))
    error_message = "instance_type must be an arm64 type of at least 2 GiB, such as t4g.small or m7g.large."
  }
}

variable "packages" {
  description = "Names of the Debian packages that the migration job needs."
  type        = list(string)

  validation {
    condition     = length(var.packages) > 0 && alltrue([for name in var.packages : can(regex("^[a-z0-9][a-z0-9.+-]+$", name))])
    error_message = "packages must be names of Debian packages such as postgresql-client, at least one."
  }
}

variable "downloads" {
  description = "Versions and SHA-256 of what the setup downloads and nobody signs for Debian: Session Manager's agent, and RDS's certificates of the region. Without it, AWS's TLS certificate alone is trusted, and the newest version is taken."
  type = object({
    ssm_agent_version      = string
    ssm_agent_sha256       = string
    rds_authorities_sha256 = string
  })
  default = null

  validation {
    condition = var.downloads == null || (
      can(regex("^[0-9]+([.][0-9]+){3}$", try(var.downloads.ssm_agent_version, ""))) &&
      alltrue([
        for digest in [try(var.downloads.ssm_agent_sha256, ""), try(var.downloads.rds_authorities_sha256, "")] :
        can(regex("^[0-9a-f]{64}$", digest))
      ])
    )
    error_message = "downloads must hold a version of four numbers such as 3.3.987.0, and two SHA-256 of 64 hexadecimal digits; modules/runner/README.md has the commands."
  }
}

variable "subnet_ids" {
  description = "Ids of the private subnets."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 1
    error_message = "subnet_ids must name at least one subnet."
  }
}

variable "security_group_id" {
  description = "Id of the runner's security group: no ingress; egress to the endpoints, the database and GitLab (`modules/network`)."
  type        = string
}

variable "kms_key_arn" {
  description = "ARN of the KMS key of the disk and of the runner's token."
  type        = string
}

variable "permissions_boundary_arn" {
  description = "ARN of the permissions boundary of the role made here."
  type        = string
}
