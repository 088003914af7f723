output "hosted_zone_name_servers" {
  description = "Name servers that the parent zone must delegate to."
  value       = aws_route53_zone.this.name_servers
}

output "deployment_bucket_name" {
  description = "Bucket that holds the code to run."
  value       = local.deployment_bucket.name
}

output "user_names_by_environment" {
  description = "IAM users to make access keys for: `delivery` deploys the environment, `plan` only plans it. In a shared account, `gitlab-plan-account` plans this layer."
  value       = { for name, delivery in module.delivery : name => delivery.user_names }
}

output "policy_arn_by_concern_by_environment" {
  description = "Policies of each environment's delivery identity, to attach to another principal."
  value       = { for name, delivery in module.delivery : name => delivery.policy_arn_by_concern }
}

output "role_arn_by_name" {
  description = "Roles for GitLab's OIDC tokens."
  value       = merge(concat(values(module.delivery)[*].role_arn_by_name, [{ for role in aws_iam_role.plan_account : role.name => role.arn }])...)
}
