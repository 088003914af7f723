# The inputs of the registry module that PMP sets, with the same names and types.

variable "architectures" {
  description = "Instruction sets of the function."
  type        = list(string)
  default     = null
}

variable "artifacts_dir" {
  description = "Folder for the package."
  type        = string
  default     = "builds"
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

variable "create_package" {
  description = "Whether to build the package, from `source_path`."
  type        = bool
  default     = true

  validation {
    condition     = !var.create_package || (length(coalesce(var.source_path, [])) == 1 && var.store_on_s3)
    error_message = "The stand-in packages one source_path with commands, and stores it on S3: set both, or create_package = false."
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

variable "hash_extra" {
  description = "Text that enters the package's name, because a change of it changes the package."
  type        = string
  default     = ""
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

variable "memory_size" {
  description = "Memory in MiB."
  type        = number
  default     = 128
}

variable "publish" {
  description = "Whether each change of the function becomes a version."
  type        = bool
  default     = false
}

# tflint-ignore: terraform_unused_declarations # refused by its validation unless false
variable "recreate_missing_package" {
  description = "Whether to build a package again that is not on this disk; stand-in: only false."
  type        = bool
  default     = true

  validation {
    condition     = !var.recreate_missing_package
    error_message = "The stand-in builds a package only when its name changes: set recreate_missing_package = false."
  }
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

variable "s3_acl" {
  description = "Canned ACL of the package's object."
  type        = string
  default     = "private"
}

variable "s3_bucket" {
  description = "Bucket for the package."
  type        = string
  default     = null
}

variable "s3_existing_package" {
  description = "Where the code is: `bucket`, `key`."
  type        = map(string)
  default     = null
}

variable "s3_object_storage_class" {
  description = "Storage class of the package's object."
  type        = string
  default     = "ONEZONE_IA"
}

variable "s3_prefix" {
  description = "Start of the key of the package's object."
  type        = string
  default     = null
}

variable "source_path" {
  description = "What to package: `path` is the working folder, `commands` are shell lines and `:zip <folder>`, and `patterns` are regular expressions of what is left out, each after `!`."
  type = list(object({
    path     = string
    commands = list(string)
    patterns = optional(list(string), [])
  }))
  default = null
}

variable "store_on_s3" {
  description = "Whether the package goes to S3."
  type        = bool
  default     = false
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

# tflint-ignore: terraform_unused_declarations # refused by its validation unless false
variable "trigger_on_package_timestamp" {
  description = "Whether the package's time counts as a change of it; stand-in: only false."
  type        = bool
  default     = true

  validation {
    condition     = !var.trigger_on_package_timestamp
    error_message = "The stand-in builds a package only when its name changes: set trigger_on_package_timestamp = false."
  }
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
