variable "name" {
  description = "Prefix of the environment's resources, such as `pmp-prod`. Databases whose identifiers begin with it are backed up."
  type        = string

  validation {
    condition     = can(regex("^pmp-[a-z0-9]+(-[a-z0-9]+)*$", var.name)) && length(var.name) <= 40
    error_message = "name must be 'pmp-' and then lower-case letters, digits and single hyphens, at most 40 characters."
  }
}

variable "retention_days" {
  description = "Days that a backup and its copy are kept. Erased people stay in them for as long."
  type        = number

  validation {
    condition     = var.retention_days >= 1 && var.retention_days <= 3650 && floor(var.retention_days) == var.retention_days
    error_message = "retention_days must be a whole number from 1 to 3650, not ${var.retention_days}."
  }
}

variable "lock" {
  description = "Vault Lock: `governance` lets only principals with the permission lift it; `compliance` becomes final after three days, for everybody and AWS, and with it the days of retention; `none` has no lock."
  type        = string
  default     = "governance"

  validation {
    condition     = contains(["compliance", "governance", "none"], var.lock)
    error_message = "lock must be governance, compliance or none, not ${var.lock}."
  }
}

variable "copy_region" {
  description = "Region that gets a copy of each backup, which the provider `aws.copies` must be of. Null for a vault in this region only."
  type        = string
  default     = null

  validation {
    condition     = var.copy_region == null ? true : can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.copy_region))
    error_message = "copy_region must be a region such as eu-central-1, not ${coalesce(var.copy_region, "null")}."
  }

  validation {
    condition     = var.copy_region == null ? true : var.copy_region != data.aws_region.this.name
    error_message = "copy_region must be another region than ${data.aws_region.this.name}, where the database is. Take null for a vault beside it."
  }

  validation {
    condition     = var.copy_region == null ? true : var.copy_region == data.aws_region.copies.name
    error_message = "copy_region is ${coalesce(var.copy_region, "null")}, but the provider aws.copies works in ${data.aws_region.copies.name}: all environments of an account copy to one region."
  }
}
