"""forerun runs sequential computations ahead of themselves."""
