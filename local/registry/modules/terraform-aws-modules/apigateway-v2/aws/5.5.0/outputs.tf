output "api_id" {
  description = "Id of the API."
  value       = one(aws_apigatewayv2_api.this[*].id)
}

output "api_execution_arn" {
  description = "ARN prefix of the API's invocations."
  value       = one(aws_apigatewayv2_api.this[*].execution_arn)
}

output "domain_name_target_domain_name" {
  description = "Name that the custom domain's DNS records point to."
  value       = one(aws_apigatewayv2_domain_name.this[*].domain_name_configuration[0].target_domain_name)
}

output "domain_name_hosted_zone_id" {
  description = "Hosted zone id of the custom domain's target."
  value       = one(aws_apigatewayv2_domain_name.this[*].domain_name_configuration[0].hosted_zone_id)
}

output "stage_access_logs_cloudwatch_log_group_name" {
  description = "Log group of the access logs."
  value       = aws_cloudwatch_log_group.this["this"].name
}
