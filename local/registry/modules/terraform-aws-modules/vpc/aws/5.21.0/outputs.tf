output "vpc_id" {
  description = "Id of the VPC."
  value       = aws_vpc.this.id
}

output "vpc_cidr_block" {
  description = "IPv4 range of the VPC."
  value       = aws_vpc.this.cidr_block
}

output "private_subnets" {
  description = "Ids of the private subnets."
  value       = aws_subnet.private[*].id
}

output "database_subnets" {
  description = "Ids of the database subnets."
  value       = aws_subnet.database[*].id
}

output "database_subnet_group_name" {
  description = "Name of the DB subnet group."
  value       = one(aws_db_subnet_group.database[*].name)
}

output "private_route_table_ids" {
  description = "Ids of the private subnets' route tables."
  value       = aws_route_table.private[*].id
}

output "nat_public_ips" {
  description = "Public addresses of the NAT gateways."
  value       = aws_eip.nat[*].public_ip
}
