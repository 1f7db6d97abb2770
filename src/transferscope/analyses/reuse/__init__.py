"""Where the reuse sits: what the analyses of modules found, side by side (R4.1, R4.9)."""
