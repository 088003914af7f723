output "function_arn" {
  description = "ARN of the function."
  value       = module.function.lambda_function_arn
}

output "function_name" {
  description = "Name of the function."
  value       = module.function.lambda_function_name
}

output "role_arn" {
  description = "Role that the function runs as."
  value       = aws_iam_role.function.arn
}

output "log_group_name" {
  description = "Log group of the function."
  value       = module.function.lambda_cloudwatch_log_group_name
}
