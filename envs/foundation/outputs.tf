output "nat_public_ips" {
  description = "Public addresses from which PMP reaches third parties: for their allow-lists."
  value       = module.network.nat_public_ips
}

output "sizing" {
  description = "What the instance class carries: connections, pool, concurrency."
  value = {
    max_connections          = module.sizing.max_connections
    max_connections_percent  = module.sizing.max_connections_percent
    pool_size                = module.sizing.pool_size
    max_reserved_concurrency = module.sizing.max_reserved_concurrency
  }
}
