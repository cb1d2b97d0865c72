"""The engine: knows no domain."""
