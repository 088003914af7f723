output "alias" {
  description = "Alias by which everything invokes the function: its name, its ARN, and the newest version, which it serves once `python -m ops canary` has moved it."
  value = {
    name           = aws_lambda_alias.live.name
    arn            = aws_lambda_alias.live.arn
    newest_version = module.function.lambda_function_version
  }
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
