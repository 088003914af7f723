"""Programs that judge: what they find fails a build."""
