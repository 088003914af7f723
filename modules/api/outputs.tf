output "api_id" {
  description = "Id of the API, by which its metrics are found."
  value       = module.api.api_id
}

output "domain_name" {
  description = "Domain that the API answers on, once its records exist."
  value       = var.domain_name
  depends_on  = [aws_route53_record.api, aws_lambda_permission.api]
}

output "access_log_group_name" {
  description = "Log group of the access logs."
  value       = module.api.stage_access_logs_cloudwatch_log_group_name
}

output "scopes_by_route" {
  description = "Scopes that each route asks for; an empty list is a public route."
  value       = { for route_key, operation in local.served : route_key => operation.scopes == null ? [] : operation.scopes }
}
