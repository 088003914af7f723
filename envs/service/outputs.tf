output "api_url" {
  description = "Address of the API, without a trailing slash."
  value       = local.api_url
}

output "function_name" {
  description = "Name of the function."
  value       = module.function.function_name
}

output "throttling" {
  description = "Requests per second and burst that the API lets through."
  value       = module.sizing.throttling
}
