# The inputs of the registry module that PMP sets, with the same names and types.

variable "architectures" {
  description = "Instruction sets of the function."
  type        = list(string)
  default     = null
}

variable "cloudwatch_logs_kms_key_id" {
  description = "ARN of the key of the log group."
  type        = string
  default     = null
}

variable "cloudwatch_logs_retention_in_days" {
  description = "Days that logs are kept."
  type        = number
  default     = null
}

variable "create_async_event_config" {
  description = "Whether to configure asynchronous invocation."
  type        = bool
  default     = false
}

# tflint-ignore: terraform_unused_declarations # refused by its validation unless false
variable "create_current_version_async_event_config" {
  description = "Whether asynchronous invocation of the current version is configured; stand-in: only false."
  type        = bool
  default     = true

  validation {
    condition     = !var.create_current_version_async_event_config
    error_message = "The stand-in configures the unqualified function only: set create_current_version_async_event_config = false."
  }
}

# tflint-ignore: terraform_unused_declarations # refused by its validation unless false
variable "create_package" {
  description = "Whether to build the package; stand-in: only false."
  type        = bool
  default     = true

  validation {
    condition     = !var.create_package
    error_message = "The stand-in builds nothing: set create_package = false and s3_existing_package."
  }
}

# tflint-ignore: terraform_unused_declarations # refused by its validation unless false
variable "create_role" {
  description = "Whether to create the function's role; stand-in: only false."
  type        = bool
  default     = true

  validation {
    condition     = !var.create_role
    error_message = "The stand-in makes no role: set create_role = false and lambda_role."
  }
}

variable "description" {
  description = "What the function does."
  type        = string
  default     = ""
}

variable "destination_on_failure" {
  description = "ARN of the destination for events that failed permanently."
  type        = string
  default     = null
}

variable "environment_variables" {
  description = "Environment variables of the function."
  type        = map(string)
  default     = {}
}

variable "function_name" {
  description = "Name of the function."
  type        = string
}

variable "handler" {
  description = "Entry point."
  type        = string
}

variable "include_default_tag" {
  description = "Whether resources are tagged with the module's name."
  type        = bool
  default     = true
}

variable "lambda_role" {
  description = "ARN of the function's role."
  type        = string
}

variable "maximum_event_age_in_seconds" {
  description = "Maximum age of an asynchronous event, in seconds."
  type        = number
  default     = null
}

variable "maximum_retry_attempts" {
  description = "Number of retries of a failed asynchronous event."
  type        = number
  default     = null
}

variable "memory_size" {
  description = "Memory in MiB."
  type        = number
  default     = 128
}

variable "recursive_loop" {
  description = "What Lambda does with a function that invokes itself: `Allow` or `Terminate`; null leaves it alone."
  type        = string
  default     = null
}

variable "reserved_concurrent_executions" {
  description = "Concurrent executions reserved for the function, which are also its limit."
  type        = number
  default     = -1
}

variable "runtime" {
  description = "Runtime of the function."
  type        = string
}

variable "s3_existing_package" {
  description = "Where the code is: `bucket`, `key`."
  type        = map(string)
  default     = null
}

variable "timeout" {
  description = "Seconds that one invocation may take."
  type        = number
  default     = 3
}

variable "tracing_mode" {
  description = "X-Ray: `Active` or `PassThrough`."
  type        = string
  default     = null
}

variable "vpc_security_group_ids" {
  description = "Security groups of the function."
  type        = list(string)
  default     = null
}

variable "vpc_subnet_ids" {
  description = "Subnets of the function."
  type        = list(string)
  default     = null
}
