output "vpc_id" {
  description = "Id of the VPC."
  value       = module.vpc.vpc_id
}

output "private_subnet_ids" {
  description = "Ids of the private subnets, one per zone."
  value       = module.vpc.private_subnets
}

output "database_subnet_group_name" {
  description = "Name of the DB subnet group."
  value       = module.vpc.database_subnet_group_name
}

output "security_group_id_by_role" {
  description = "Ids of the security groups by what they are for: `function`, `proxy`, `database`, `runner`, `endpoints`."
  value       = { for role, group in aws_security_group.this : role => group.id }

  # A user of a group can rely on its rules.
  depends_on = [
    aws_vpc_security_group_egress_rule.inside,
    aws_vpc_security_group_ingress_rule.inside,
    aws_vpc_security_group_egress_rule.s3,
    aws_vpc_security_group_egress_rule.internet,
  ]
}

output "nat_public_ips" {
  description = "Public addresses from which the private subnets reach the internet."
  value       = module.vpc.nat_public_ips
}
