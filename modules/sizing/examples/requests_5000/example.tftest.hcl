run "example_carries_5000_requests_a_second" {
  assert {
    condition     = output.throttling == { rate_limit = 5000, burst_limit = 300 } && min(values(output.requests_per_second)...) >= 5000
    error_message = "throttling ${jsonencode(output.throttling)}, carried ${jsonencode(output.requests_per_second)}"
  }
}
