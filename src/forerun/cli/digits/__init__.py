"""`forerun digits`: handwritten digits drawn in order and ahead, compared."""
