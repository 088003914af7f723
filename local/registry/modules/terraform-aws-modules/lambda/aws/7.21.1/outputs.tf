output "lambda_function_arn" {
  description = "ARN of the function."
  value       = one(aws_lambda_function.this[*].arn)
}

output "lambda_function_name" {
  description = "Name of the function."
  value       = one(aws_lambda_function.this[*].function_name)
}

output "lambda_function_version" {
  description = "Number of the newest version."
  value       = one(aws_lambda_function.this[*].version)
}

output "lambda_function_invoke_arn" {
  description = "ARN by which API Gateway invokes the function."
  value       = one(aws_lambda_function.this[*].invoke_arn)
}

output "lambda_cloudwatch_log_group_name" {
  description = "Name of the log group."
  value       = one(aws_cloudwatch_log_group.lambda[*].name)
}

output "s3_object" {
  description = "Where the code is: `bucket`, `key`, `version_id`."
  value = {
    bucket     = aws_lambda_function.this[0].s3_bucket
    key        = aws_lambda_function.this[0].s3_key
    version_id = aws_lambda_function.this[0].s3_object_version
  }
}
