output "database_identifier" {
  description = "Identifier of the instance or cluster that serves: the original's, or that of the last restore."
  value       = coalesce(local.serving.cluster, local.serving.instance)
}

output "database_host" {
  description = "Host name of the instance, or of the cluster's writer: for migrations."
  value       = local.serving.host
}

output "engine" {
  description = "Engine that serves: `postgres` or `aurora-postgresql`."
  value       = local.serving_engine
}

output "database_port" {
  description = "Port of the instance and of the proxy."
  value       = local.port
}

output "database_name" {
  description = "Name of the database."
  value       = local.database_name
}

output "database_resource_id" {
  description = "Immutable id of the instance or cluster, as IAM's `rds-db:connect` names it."
  value       = local.serving.resource_id
}

output "master_secret_arn" {
  description = "ARN of the secret of pmp_admin, which RDS made and rotates."
  value       = local.serving.secret_arn
}

output "secret_arn_by_role" {
  description = "ARNs of the secrets of `pmp_app` and `pmp_migrator`, JSON with `username` and `password` that the migration job writes."
  value       = { for role, secret in aws_secretsmanager_secret.this : role => secret.arn }
}

output "proxy_name" {
  description = "Name of the proxy."
  value       = aws_db_proxy.this.name
}

output "proxy_host" {
  description = "Host name of the proxy: for the function."
  value       = aws_db_proxy.this.endpoint

  # The proxy answers only once it has its instance.
  depends_on = [aws_db_proxy_target.this]
}

output "reader_host" {
  description = "Host name of the proxy's read-only endpoint: for reads that may be some seconds old. Without a reader, the proxy's own."
  value       = length(aws_db_proxy_endpoint.readers) == 0 ? aws_db_proxy.this.endpoint : aws_db_proxy_endpoint.readers[0].endpoint

  depends_on = [aws_db_proxy_target.this]
}

output "proxy_resource_id" {
  description = "Id of the proxy (`prx-…`), as IAM's `rds-db:connect` names it."
  value       = element(split(":", aws_db_proxy.this.arn), 6)
}
