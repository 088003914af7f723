output "throttling" {
  description = "What the API's stage lets through."
  value       = module.sizing.throttling
}

output "requests_per_second" {
  description = "What each part carries."
  value       = module.sizing.requests_per_second
}
