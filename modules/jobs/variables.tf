variable "name" {
  description = "Prefix of the bucket's and the queues' names, such as `pmp-dev`."
  type        = string

  validation {
    condition     = can(regex("^pmp-[a-z]+$", var.name))
    error_message = "name must be pmp-<environment>: the delivery identity may make nothing else."
  }
}

variable "retention_days" {
  description = "Days that uploads, rejected lines and exports are kept: they hold personal data."
  type        = number
  default     = 30

  validation {
    condition     = var.retention_days >= 1 && var.retention_days <= 365
    error_message = "retention_days must lie between 1 and 365: these objects hold personal data."
  }
}

variable "enable_force_destroy" {
  description = "Whether the bucket may be deleted with objects in it."
  type        = bool
  default     = false
}

variable "timeout_seconds" {
  description = "Seconds that one invocation of the function may take: the queues hide a message six times as long."
  type        = number

  validation {
    condition     = var.timeout_seconds >= 1 && var.timeout_seconds <= 900
    error_message = "timeout_seconds must lie between 1 and AWS Lambda's 900."
  }
}

variable "kms_key_arn" {
  description = "Key of the bucket."
  type        = string
}
