output "nat_public_ips" {
  description = "Addresses that a third party sees."
  value       = module.network.nat_public_ips
}
