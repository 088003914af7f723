run "example_applies" {
  assert {
    condition     = output.throttling == { rate_limit = 1000, burst_limit = 50 }
    error_message = "throttling is ${jsonencode(output.throttling)}"
  }
}
