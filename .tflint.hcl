# `make lint` and `make tools` put the ruleset beside tflint (build/bin) and name that folder in TFLINT_PLUGIN_DIR, so
# neither plugin is downloaded. Versions stand in tests/terratest/go.mod.

config {
  # Modules of the registry are PMP's stand-ins or other people's code: what PMP passes to them is checked, not they.
  call_module_type = "local"
}

plugin "terraform" {
  enabled = true
  preset  = "all"
}

plugin "aws" {
  enabled = true
}
