output "db_instance_identifier" {
  description = "Identifier of the instance."
  value       = aws_db_instance.this.identifier
}

output "db_instance_address" {
  description = "Host name of the instance."
  value       = aws_db_instance.this.address
}

output "db_instance_port" {
  description = "Port of the instance."
  value       = aws_db_instance.this.port
}

output "db_instance_resource_id" {
  description = "Immutable id of the instance, used in ARNs for IAM's `rds-db:connect`."
  value       = aws_db_instance.this.resource_id
}

output "db_instance_master_user_secret_arn" {
  description = "ARN of the master user's secret."
  value       = one(aws_db_instance.this.master_user_secret[*].secret_arn)
}
