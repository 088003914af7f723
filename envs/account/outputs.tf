output "hosted_zone_name_servers" {
  description = "Name servers that the parent zone must delegate to."
  value       = aws_route53_zone.this.name_servers
}

output "deployment_bucket_name" {
  description = "Bucket that holds the code to run."
  value       = module.delivery.deployment_bucket_name
}

output "user_names" {
  description = "IAM users to make access keys for: `delivery` deploys, `plan` only plans."
  value       = module.delivery.user_names
}

output "policy_arn_by_concern" {
  description = "Policies of the delivery identity, to attach to another principal."
  value       = module.delivery.policy_arn_by_concern
}

output "role_arn_by_name" {
  description = "Roles for GitLab's OIDC tokens."
  value       = module.delivery.role_arn_by_name
}
