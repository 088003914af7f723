variable "identifier" {
  description = "Identifier of the instance."
  type        = string
}

variable "engine" {
  description = "Database engine."
  type        = string
  default     = null
}

variable "engine_version" {
  description = "Version of the engine, major or full."
  type        = string
  default     = null
}

variable "family" {
  description = "Family of the parameter group, such as `postgres16`."
  type        = string
  default     = null
}

variable "instance_class" {
  description = "Class of the instance."
  type        = string
  default     = null
}

variable "allocated_storage" {
  description = "Initial storage, in GiB."
  type        = number
  default     = null
}

variable "max_allocated_storage" {
  description = "Maximum storage for automatic growth, in GiB."
  type        = number
  default     = 0
}

variable "storage_type" {
  description = "Kind of storage, such as `gp3`."
  type        = string
  default     = null
}

variable "iops" {
  description = "Provisioned operations per second; null for the storage's baseline."
  type        = number
  default     = null
}

variable "storage_throughput" {
  description = "Provisioned throughput in MiB/s; null for the storage's baseline."
  type        = number
  default     = null
}

variable "storage_encrypted" {
  description = "Whether storage is encrypted."
  type        = bool
  default     = true
}

variable "kms_key_id" {
  description = "ARN of the storage's KMS key."
  type        = string
  default     = null
}

variable "db_name" {
  description = "Database that is created with the instance."
  type        = string
  default     = null
}

variable "username" {
  description = "Name of the master user."
  type        = string
  default     = null
}

variable "port" {
  description = "Port."
  type        = string
  default     = null
}

variable "manage_master_user_password" {
  description = "Whether RDS creates the master user's password and keeps it in Secrets Manager."
  type        = bool
  default     = true
}

variable "master_user_secret_kms_key_id" {
  description = "ARN of the KMS key of the master user's secret."
  type        = string
  default     = null
}

variable "multi_az" {
  description = "Whether a standby runs in a second zone."
  type        = bool
  default     = false
}

variable "db_subnet_group_name" {
  description = "Name of the DB subnet group."
  type        = string
  default     = null
}

variable "vpc_security_group_ids" {
  description = "Security groups of the instance."
  type        = list(string)
  default     = []
}

variable "iam_database_authentication_enabled" {
  description = "Whether database roles may log in with IAM."
  type        = bool
  default     = false
}

variable "ca_cert_identifier" {
  description = "Certificate authority of the server's certificate."
  type        = string
  default     = null
}

variable "performance_insights_enabled" {
  description = "Whether Performance Insights is enabled."
  type        = bool
  default     = false
}

variable "performance_insights_kms_key_id" {
  description = "ARN of the KMS key of Performance Insights."
  type        = string
  default     = null
}

variable "performance_insights_retention_period" {
  description = "Retention of Performance Insights, in days."
  type        = number
  default     = 7
}

variable "database_insights_mode" {
  description = "Mode of Database Insights: `standard` or `advanced`."
  type        = string
  default     = null
}

variable "monitoring_interval" {
  description = "Seconds between two samples of Enhanced Monitoring; 0 turns it off."
  type        = number
  default     = 0
}

variable "monitoring_role_arn" {
  description = "Role with which Enhanced Monitoring writes its samples."
  type        = string
  default     = null
}

variable "backup_retention_period" {
  description = "Retention of automated backups, in days."
  type        = number
  default     = null
}

variable "backup_window" {
  description = "Daily window of backups, in UTC."
  type        = string
  default     = null
}

variable "maintenance_window" {
  description = "Weekly window of maintenance, in UTC."
  type        = string
  default     = null
}

variable "copy_tags_to_snapshot" {
  description = "Whether snapshots get the instance's tags."
  type        = bool
  default     = false
}

variable "delete_automated_backups" {
  description = "Whether automated backups are deleted with the instance."
  type        = bool
  default     = true
}

variable "deletion_protection" {
  description = "Whether the instance refuses to be deleted."
  type        = bool
  default     = false
}

variable "skip_final_snapshot" {
  description = "Whether deletion skips the final snapshot."
  type        = bool
  default     = false
}

variable "final_snapshot_identifier_prefix" {
  description = "Prefix of the final snapshot's name."
  type        = string
  default     = "final"
}

variable "snapshot_identifier" {
  description = "Snapshot that the instance is made from; null makes an empty one."
  type        = string
  default     = null
}

variable "restore_to_point_in_time" {
  description = "Instant and source that the instance is made from, as in `aws_db_instance`; null makes an empty one."
  type        = map(string)
  default     = null
}

variable "apply_immediately" {
  description = "Whether changes are applied immediately instead of in the maintenance window."
  type        = bool
  default     = false
}

variable "auto_minor_version_upgrade" {
  description = "Whether minor versions are installed in the maintenance window."
  type        = bool
  default     = true
}

variable "allow_major_version_upgrade" {
  description = "Whether an upgrade to a new major version is allowed."
  type        = bool
  default     = false
}

variable "enabled_cloudwatch_logs_exports" {
  description = "Logs that go to CloudWatch."
  type        = list(string)
  default     = []
}

variable "create_cloudwatch_log_group" {
  description = "Whether this module creates the log groups."
  type        = bool
  default     = false
}

variable "cloudwatch_log_group_retention_in_days" {
  description = "Retention of the log groups, in days."
  type        = number
  default     = 7
}

variable "cloudwatch_log_group_kms_key_id" {
  description = "ARN of the log groups' KMS key."
  type        = string
  default     = null
}

variable "parameters" {
  description = "Parameters of the group: `name`, `value`, `apply_method`."
  type        = list(map(string))
  default     = []
}

variable "parameter_group_name" {
  description = "Name of the parameter group; null uses the identifier."
  type        = string
  default     = null
}

variable "parameter_group_use_name_prefix" {
  description = "Whether the group's name is only a prefix."
  type        = bool
  default     = true
}

variable "parameter_group_description" {
  description = "Description of the parameter group."
  type        = string
  default     = null
}

# Only its validation uses it.
# tflint-ignore: terraform_unused_declarations
variable "create_db_option_group" {
  description = "Only `false` is implemented here."
  type        = bool
  default     = true

  validation {
    condition     = !var.create_db_option_group
    error_message = "This stand-in makes no option group: set create_db_option_group = false."
  }
}
