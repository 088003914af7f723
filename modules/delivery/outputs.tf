output "permissions_boundary_arn" {
  description = "Boundary that every role of the environment must carry."
  value       = aws_iam_policy.boundary.arn
}

output "user_names" {
  description = "IAM users that GitLab's jobs act as: `delivery` deploys, `plan` only plans. Their access keys are made by hand, never by Terraform."
  value       = { delivery = aws_iam_user.gitlab.name, plan = aws_iam_user.plan.name }
}

output "policy_arn_by_concern" {
  description = "Policies of the delivery identity. Another principal carries the same by one `for_each` over this map."
  value       = { for concern, policy in aws_iam_policy.delivery : concern => policy.arn }
}

output "plan_policy_arn_by_concern" {
  description = "Policies of the plan-only identity."
  value       = { for concern, policy in aws_iam_policy.plan : concern => policy.arn }
}

output "role_arn_by_name" {
  description = "Roles that GitLab's OIDC tokens may assume, by the names of the users with the same policies; empty without `gitlab_oidc`."
  value       = { for name, role in aws_iam_role.gitlab : name => role.arn }
}
