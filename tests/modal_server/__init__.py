"""A local stand-in for Modal: control plane, workers, blob store. The real client talks to it unchanged."""
