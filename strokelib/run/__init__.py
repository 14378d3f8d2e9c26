"""Around the science: settings, variants, provenance, and the run that knows where everything lies."""
