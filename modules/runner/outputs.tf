output "autoscaling_group_name" {
  description = "Name of the group of one."
  value       = aws_autoscaling_group.this.name
}

output "role_name" {
  description = "Name of the instance's role."
  value       = aws_iam_role.this.name
}

output "token_parameter_name" {
  description = "SSM parameter (SecureString under the same key) in which the runner's token (`glrt-…`) has to be put once."
  value       = local.token_parameter_name
}

output "runner_tags" {
  description = "Tags that the runner must have in GitLab."
  value       = local.tags
}

output "user_data" {
  description = "What cloud-init gets; nothing in it is secret."
  value       = local.user_data
}
